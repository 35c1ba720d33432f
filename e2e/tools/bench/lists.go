package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// telling are the calls that change nothing, as a kubelet repeats them.
var telling = []struct {
	name string
	call func(ctx context.Context, r *runtime, p pod) error
}{
	{"Status", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.calls.Status(ctx, &cri.StatusRequest{})
		return err
	}},
	{"ListPodSandbox", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.calls.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		return err
	}},
	{"ListContainers", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.calls.ListContainers(ctx, &cri.ListContainersRequest{})
		return err
	}},
	{"ListImages", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.images.ListImages(ctx, &cri.ListImagesRequest{})
		return err
	}},
	{"ImageFsInfo", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
		return err
	}},
	{"PodSandboxStatus", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
		return err
	}},
	{"ContainerStatus", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: p.container})
		return err
	}},
	{"ContainerStats", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.ContainerStats(ctx, &cri.ContainerStatsRequest{ContainerId: p.container})
		return err
	}},
	{"PodSandboxStats", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.PodSandboxStats(ctx, &cri.PodSandboxStatsRequest{PodSandboxId: p.id})
		return err
	}},
	{"ListContainerStats", func(ctx context.Context, r *runtime, _ pod) error {
		answer, err := r.calls.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		if err == nil && len(answer.Stats) == 0 {
			err = fmt.Errorf("no container has statistics")
		}
		return err
	}},
	{"ListPodSandboxStats", func(ctx context.Context, r *runtime, _ pod) error {
		answer, err := r.calls.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
		if err == nil && len(answer.Stats) == 0 {
			err = fmt.Errorf("no pod has statistics")
		}
		return err
	}},
}

// measureLists needs pods with a group of their own, as a kubelet's have: containerd has no figures of others. It repeats the calls that only tell, with many pods there.
func measureLists(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	pods, runtimes := map[*runtime][]pod{}, map[*runtime][]int{}
	for _, r := range pair {
		say("%d pods of %s", s.listed, r.name)
		known := below(s.root)
		for n := range s.listed {
			p, _, err := r.start(ctx, s, fmt.Sprintf("listed-%d", n))
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			pods[r] = append(pods[r], p)
		}
		beside, err := r.beside(ctx, s.root, known, pods[r])
		if err != nil {
			return err
		}
		runtimes[r] = append(beside, r.daemon...)
	}
	spawned := map[*runtime]int{}
	for _, telling := range telling {
		say("%s, %d rounds", telling.name, s.listRounds)
		times, cpu := map[*runtime][]time.Duration{}, map[*runtime]time.Duration{}
		err := alternate(pair, s.listRounds, func(r *runtime, n int) error {
			p := pods[r][(n+1)%len(pods[r])]
			before, used := children(r.daemon), processorTime(runtimes[r])
			begun := time.Now()
			if err := telling.call(ctx, r, p); err != nil {
				return fmt.Errorf("%s: %w", telling.name, err)
			}
			took := time.Since(begun)
			if n >= 0 {
				times[r] = append(times[r], took)
				cpu[r] += processorTime(runtimes[r]) - used
			}
			if children(r.daemon) != before {
				spawned[r]++
			}
			return nil
		})
		if err != nil {
			return err
		}
		t.row(telling.name, "ms", 0, both(pair, func(r *runtime) float64 { return median(times[r]) }))
		// Processor time is counted in hundredths of a second: only the sum says anything.
		t.row(fmt.Sprintf("  processor time of %d", s.listRounds), "ms", 0, both(pair, func(r *runtime) float64 {
			return float64(cpu[r].Milliseconds())
		}))
	}
	t.absolute("calls that started a process, of all of them", "", 0.5, both(pair, func(r *runtime) float64 {
		return float64(spawned[r])
	}))
	for _, r := range pair {
		for _, p := range pods[r] {
			if err := r.remove(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return nil
}

// children is what a process that was started leaves in the daemon's own: a child, living or dead, or the page faults of
// one that was waited for (proc_pid_stat(5), cminflt and cmajflt).
func children(daemon []int) string {
	var seen strings.Builder
	for _, pid := range daemon {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, task := range tasks {
			list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
			if len(list) > 0 {
				seen.Write(list)
			}
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		seen.WriteString(strconv.Itoa(pid) + ":" + fields[8] + "," + fields[10] + ";")
	}
	return seen.String()
}
