package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// crowd is what a runtime's many pods are, and what it cost to have them.
type crowd struct {
	pods []pod
	// Of the runtime without pods: its processes' private memory in MB.
	alone float64
}

// rest is how long a node does nothing before memory is measured: what bursts of work have needed is given back by then, by
// those that give it back.
const rest = 15 * time.Second

// measureMany fills a node in two steps, and measures on the way what pods cost that do nothing, what asking about them
// costs, and what their probes do.
func measureMany(ctx context.Context, b *bench) error {
	crowds := map[*runtime]*crowd{}
	time.Sleep(rest)
	for _, r := range b.all {
		crowds[r] = &crowd{alone: privateAnonymous(r.processes())}
	}
	b.table.less("memory of the daemon without pods (PSS)", "MB", b.values(func(r *runtime) float64 { return pss(r.processes()) }), atMost(12))
	b.table.less("… of it pages of no file, without pods", "MB", b.values(func(r *runtime) float64 { return anonymous(r.processes()) }))
	for _, count := range []int{b.pods / 2, b.pods} {
		err := b.each(func(r *runtime) error {
			say("%d pods of %s", count, r.name)
			c := crowds[r]
			before := len(c.pods)
			c.pods = append(c.pods, make([]pod, count-before)...)
			defer b.pauseOthers(r)()
			return inParallel(count-before, 10, func(n int) (err error) {
				c.pods[before+n], err = b.pod(ctx, r, shape{name: fmt.Sprintf("many-%d", before+n)})
				return err
			})
		})
		if err != nil {
			return err
		}
		time.Sleep(rest)
		if err := b.measureMemory(ctx, crowds, count); err != nil {
			return err
		}
		if err := b.measureTelling(ctx, crowds, count); err != nil {
			return err
		}
	}
	if err := b.measureIdle(ctx, crowds); err != nil {
		return err
	}
	if err := b.measureProbes(ctx, crowds); err != nil {
		return err
	}
	if err := b.measureRestart(ctx, b.pods); err != nil {
		return err
	}
	return b.each(func(r *runtime) error {
		pods := crowds[r].pods
		defer b.pauseOthers(r)()
		return inParallel(len(pods), 10, func(n int) error { return r.remove(ctx, pods[n]) })
	})
}

// values are one value a runtime.
func (b *bench) values(of func(r *runtime) float64) map[string]value {
	values := map[string]value{}
	for _, r := range b.all {
		values[r.name] = single(of(r))
	}
	return values
}

// measureMemory tells what each pod has taken that its container has not.
func (b *bench) measureMemory(ctx context.Context, crowds map[*runtime]*crowd, count int) error {
	beside, whole, processes, daemon, own := map[string]value{}, map[string]value{}, map[string]value{}, map[string]value{}, map[string]value{}
	err := b.each(func(r *runtime) error {
		helpers, err := r.helpers(ctx, crowds[r].pods)
		if err != nil {
			return err
		}
		private := privateAnonymous(helpers) - privateAnonymous(r.daemon)
		beside[r.name] = single(private / float64(count))
		whole[r.name] = single((privateAnonymous(helpers) - crowds[r].alone) / float64(count))
		processes[r.name] = single(float64(len(helpers)-len(r.daemon)) / float64(count))
		daemon[r.name], own[r.name] = single(pss(r.daemon)), single(anonymous(r.daemon))
		return nil
	})
	at := fmt.Sprintf(" at %d pods", count)
	b.table.less("private memory a pod beside the daemon's"+at, "MB", beside, atMost(0.08))
	b.table.less("private memory a pod, the daemon's growth too"+at, "MB", whole, toBest(0.04))
	b.table.less("processes a pod beside the container's"+at, "", processes, atMost(1))
	b.table.less("memory of the daemon"+at+" (PSS)", "MB", daemon, atMost(15))
	b.table.less("… of it pages of no file"+at, "MB", own)
	return err
}

