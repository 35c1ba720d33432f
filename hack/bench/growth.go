package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// grown are the numbers of pods at which everything is measured again.
var grown = []int{1, 10, 100, 500}

// peersTo is how many pods the compared runtimes get: what they keep for each would fill the machine.
const peersTo = 100

// alone is what the others are compared with, done by the bench itself.
const alone = "network plugins alone, ADD"

// operations are what must cost the same however many pods there are; what lists cost is told for each pod.
var operations = []string{alone, "start of a pod", "start of a pod, host network", "ExecSync of true", "ContainerStatus",
	"stop and removal of a pod", "ListContainers, a pod", "ListContainerStats, a pod"}

// measureGrowth fills a node in steps and measures the same at each. One runtime after the other, since what idle pods of
// another's use would count as growth.
func measureGrowth(ctx context.Context, b *bench) error {
	at := map[string]map[int]map[string]value{}
	steps := grown
	for len(steps) > 1 && steps[len(steps)-1] > 5*b.pods {
		steps = steps[:len(steps)-1]
	}
	for _, operation := range operations {
		at[operation] = map[int]map[string]value{}
		for _, step := range steps {
			at[operation][step] = map[string]value{}
		}
	}
	err := b.each(func(r *runtime) error {
		var crowd []pod
		for _, step := range steps {
			if r != b.all[0] && step > peersTo {
				break
			}
			say("%d pods of %s", step, r.name)
			before := len(crowd)
			crowd = append(crowd, make([]pod, step-before)...)
			err := inParallel(step-before, 10, func(n int) (err error) {
				crowd[before+n], err = b.pod(ctx, r, shape{name: fmt.Sprintf("growth-%d", before+n)})
				return err
			})
			if err != nil {
				return err
			}
			taken := map[string]series{}
			for _, operation := range operations {
				taken[operation] = series{}
			}
			for n := -1; n < b.rounds(5); n++ {
				if err := b.grownOnce(ctx, r, n, step, crowd, taken); err != nil {
					return err
				}
			}
			for operation, samples := range taken {
				maps.Copy(at[operation][step], samples.millis())
			}
		}
		return inParallel(len(crowd), 10, func(n int) error { return r.remove(ctx, crowd[n]) })
	})
	if err != nil {
		return err
	}
	for _, operation := range operations {
		for _, step := range steps {
			b.table.less(fmt.Sprintf("%s, at %d pods", operation, step), "ms", at[operation][step])
		}
		most, ratios := steps[len(steps)-1], map[string]value{}
		for _, r := range b.all {
			first, ok := at[operation][steps[0]][r.name]
			if last, there := at[operation][most][r.name]; ok && there && first.Median > 0 {
				ratios[r.name] = single(last.Median / first.Median)
			}
		}
		var goals []goal
		if operation != alone {
			goals = []goal{atMost(1.25)}
		}
		b.table.less(fmt.Sprintf("%s, at %d pods beside one", operation, most), "", ratios, goals...)
	}
	return nil
}

// grownOnce measures each operation once, beside so many pods.
func (b *bench) grownOnce(ctx context.Context, r *runtime, n, step int, crowd []pod, taken map[string]series) error {
	var p, plain pod
	one := crowd[len(crowd)/2]
	perPod := func(operation string, do func() error) error {
		begun, used := time.Now(), r.cpu()
		if err := do(); err != nil {
			return err
		}
		took := sample{time.Since(begun) / time.Duration(step), (r.cpu() - used) / time.Duration(step)}
		if n >= 0 {
			taken[operation][r] = append(taken[operation][r], took)
		}
		return nil
	}
	for _, do := range []func() error{
		func() error {
			add, _, err := b.network(ctx, n)
			if n >= 0 {
				taken[alone][r] = append(taken[alone][r], add)
			}
			return err
		},
		func() error {
			return taken["start of a pod, host network"].timed(r, n, func() (err error) {
				plain, err = b.pod(ctx, r, shape{name: fmt.Sprintf("plain-%d-%d", step, n), host: true})
				return err
			})
		},
		func() error { return r.remove(ctx, plain) },
		func() error {
			return taken["start of a pod"].timed(r, n, func() (err error) {
				p, err = b.pod(ctx, r, shape{name: fmt.Sprintf("grown-%d-%d", step, n)})
				return err
			})
		},
		func() error {
			return taken["ExecSync of true"].timed(r, n, func() error { return r.exec(ctx, one, "/bin/true") })
		},
		func() error {
			return taken["ContainerStatus"].timed(r, n, func() error {
				_, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: one.container})
				return err
			})
		},
		func() error {
			return taken["stop and removal of a pod"].timed(r, n, func() error { return r.remove(ctx, p) })
		},
		func() error {
			return perPod("ListContainers, a pod", func() error {
				_, err := r.calls.ListContainers(ctx, &cri.ListContainersRequest{})
				return err
			})
		},
		func() error {
			return perPod("ListContainerStats, a pod", func() error {
				_, err := r.calls.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
				return err
			})
		},
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}
