package main

import (
	"context"
	"syscall"
)

// pulled are the images whose pulls are measured (e2e/images/large.py).
var pulled = []struct {
	tag, name string
	// before is there in all rounds: it shares layers.
	before string
}{
	{"layers", "pull, 7 layers of gzip", ""},
	{"zstd", "pull, the same of zstd", ""},
	{"one", "pull, one large layer", ""},
	{"small", "pull, 40 small layers", ""},
	{"layers", "pull, 6 of 7 layers there already", "sibling"},
}

// measurePulls pulls images, whose layers are in a registry beside, and removes them again.
func measurePulls(ctx context.Context, b *bench) error {
	for _, image := range pulled {
		say("%s", image.name)
		pulls := series{}
		err := b.alternate(b.rounds(3), func(r *runtime, n int) error {
			name, before := b.registry+"/bench/"+image.tag+":1", b.registry+"/bench/"+image.before+":1"
			if image.before != "" && n < 0 {
				if err := r.pull(ctx, before); err != nil {
					return err
				}
			}
			syscall.Sync()
			if err := pulls.timed(r, n, func() error { return r.pull(ctx, name) }); err != nil {
				return err
			}
			return r.removeImage(ctx, name)
		})
		if err != nil {
			return err
		}
		if image.before != "" {
			err := b.each(func(r *runtime) error { return r.removeImage(ctx, b.registry+"/bench/"+image.before+":1") })
			if err != nil {
				return err
			}
		}
		b.table.less(image.name, "ms", pulls.millis(), toBest(0.35))
	}
	return nil
}
