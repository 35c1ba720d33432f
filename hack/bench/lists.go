package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
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

// undecoded makes a call whose answer is not decoded. That takes this client, which is the same for all, about as long as it
// takes to make the answer.
func undecoded(method string, request proto.Message) func(context.Context, *runtime, pod) error {
	return func(ctx context.Context, r *runtime, _ pod) error {
		var size int
		return some(r.raw(ctx, method, request, &size), size)
	}
}

// raw makes a call and takes of its answer what the codec of that name does.
func (r *runtime) raw(ctx context.Context, method string, request proto.Message, into any) error {
	return r.conn.Invoke(ctx, "/runtime.v1.RuntimeService/"+method, request, into, grpc.ForceCodecV2(raw{}))
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

// lists are the calls that grow with what there is.
var lists = []telling{
	{"ListPodSandbox", listPods, []goal{toBest(0.5)}, false},
	{"ListPodSandbox, not decoded", undecoded("ListPodSandbox", &cri.ListPodSandboxRequest{}), []goal{toBest(0.5)}, false},
	{"ListContainers", listContainers, []goal{toBest(0.5)}, false},
	{"ListContainers, not decoded", undecoded("ListContainers", &cri.ListContainersRequest{}), []goal{toBest(0.5)}, false},
}

// ready starts a server that does nothing for these calls: the first runtime's answers are ready there.
func (b *bench) ready(ctx context.Context) (*runtime, error) {
	dir := filepath.Join(b.scratch, "answers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for method, request := range map[string]proto.Message{"ListPodSandbox": &cri.ListPodSandboxRequest{}, "ListContainers": &cri.ListContainersRequest{}} {
		var answer []byte
		err := b.all[0].raw(ctx, method, request, &answer)
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, method), answer, 0o600)); err != nil {
			return nil, err
		}
	}
	r, err := b.bareServer(dir)
	if err != nil {
		return nil, err
	}
	return r, r.launch(ctx)
}

// measureRecords lists pods and containers of which there are very many, and none runs: what a node comes to whose pods end
// often. Nothing is removed. Of the others the one that lists some fastest goes on to many: as many as it has descriptors
// for, since containerd 1.6 keeps some for each, and 20,000 is a usual limit.
func measureRecords(ctx context.Context, b *bench) error {
	const perPod = 100
	made := 0
	for _, pods := range []int{max(1, b.records/8/perPod), b.records / perPod} {
		containers := pods * perPod
		err := b.each(func(r *runtime) error {
			say("%d containers of %s", containers, r.name)
			return inParallel(pods-made, 8, func(n int) error { return b.ended(ctx, r, fmt.Sprintf("records-%d", made+n), perPod) })
		})
		if err != nil {
			return err
		}
		made = pods
		if b, err = b.measureLists(ctx, containers); err != nil {
			return err
		}
	}
	return nil
}

// measureLists lists so many containers and their pods, and says who of the others goes on.
func (b *bench) measureLists(ctx context.Context, containers int) (next *bench, err error) {
	bare, err := b.ready(ctx)
	if err != nil {
		return nil, fmt.Errorf("answers that are ready: %w", err)
	}
	defer func() { err = errors.Join(err, bare.stop(), os.RemoveAll(bare.socket)) }()
	times := series{}
	for _, call := range lists {
		clear(times)
		err := b.alternate(b.rounds(30), func(r *runtime, n int) error {
			err := times.timed(r, n, func() error { return call.call(ctx, r, pod{}) })
			if err != nil || r != b.all[0] {
				return err
			}
			return times.timed(bare, n, func() error { return call.call(ctx, bare, pod{}) })
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", call.name, err)
		}
		values, at := times.millis(), fmt.Sprintf("%s at %d containers", call.name, containers)
		b.table.Floors = append(b.table.Floors, floor{at + ", from a server in Go that has Coracle's answer ready", "ms", values[bare.name]})
		delete(values, bare.name)
		b.table.less(at+", none of which runs", "ms", values, call.goal...)
	}
	return b.withFastest(times.millis()), nil
}

// withFastest is the bench with the first runtime and the fastest of the others.
func (b *bench) withFastest(times map[string]value) *bench {
	fastest := slices.MinFunc(b.all[1:], func(a, c *runtime) int { return cmp.Compare(times[a.name].Median, times[c.name].Median) })
	two := *b
	two.all = []*runtime{b.all[0], fastest}
	return &two
}

// ended makes a pod with so many containers, and stops it.
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
