package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// margin is how much more than its baseline a figure may be; a few calls are nobody's, and which pages a fork has copied
// before it is measured is the kernel's, as it is which pages of a program it maps beside those in use.
const (
	margin = 1.05
	few    = 5
	pages  = 3 * 4 // KiB
	around = 512   // KiB
	// What a thread of the pool does between two operations.
	strayInstructions, strayAllocations = 20_000, 30
)

func limit(key string, baseline int) float64 {
	switch most := float64(baseline) * margin; {
	case strings.HasSuffix(key, "\tcalls"):
		return most + few
	case strings.HasSuffix(key, "\tinstructions"):
		return most + strayInstructions
	case strings.HasSuffix(key, "\tallocations"):
		return most + strayAllocations
	case strings.HasSuffix(key, "private KiB"):
		return most + pages
	case strings.HasSuffix(key, "KiB of code in memory"):
		return most + around
	default:
		return most
	}
}

// settle waits until the runtime has done what an operation left to be done: it counts as the operation's.
func settle(r *runtime) {
	const quiet, most = 150 * time.Millisecond, 10 * time.Second
	used, since := r.cpu(), time.Now()
	for begun := since; time.Since(since) < quiet && time.Since(begun) < most; {
		time.Sleep(10 * time.Millisecond)
		if now := r.cpu(); now != used {
			used, since = now, time.Now()
		}
	}
}

// guarded is a runtime that is watched, and what was done with it so far.
type guarded struct {
	*bench
	r     *runtime
	names []string
	marks []float64
	// after is done after each operation.
	after func(name string) error
}

// do marks an operation, does it, and waits until its consequences are over.
func (g *guarded) do(name string, operation func() error) error {
	g.names = append(g.names, name)
	g.marks = append(g.marks, float64(time.Now().UnixMicro())/1e6)
	err := operation()
	settle(g.r)
	if err == nil && g.after != nil {
		err = g.after(name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// guard counts what a runtime does for each operation, and compares that with a baseline, which it writes when it is to.
// There are two scripts of it: one has strace write to `trace`, one has callgrind write to `weights`.
func (b *bench) guard(ctx context.Context, trace, weights, baseline string, write bool) error {
	g := &guarded{bench: b, r: b.all[0]}
	private, pods, err := g.operate(ctx)
	if err != nil {
		return errors.Join(err, g.r.stop())
	}
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", g.r.process.Process.Pid))
	code := codeInMemory(g.r.daemon, filepath.Base(own))
	if err := errors.Join(err, g.do("end", g.r.stop)); err != nil {
		return err
	}
	calls, err := readTrace(trace)
	if err != nil {
		return err
	}
	figures := g.figures(tally(calls, g.marks, own))
	figures["pod beside the container's process\tprivate KiB"] = private
	figures["daemon and zygote\tKiB of code in memory"] = code
	weighed, err := b.weigh(ctx, b.all[1], weights, pods)
	if err := errors.Join(err, g.clear(ctx, pods)); err != nil {
		return err
	}
	maps.Copy(figures, weighed)
	if write {
		return writeFigures(baseline, figures)
	}
	return compare(baseline, figures)
}

// rounds is how often each operation is done.
const rounds = 7

// operate is the life of a node in short; it returns the private memory of what a pod keeps, and pods that run.
func (g *guarded) operate(ctx context.Context) (int, []pod, error) {
	const crowd = 5
	r := g.r
	if err := g.do("start", func() error { return r.launch(ctx) }); err != nil {
		return 0, nil, err
	}
	for range rounds {
		if err := errors.Join(
			g.do("PullImage", func() error { return r.pull(ctx, g.image) }),
			g.do("RemoveImage", func() error { return r.removeImage(ctx, g.image) })); err != nil {
			return 0, nil, err
		}
	}
	if err := r.pull(ctx, g.image); err != nil {
		return 0, nil, err
	}
	for n := range rounds {
		if err := g.life(ctx, fmt.Sprintf("guard-%d", n)); err != nil {
			return 0, nil, err
		}
	}
	var pods []pod
	for n := range crowd {
		p, err := g.pod(ctx, r, shape{name: fmt.Sprintf("crowd-%d", n)})
		if err != nil {
			return 0, nil, err
		}
		pods = append(pods, p)
	}
	time.Sleep(time.Second)
	helpers, err := r.helpers(ctx, pods)
	if err != nil {
		return 0, nil, err
	}
	// Those that strace has among them are not the runtime's.
	helpers = slices.DeleteFunc(helpers, func(pid int) bool {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return strings.TrimSpace(string(name)) == "strace"
	})
	private := (privateAnonymous(helpers) - privateAnonymous(r.daemon)) / crowd * 1e6 / 1024
	if err := g.do("ten seconds of nothing", func() error { time.Sleep(10 * time.Second); return nil }); err != nil {
		return 0, nil, err
	}
	for range rounds {
		if err := g.tell(ctx, pods[0]); err != nil {
			return 0, nil, err
		}
	}
	return int(private + 0.5), pods, nil
}

// clear starts the runtime again, and removes pods.
func (g *guarded) clear(ctx context.Context, pods []pod) error {
	err := g.r.launch(ctx)
	for _, p := range pods {
		if err == nil {
			err = g.r.remove(ctx, p)
		}
	}
	return errors.Join(err, g.r.stop())
}

// life starts, uses and removes a pod.
func (g *guarded) life(ctx context.Context, name string) error {
	r := g.r
	sandbox, container := g.configs(r, shape{name: name})
	var p pod
	return errors.Join(
		g.do("RunPodSandbox", func() error {
			ran, err := r.calls.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
			p.id = ran.GetPodSandboxId()
			return err
		}),
		g.do("CreateContainer", func() error {
			created, err := r.calls.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.id, Config: container, SandboxConfig: sandbox})
			p.container = created.GetContainerId()
			return err
		}),
		g.do("StartContainer", func() error {
			_, err := r.calls.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: p.container})
			return err
		}),
		g.do("ExecSync", func() error { return r.exec(ctx, p, "/bin/true") }),
		g.do("StopContainer", func() error {
			_, err := r.calls.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: p.container})
			return err
		}),
		g.do("RemoveContainer", func() error {
			_, err := r.calls.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: p.container})
			return err
		}),
		g.do("StopPodSandbox", func() error {
			_, err := r.calls.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id})
			return err
		}),
		g.do("RemovePodSandbox", func() error {
			_, err := r.calls.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id})
			return err
		}))
}

