package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// accounting is the hierarchy that counts processor time: a controller's own on v1, the only one on v2.
var accounting = func() string {
	if v1 := "/sys/fs/cgroup/cpuacct"; exists(v1) {
		return v1
	}
	return "/sys/fs/cgroup"
}()

// cpu is the processor time of all that the runtime has ever started, as the kernel counts it for the cgroup.
func (r *runtime) cpu() time.Duration {
	if text, err := os.ReadFile(accounting + r.cgroup + "/cpuacct.usage"); err == nil {
		nanos, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(nanos)
	}
	text, _ := os.ReadFile(accounting + r.cgroup + "/cpu.stat")
	for line := range strings.Lines(string(text)) {
		if micros, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(micros), 10, 64)
			return time.Duration(n) * time.Microsecond
		}
	}
	return 0
}

// processes are all that live in the runtime's cgroup or below.
func (r *runtime) processes() []int { return processesBelow(r.cgroup) }

// processesBelow are those in a group and in the groups below it.
func processesBelow(group string) []int {
	var pids []int
	// A group that goes meanwhile has none.
	_ = filepath.WalkDir(accounting+group, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(path + "/cgroup.procs")
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// withChildren lists a process and its children: a daemon, and what it keeps for itself.
func withChildren(parent int) []int {
	pids := []int{parent}
	eachChild := func(words []string) {
		for _, word := range words {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(parent) + "/task/*/children")
	for _, task := range tasks {
		eachLine(task, eachChild)
	}
	return pids
}
