package main

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// counts is what a runtime's own processes did: its programs are counted, not what they do.
type counts struct {
	// Calls of the kernel, without those that depend on how threads happen to be scheduled.
	Calls int
	// Processes that were forked, and other programs that were executed.
	Processes, Programs int
	// Syncs of files and filesystems, and bytes that were written to files.
	Syncs, Bytes int
}

// scheduling are calls that wait for or wake threads: how many there are differs from run to run.
var scheduling = []string{
	"futex", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "sched_yield", "restart_syscall", "nanosleep", "clock_nanosleep",
	"rt_sigreturn", "rt_sigprocmask", "wait4", "waitid",
	// A thread that starts, or takes memory from an arena that another uses.
	"rseq", "set_robust_list", "sched_getaffinity", "sigaltstack", "gettid", "madvise", "mprotect", "mmap", "munmap", "brk", "exit", "prctl",
}

var syncing = []string{"fsync", "fdatasync", "syncfs", "sync_file_range", "sync"}

var writing = []string{"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range", "ftruncate"}

var (
	// PID TIME CALL(ARGUMENTS, of which the first may be a descriptor and what it is, NUMBER<PATH>.
	begunCall   = regexp.MustCompile(`^(\d+) +(\d+\.\d+) (\w+)\((?:(?:-1|AT_FDCWD|\d+)<([^>]*)>)?`)
	resumedCall = regexp.MustCompile(`^(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>`)
	result      = regexp.MustCompile(` = (-?\d+)(?:<[^>]*>)?(?: ([A-Z]+) \(.*\))?$`)
	executed    = regexp.MustCompile(`execve(?:at)?\(.*?"([^"]*)"`)
)

// call is one of a trace (strace -f -ttt -y).
type call struct {
	pid    int
	at     float64
	name   string
	path   string
	text   string
	result int
	errno  string
	done   bool
}

// readTrace gives the calls of a trace in the order in which they began.
func readTrace(path string) ([]*call, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var calls []*call
	pending := map[int]*call{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if words := resumedCall.FindStringSubmatch(line); words != nil {
			pid, _ := strconv.Atoi(words[1])
			if c := pending[pid]; c != nil && c.name == words[3] {
				c.end(line)
				delete(pending, pid)
			}
			continue
		}
		words := begunCall.FindStringSubmatch(line)
		if words == nil {
			continue
		}
		c := &call{name: words[3], path: words[4], text: line}
		c.pid, _ = strconv.Atoi(words[1])
		c.at, _ = strconv.ParseFloat(words[2], 64)
		calls = append(calls, c)
		if strings.HasSuffix(line, "<unfinished ...>") {
			pending[c.pid] = c
		} else {
			c.end(line)
		}
	}
	return calls, lines.Err()
}

func (c *call) end(line string) {
	if words := result.FindStringSubmatch(line); words != nil {
		c.result, _ = strconv.Atoi(words[1])
		c.errno, c.done = words[2], true
	}
}

func (c *call) forks() bool {
	return slices.Contains([]string{"fork", "vfork", "clone", "clone3"}, c.name)
}

// runs is the program that a call executes, if it does.
func (c *call) runs() string {
	if words := executed.FindStringSubmatch(c.text); words != nil && c.done && c.result == 0 {
		return words[1]
	}
	return ""
}

// tally adds up the calls of each time between two marks, of the processes that run `own`, or the copy of it that has no path.
func tally(calls []*call, marks []float64, own string) []counts {
	sums := make([]counts, len(marks))
	parents := map[int]int{}
	for _, c := range calls {
		if c.forks() && c.result > 0 {
			parents[c.result] = c.pid
		}
	}
	foreign := map[int]bool{}
	for _, c := range calls {
		other, seen := foreign[c.pid]
		if !seen {
			other = foreign[parents[c.pid]]
		}
		place := slices.IndexFunc(marks, func(mark float64) bool { return mark > c.at }) - 1
		if place == -2 {
			place = len(marks) - 1
		}
		sum := &counts{}
		if place >= 0 {
			sum = &sums[place]
		}
		if program := c.runs(); program != "" && program != own && !strings.HasPrefix(program, "/proc/self/fd/") {
			if !other {
				sum.Programs++
			}
			other = true
		}
		foreign[c.pid] = other
		if !other {
			sum.add(c)
		}
	}
	return sums
}

func (s *counts) add(c *call) {
	// Nothing was there: a thread was woken too early. A thread wakes another by an eventfd.
	if slices.Contains(scheduling, c.name) || c.errno == "EAGAIN" || strings.Contains(c.path, "[eventfd]") {
		return
	}
	switch {
	case c.forks() && strings.Contains(c.text, "CLONE_THREAD"):
		return
	case c.forks():
		s.Processes++
	case slices.Contains(syncing, c.name):
		s.Syncs++
	case slices.Contains(writing, c.name) && strings.HasPrefix(c.path, "/") && !strings.HasPrefix(c.path, "/proc/") && !strings.HasPrefix(c.path, "/sys/") && c.result > 0:
		s.Bytes += c.result
	}
	s.Calls++
}
