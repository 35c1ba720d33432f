package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// below lists a process and all that descend from it.
func below(root int) map[int]bool {
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		fail(err)
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			parents[pid] = parentOf(pid)
		}
	}
	found := map[int]bool{}
	for pid := range parents {
		for at := pid; at > 0; at = parents[at] {
			if at == root {
				found[pid] = true
				break
			}
		}
	}
	return found
}

// parentOf is 0 for a process that is gone.
func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The command's name, in parentheses, may hold blanks.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// withChildren lists a process and its children: of a daemon without pods, those that it keeps for itself.
func withChildren(parent int) []int {
	pids := []int{parent}
	for pid := range below(parent) {
		if parentOf(pid) == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pss is the processes' share of memory in MB, shared pages divided among those that share them.
func pss(pids []int) float64 {
	total := 0
	for _, pid := range pids {
		eachField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), func(name string, kib int) {
			if name == "Pss" {
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

// eachField calls back with every "Name: N kB" line of a file of /proc; a process that is gone has none.
func eachField(path string, field func(name string, kib int)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && words[2] == "kB" {
			if kib, err := strconv.Atoi(words[1]); err == nil {
				field(strings.TrimSuffix(words[0], ":"), kib)
			}
		}
	}
}
