package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pss is the processes' share of memory in MB, shared pages divided among those that share them.
func pss(pids []int) float64 { return share(pids, "Pss") }

// anonymous is the part of it that is no file's, and cannot be given back to the disk.
func anonymous(pids []int) float64 { return share(pids, "Pss_Anon") }

func share(pids []int, wanted string) float64 {
	total := 0
	for _, pid := range pids {
		eachField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), func(name string, kib int) {
			if name == wanted {
				total += kib
			}
		})
	}
	return float64(total) * 1024 / 1e6
}

// privateAnonymous is the memory in MB that would be free if the processes were not: pages of no file that no other
// process shares. Pages still shared with the process they were forked from cost nothing.
func privateAnonymous(pids []int) float64 {
	total := 0
	for _, pid := range pids {
		private, anonymous := 0, 0
		eachField(fmt.Sprintf("/proc/%d/smaps", pid), func(name string, kib int) {
			switch name {
			case "Size": // the first field of a mapping
				total += min(private, anonymous)
				private, anonymous = 0, 0
			case "Private_Dirty", "Private_Clean", "Swap":
				private += kib
			case "Anonymous":
				anonymous += kib
			}
		})
		total += min(private, anonymous)
	}
	return float64(total) * 1024 / 1e6
}

// codeInMemory is how many KiB of a program's code the processes have mapped pages for.
func codeInMemory(pids []int, program string) (total int) {
	for _, pid := range pids {
		code := false
		eachLine(fmt.Sprintf("/proc/%d/smaps", pid), func(words []string) {
			switch {
			case len(words) > 1 && strings.Contains(words[0], "-"): // a mapping begins
				code = len(words) == 6 && words[1] == "r-xp" && filepath.Base(words[5]) == program
			case code && words[0] == "Rss:":
				kib, _ := strconv.Atoi(words[1])
				total += kib
			}
		})
	}
	return total
}

// eachField calls back with every "Name: N kB" line of a file of /proc; a process that is gone has none.
func eachField(path string, field func(name string, kib int)) {
	eachLine(path, func(words []string) {
		if len(words) == 3 && words[2] == "kB" {
			if kib, err := strconv.Atoi(words[1]); err == nil {
				field(strings.TrimSuffix(words[0], ":"), kib)
			}
		}
	})
}

func eachLine(path string, line func(words []string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line(strings.Fields(lines.Text()))
	}
}

// wakeUps is how often each thread of processes has waited for something and gone on.
func wakeUps(pids []int) map[string]int {
	counts := map[string]int{}
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, task := range tasks {
			eachLine(task, func(words []string) {
				if len(words) == 2 && words[0] == "voluntary_ctxt_switches:" {
					counts[task], _ = strconv.Atoi(words[1])
				}
			})
		}
	}
	return counts
}

// more adds up what the threads of one count have that they had not in an earlier one.
func more(before, now map[string]int) int {
	total := 0
	for thread, count := range now {
		total += count - before[thread]
	}
	return total
}

// children is what a process that was started leaves in the daemon's own: a child, living or dead, or the page faults of
// one that was waited for (proc_pid_stat(5), cminflt and cmajflt).
func children(daemon []int) string {
	var seen strings.Builder
	for _, pid := range daemon {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, task := range tasks {
			list, _ := os.ReadFile(task)
			seen.Write(list)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The command's name, in parentheses, may hold blanks.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		seen.WriteString(strconv.Itoa(pid) + ":" + fields[8] + "," + fields[10] + ";")
	}
	return seen.String()
}

// resetPeak forgets a process's highest memory, and returns what it has now, in bytes.
func resetPeak(pid int) float64 {
	// Without it, the rise is what it was over the whole life: told too high, never too low.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	return statusField(pid, "VmRSS")
}

func peak(pid int) float64 { return statusField(pid, "VmHWM") }

func statusField(pid int, wanted string) float64 {
	value := 0
	eachField(fmt.Sprintf("/proc/%d/status", pid), func(name string, kib int) {
		if name == wanted {
			value = kib
		}
	})
	return float64(value) * 1024
}
