package main

import (
	"context"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// telling is a call that changes nothing, as a kubelet repeats them.
type telling struct {
	name string
	call func(ctx context.Context, r *runtime, p pod) error
	goal []goal
	// slow says that others take seconds for it.
	slow bool
}

// some makes an error of an answer without content.
func some(err error, count int) error {
	if err == nil && count == 0 {
		return fmt.Errorf("the answer is empty")
	}
	return err
}

var tellings = []telling{
	{"Status", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.calls.Status(ctx, &cri.StatusRequest{})
		return err
	}, nil, false},
	{"ListPodSandbox", listPods, nil, false},
	{"ListContainers", listContainers, nil, false},
	{"ListImages", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.images.ListImages(ctx, &cri.ListImagesRequest{})
		return err
	}, nil, false},
	{"ImageFsInfo", func(ctx context.Context, r *runtime, _ pod) error {
		_, err := r.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
		return err
	}, nil, false},
	{"PodSandboxStatus", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
		return err
	}, nil, false},
	{"ContainerStatus", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: p.container})
		return err
	}, nil, false},
	{"ContainerStats", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.ContainerStats(ctx, &cri.ContainerStatsRequest{ContainerId: p.container})
		return err
	}, nil, false},
	{"PodSandboxStats", func(ctx context.Context, r *runtime, p pod) error {
		_, err := r.calls.PodSandboxStats(ctx, &cri.PodSandboxStatsRequest{PodSandboxId: p.id})
		return err
	}, nil, false},
	{"ListContainerStats", func(ctx context.Context, r *runtime, _ pod) error {
		answer, err := r.calls.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		return some(err, len(answer.GetStats()))
	}, []goal{toBest(0.05)}, true},
	{"ListPodSandboxStats", func(ctx context.Context, r *runtime, _ pod) error {
		answer, err := r.calls.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
		return some(err, len(answer.GetStats()))
	}, []goal{toBest(0.05)}, true},
}

func listPods(ctx context.Context, r *runtime, _ pod) error {
	answer, err := r.calls.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	return some(err, len(answer.GetItems()))
}

func listContainers(ctx context.Context, r *runtime, _ pod) error {
	answer, err := r.calls.ListContainers(ctx, &cri.ListContainersRequest{})
	return some(err, len(answer.GetContainers()))
}

// measureTelling repeats the calls that only tell, and looks whether they start processes.
func (b *bench) measureTelling(ctx context.Context, crowds map[*runtime]*crowd, count int) error {
	spawned := map[*runtime]float64{}
	for _, telling := range tellings {
		rounds := b.rounds(20)
		if telling.slow {
			rounds = b.rounds(4)
		}
		times := series{}
		err := b.alternate(rounds, func(r *runtime, n int) error {
			p := crowds[r].pods[(n+1)%len(crowds[r].pods)]
			before := children(r.daemon)
			err := times.timed(r, n, func() error { return telling.call(ctx, r, p) })
			if children(r.daemon) != before {
				spawned[r]++
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", telling.name, err)
		}
		b.table.less(fmt.Sprintf("%s at %d pods", telling.name, count), "ms", times.millis(), telling.goal...)
	}
	b.table.less(fmt.Sprintf("of these calls, those that started a process, at %d pods", count), "",
		b.values(func(r *runtime) float64 { return spawned[r] }), atMost(0))
	return nil
}

// measureRecords lists pods and containers of which there are very many, and none runs: what a node comes to whose pods end
// often. Nothing is removed.
func measureRecords(ctx context.Context, b *bench) error {
	const perPod = 50
	made := 0
	for _, pods := range []int{max(1, b.records/20/perPod), b.records / perPod} {
		containers := pods * perPod
		err := b.each(func(r *runtime) error {
			say("%d containers of %s", containers, r.name)
			return inParallel(pods-made, 4, func(n int) error { return b.ended(ctx, r, fmt.Sprintf("records-%d", made+n), perPod) })
		})
		if err != nil {
			return err
		}
		made = pods
		for _, call := range []telling{
			{"ListPodSandbox", listPods, []goal{toBest(0.5)}, false},
			{"ListContainers", listContainers, []goal{toBest(0.5)}, false},
		} {
			times := series{}
			err := b.alternate(b.rounds(30), func(r *runtime, n int) error {
				return times.timed(r, n, func() error { return call.call(ctx, r, pod{}) })
			})
			if err != nil {
				return fmt.Errorf("%s: %w", call.name, err)
			}
			b.table.less(fmt.Sprintf("%s at %d containers, none of which runs", call.name, containers), "ms", times.millis(), call.goal...)
		}
	}
	return nil
}

// ended makes a pod with so many containers, and stops it: no process is left, with any runtime.
func (b *bench) ended(ctx context.Context, r *runtime, name string, containers int) error {
	sandbox, container := b.configs(r, shape{name: name, host: true})
	ran, err := r.calls.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return err
	}
	for i := range containers {
		container.Metadata.Name = fmt.Sprintf("c%d", i)
		_, err := r.calls.CreateContainer(ctx, &cri.CreateContainerRequest{
			PodSandboxId: ran.PodSandboxId, Config: container, SandboxConfig: sandbox,
		})
		if err != nil {
			return err
		}
	}
	_, err = r.calls.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: ran.PodSandboxId})
	return err
}