// measureIdle tells what happens when nothing does.
func (b *bench) measureIdle(ctx context.Context, crowds map[*runtime]*crowd) error {
	const long = 60 * time.Second
	say("nothing, for a minute")
	type state struct {
		helpers []int
		wakes   map[string]int
		cpu     time.Duration
	}
	states := map[*runtime]state{}
	err := b.each(func(r *runtime) error {
		helpers, err := r.helpers(ctx, crowds[r].pods)
		states[r] = state{helpers: helpers}
		return err
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	for r, s := range states {
		s.wakes, s.cpu = wakeUps(s.helpers), r.cpu()
		states[r] = s
	}
	time.Sleep(long)
	b.table.less("a minute of nothing: processor time", "ms", b.values(func(r *runtime) float64 {
		return float64((r.cpu() - states[r].cpu).Microseconds()) / 1000
	}))
	b.table.less("a minute of nothing: wake-ups", "", b.values(func(r *runtime) float64 {
		return float64(more(states[r].wakes, wakeUps(states[r].helpers)))
	}))
	return nil
}

// measureProbes executes a command in each pod every second, as exec probes do.
func (b *bench) measureProbes(ctx context.Context, crowds map[*runtime]*crowd) error {
	const seconds = 4
	used := map[string]value{}
	err := b.each(func(r *runtime) error {
		say("probes of %s", r.name)
		pods := crowds[r].pods
		defer b.pauseOthers(r)()
		before, begun := r.cpu(), time.Now()
		var group sync.WaitGroup
		errs := make([]error, len(pods))
		for n, p := range pods {
			group.Go(func() {
				// Spread over the second, as a kubelet's are.
				time.Sleep(time.Duration(n) * time.Second / time.Duration(len(pods)))
				ticks := time.NewTicker(time.Second)
				defer ticks.Stop()
				for range seconds {
					if errs[n] = r.exec(ctx, p, "/bin/true"); errs[n] != nil {
						return
					}
					<-ticks.C
				}
			})
		}
		group.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		took := time.Since(begun)
		used[r.name] = single(float64((r.cpu() - before).Milliseconds()) / float64(seconds*len(pods)))
		if took > 2*seconds*time.Second {
			say("   %s took %.0f s for %d s of probes", r.name, took.Seconds(), seconds)
		}
		return nil
	})
	b.table.less(fmt.Sprintf("probes, %d pods once a second: processor time of each", b.pods), "ms", used, toBest(0.15))
	return err
}

// pauseOthers stops the daemons of all runtimes but one, which use processor time for pods that do nothing; what is returned
// lets them go on.
func (b *bench) pauseOthers(one *runtime) func() {
	signal := func(what syscall.Signal) {
		for _, r := range b.all {
			if r != one && r.process != nil {
				// One that has ended is not disturbed.
				_ = r.process.Process.Signal(what)
			}
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// measureRestart ends the daemon and starts it, until it lists all containers as running.
func (b *bench) measureRestart(ctx context.Context, count int) error {
	restarts := series{}
	err := b.alternate(b.rounds(3), func(r *runtime, n int) error {
		if err := errors.Join(r.stop(), r.prepare()); err != nil {
			return err
		}
		defer b.pauseOthers(r)()
		return restarts.timed(r, n, func() error {
			if err := r.launch(ctx); err != nil {
				return err
			}
			for {
				running := &cri.ContainerFilter{State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}}
				answer, err := r.calls.ListContainers(ctx, &cri.ListContainersRequest{Filter: running})
				if err == nil && len(answer.Containers) == count {
					return nil
				}
				if ctx.Err() != nil {
					return fmt.Errorf("%d containers are listed of %d: %w", len(answer.GetContainers()), count, err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	})
	b.table.less(fmt.Sprintf("restart of the daemon with %d pods, until all are listed", count), "ms", restarts.millis(), toBest(0.2))
	return err
}
