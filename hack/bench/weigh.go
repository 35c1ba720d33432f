package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// weight is what the daemon's own threads did: instructions, and how often they asked for memory.
type weight struct{ instructions, allocations int }

var (
	// A function is given a number where a file of callgrind names it first.
	numbered = regexp.MustCompile(`^c?fn=\((\d+)\)(?: (.*))?$`)
	called   = regexp.MustCompile(`^calls=(\d+) `)
)

var allocating = []string{"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign"}

// readWeight reads what callgrind has written of the time since it did last.
func readWeight(path string) (weight, error) {
	file, err := os.Open(path)
	if err != nil {
		return weight{}, err
	}
	defer file.Close()
	var sum weight
	names, callee, seen := map[string]string{}, "", false
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if found := numbered.FindStringSubmatch(line); found != nil {
			if found[2] != "" {
				// Callgrind adds to the name of what calls itself.
				names[found[1]], _, _ = strings.Cut(found[2], "'")
			}
			if strings.HasPrefix(line, "cfn=") {
				callee = names[found[1]]
			}
		} else if found := called.FindStringSubmatch(line); found != nil && slices.Contains(allocating, callee) {
			count, err := strconv.Atoi(found[1])
			if err != nil {
				return weight{}, fmt.Errorf("%s: %q: %w", path, line, err)
			}
			sum.allocations += count
		} else if total, is := strings.CutPrefix(line, "totals: "); is {
			if sum.instructions, err = strconv.Atoi(total); err != nil {
				return weight{}, fmt.Errorf("%s: %q: %w", path, line, err)
			}
			seen = true
		}
	}
	if !seen {
		return weight{}, fmt.Errorf("%s: no totals", path)
	}
	return sum, lines.Err()
}

// weigh asks a runtime under callgrind, which writes to `out` with a number after it, for what a kubelet asks for all the
// time, and gives the middle of each call's weights. Valgrind lacks calls of the kernel that starting and pulling need, so
// the pods run already.
func (b *bench) weigh(ctx context.Context, r *runtime, out string, pods []pod) (map[string]int, error) {
	all := map[string][]int{}
	g, dumps := &guarded{bench: b, r: r}, 0
	g.after = func(name string) error {
		if said, err := exec.Command("callgrind_control", "--dump", strconv.Itoa(r.process.Process.Pid)).CombinedOutput(); err != nil {
			return fmt.Errorf("callgrind_control: %w: %s", err, said)
		}
		dumps++
		path := fmt.Sprintf("%s.%d", out, dumps)
		found, err := readWeight(path)
		if err != nil {
			return err
		}
		all[name+"\tinstructions"] = append(all[name+"\tinstructions"], found.instructions)
		all[name+"\tallocations"] = append(all[name+"\tallocations"], found.allocations)
		return os.Remove(path)
	}
	err := g.do("start with five", func() error { return r.launch(ctx) })
	for range rounds {
		if err == nil {
			err = g.tell(ctx, pods[0])
		}
		if err == nil {
			err = g.do("ExecSync", func() error { return r.exec(ctx, pods[0], "/bin/true") })
		}
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return nil, err
	}
	return medians(all), nil
}

func medians(all map[string][]int) map[string]int {
	middle := map[string]int{}
	for key, values := range all {
		slices.Sort(values)
		middle[key] = values[len(values)/2]
	}
	return middle
}
