package main

import (
	"context"
	"time"
)

// idleBefore is how long a runtime has had nothing to do before an ExecSync of a probe.
const idleBefore = 250 * time.Millisecond

// measureExec measures ExecSync of a command that does nothing: one after the other, and after a pause.
func measureExec(ctx context.Context, b *bench) error {
	pods := map[*runtime]pod{}
	err := b.each(func(r *runtime) (err error) {
		pods[r], err = b.pod(ctx, r, shape{name: "exec"})
		return err
	})
	if err != nil {
		return err
	}
	straight, rested := series{}, series{}
	err = b.alternate(b.rounds(5), func(r *runtime, n int) error {
		for i := range 20 {
			measured := n
			if i == 0 {
				// It comes after the pause that the other runtimes' turns are.
				measured = -1
			}
			if err := straight.timed(r, measured, func() error { return r.exec(ctx, pods[r], "/bin/true") }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = b.alternate(b.rounds(30), func(r *runtime, n int) error {
		time.Sleep(idleBefore)
		return rested.timed(r, n, func() error { return r.exec(ctx, pods[r], "/bin/true") })
	})
	if err != nil {
		return err
	}
	b.table.less("ExecSync of true, one after the other", "ms", straight.millis(), toBest(0.15))
	b.table.less("ExecSync of true, after 250 ms of rest", "ms", rested.millis(), toBest(0.35))
	return b.each(func(r *runtime) error { return r.remove(ctx, pods[r]) })
}
