package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// measurePods measures lives of pods, one at a time: with a network of their own, and in the node's.
func measurePods(ctx context.Context, b *bench) error {
	for _, kind := range []struct {
		name       string
		host       bool
		start, end []goal
	}{
		{"bridge network", false, []goal{toBest(0.4), {0.32, "containerd-runc"}}, []goal{toBest(0.6)}},
		{"host network", true, []goal{toBest(0.15)}, []goal{toBest(0.3)}},
	} {
		starts, ends, lives := series{}, series{}, series{}
		taken := [3]series{{}, {}, {}}
		err := b.alternate(b.rounds(20), func(r *runtime, n int) error {
			return lives.timed(r, n, func() error {
				var p pod
				var took [3]time.Duration
				err := starts.timed(r, n, func() (err error) {
					p, took, err = b.start(ctx, r, shape{name: fmt.Sprintf("pods-%d", n), host: kind.host})
					return err
				})
				if err != nil {
					return err
				}
				for i, t := range took {
					if n >= 0 {
						taken[i][r] = append(taken[i][r], sample{wall: t})
					}
				}
				return ends.timed(r, n, func() error { return r.remove(ctx, p) })
			})
		})
		if err != nil {
			return err
		}
		b.table.less("pod start, "+kind.name, "ms", starts.millis(), kind.start...)
		for i, step := range steps {
			b.table.less("of it "+step, "ms", taken[i].millis())
		}
		b.table.less("pod stop and removal, "+kind.name, "ms", ends.millis(), kind.end...)
		b.table.less("whole life of a pod, "+kind.name, "ms", lives.millis())
	}
	return nil
}

// inParallel does something so many times, so many at a time, and gives all errors.
func inParallel(times, atATime int, do func(n int) error) error {
	var group sync.WaitGroup
	slots, errs := make(chan struct{}, atATime), make([]error, times)
	for n := range times {
		slots <- struct{}{}
		group.Go(func() {
			errs[n] = do(n)
			<-slots
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// measureRates measures how many pods a second start when a node is filled.
func measureRates(ctx context.Context, b *bench) error {
	for _, atATime := range []int{10, 50} {
		times := 2 * atATime
		if atATime == 10 {
			times = 40
		}
		starts, ends := series{}, series{}
		err := b.alternate(b.rounds(1), func(r *runtime, n int) error {
			if n < 0 {
				return nil
			}
			pods := make([]pod, times)
			err := starts.timed(r, n, func() error {
				return inParallel(times, atATime, func(i int) (err error) {
					pods[i], err = b.pod(ctx, r, shape{name: fmt.Sprintf("rates-%d-%d", n, i)})
					return err
				})
			})
			if err != nil {
				return err
			}
			return ends.timed(r, n, func() error {
				return inParallel(times, atATime, func(i int) error { return r.remove(ctx, pods[i]) })
			})
		})
		if err != nil {
			return err
		}
		b.table.more(fmt.Sprintf("pods started, %d at a time", atATime), "a second", starts.perSecond(float64(times), 1), toBest(3))
		b.table.more(fmt.Sprintf("pods stopped and removed, %d at a time", atATime), "a second", ends.perSecond(float64(times), 1))
	}
	return nil
}