// tell asks what a kubelet asks for all the time.
func (g *guarded) tell(ctx context.Context, p pod) error {
	r := g.r
	return errors.Join(
		g.do("Status", func() error { _, err := r.calls.Status(ctx, &cri.StatusRequest{}); return err }),
		g.do("ListPodSandbox", func() error { _, err := r.calls.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{}); return err }),
		g.do("ListContainers", func() error { _, err := r.calls.ListContainers(ctx, &cri.ListContainersRequest{}); return err }),
		g.do("ContainerStatus", func() error {
			_, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: p.container})
			return err
		}),
		g.do("PodSandboxStatus", func() error {
			_, err := r.calls.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
			return err
		}),
		g.do("ListContainerStats of five", func() error {
			_, err := r.calls.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
			return err
		}),
		g.do("ListPodSandboxStats of five", func() error {
			_, err := r.calls.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
			return err
		}),
		g.do("ListImages", func() error { _, err := r.images.ListImages(ctx, &cri.ListImagesRequest{}); return err }),
		g.do("ImageFsInfo", func() error { _, err := r.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{}); return err }))
}

// figures are the medians of each operation's counts, by operation and kind.
func (g *guarded) figures(sums []counts) map[string]int {
	all := map[string][]int{}
	for n, sum := range sums {
		for kind, value := range map[string]int{
			"calls": sum.Calls, "processes": sum.Processes, "programs": sum.Programs, "syncs": sum.Syncs, "bytes written": sum.Bytes,
		} {
			key := g.names[n] + "\t" + kind
			all[key] = append(all[key], value)
		}
	}
	return medians(all)
}

func writeFigures(path string, figures map[string]int) error {
	var out strings.Builder
	out.WriteString("# What an operation does, in the middle of some: operation, figure, value. Written by hack/bench.sh guard --update.\n")
	for _, key := range slices.Sorted(maps.Keys(figures)) {
		fmt.Fprintf(&out, "%s\t%d\n", key, figures[key])
	}
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

// compare tells each figure that is not its baseline's, and fails when one is above it by more than the margin, or has none.
func compare(path string, figures map[string]int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	known := map[string]int{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, '\t')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		if known[line[:at]], err = strconv.Atoi(line[at+1:]); err != nil {
			return fmt.Errorf("%s: %q: %w", path, line, err)
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(figures)) {
		was, there := known[key]
		delete(known, key)
		now, said := figures[key], strings.ReplaceAll(key, "\t", ": ")
		switch {
		case !there:
			errs = append(errs, fmt.Errorf("%s: %d, and no baseline", said, now))
		case float64(now) > limit(key, was):
			more := fmt.Errorf("%s: %d, the baseline is %d: too many", said, now, was)
			fmt.Println(more)
			errs = append(errs, more)
		case now != was:
			fmt.Printf("%s: %d, the baseline is %d\n", said, now, was)
		}
	}
	for key := range known {
		errs = append(errs, fmt.Errorf("%s: of %s, not measured", strings.ReplaceAll(key, "\t", ": "), filepath.Base(path)))
	}
	return errors.Join(errs...)
}
