package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// measureDaemons starts daemons that have nothing to do yet.
func measureDaemons(ctx context.Context, b *bench) error {
	starts := series{}
	err := b.alternate(b.rounds(10), func(r *runtime, n int) error {
		if err := errors.Join(r.stop(), r.prepare()); err != nil {
			return err
		}
		return starts.timed(r, n, func() error { return r.launch(ctx) })
	})
	if err != nil {
		return err
	}
	b.table.less("start of the daemon to its first Version", "ms", starts.millis(), toBest(0.2))
	time.Sleep(rest)
	b.table.less("memory of a daemon that has done nothing yet (PSS)", "MB", b.values(func(r *runtime) float64 { return pss(r.processes()) }), atMost(12))
	sizes := map[string]value{}
	for _, r := range b.all {
		if info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", r.process.Process.Pid)); err == nil {
			sizes[r.name] = single(float64(info.Size()) / 1e6)
		}
	}
	b.table.less("size of the daemon's program, stripped", "MB", sizes, atMost(15))
	return b.measureBareServer(ctx)
}

// measureEvents measures how long the end of a process takes to be an event.
func measureEvents(ctx context.Context, b *bench) error {
	ends := series{}
	err := b.each(func(r *runtime) error {
		err := b.eventsOf(ctx, r, ends)
		if status.Code(errors.Unwrap(err)) == codes.Unimplemented || status.Code(err) == codes.Unimplemented {
			say("%s has no events", r.name)
			return nil
		}
		if err != nil && r != b.all[0] {
			say("%s: %v; its rounds end here", r.name, err)
			b.table.Facts["events of "+r.name] = "incomplete: " + err.Error()
			return nil
		}
		return err
	})
	b.table.less("end of a container to its event", "ms", ends.millis(), toBest(0.3))
	return err
}

func (b *bench) eventsOf(ctx context.Context, r *runtime, ends series) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.calls.GetContainerEvents(ctx, &cri.GetEventsRequest{})
	if err != nil {
		return err
	}
	heard, failed := make(chan *cri.ContainerEventResponse, 100), make(chan error, 1)
	go func() {
		for {
			event, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			heard <- event
		}
	}()
	for n := -1; n < b.rounds(20); n++ {
		p, err := b.pod(ctx, r, shape{name: fmt.Sprintf("events-%d", n), host: true})
		if err != nil {
			return err
		}
		pid, err := r.pid(ctx, p)
		if err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond) // what a start leaves to be done is done
		err = ends.timed(r, n, func() error {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return err
			}
			for {
				select {
				case event := <-heard:
					if event.ContainerId == p.container && event.ContainerEventType == cri.ContainerEventType_CONTAINER_STOPPED_EVENT {
						return nil
					}
				case err := <-failed:
					return err
				case <-time.After(30 * time.Second):
					return fmt.Errorf("there is no event of the end")
				}
			}
		})
		if err != nil {
			return err
		}
		if err := r.remove(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// measureLogs has a container write lines until there are so many megabytes, and end.
func measureLogs(ctx context.Context, b *bench) error {
	const line = 100
	runs := series{}
	script := fmt.Sprintf("yes %0*d | head -c %d", line-1, 0, b.logMB*1000*1000)
	err := b.alternate(b.rounds(3), func(r *runtime, n int) error {
		// There is nothing to be warm from.
		if n < 0 {
			return nil
		}
		name := fmt.Sprintf("logs-%d", n)
		err := runs.timed(r, n, func() error {
			p, err := b.pod(ctx, r, shape{name: name, host: true, command: []string{"sh", "-c", script}})
			if err != nil {
				return err
			}
			for {
				answer, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: p.container})
				if err != nil {
					return err
				}
				if answer.Status.State == cri.ContainerState_CONTAINER_EXITED {
					return r.remove(ctx, p)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		if err != nil {
			return err
		}
		log := b.logs + "/" + r.name + "-" + name + ".log"
		info, err := os.Stat(log)
		if err != nil {
			return err
		}
		if lines := int64(b.logMB * 1000 * 1000 / line); info.Size() < lines*(line+30) {
			return fmt.Errorf("the log has %d bytes, too few for %d lines", info.Size(), lines)
		}
		return os.Remove(log)
	})
	if err != nil {
		return err
	}
	b.table.more(fmt.Sprintf("log, %d MB of standard output", b.logMB), "MB a second", runs.perSecond(float64(b.logMB), float64(b.logMB)), toBest(2))
	return nil
}
