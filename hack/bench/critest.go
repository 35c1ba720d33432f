package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// lifecycle is what critest writes of one of its benchmarks: how long each step of each round took.
type lifecycle struct {
	OperationsNames []string
	Datapoints      []struct{ OperationsDurationsNs []int64 }
}

// measureCritest has critest's own benchmarks run, one life after the other: of pods, of containers, of images, and lists of
// images.
func measureCritest(ctx context.Context, b *bench) error {
	const each = 5
	type step struct{ file, name string }
	var order []step
	times := map[step]series{}
	err := b.alternate(b.rounds(2), func(r *runtime, n int) error {
		// Each run makes its own first life, and one of many.
		if n < 0 {
			return nil
		}
		out, err := os.MkdirTemp("", "bench-critest-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(out)
		if err := b.critestRun(ctx, r, out, each); err != nil {
			return err
		}
		for _, file := range []string{"pod", "container", "image_lifecycle", "image_listing"} {
			text, err := os.ReadFile(filepath.Join(out, file+"_benchmark_data.json"))
			if err != nil {
				return err
			}
			var got lifecycle
			if err := json.Unmarshal(text, &got); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if len(got.Datapoints) != each {
				return fmt.Errorf("critest made %d of %d lives of %s", len(got.Datapoints), each, file)
			}
			for i, name := range got.OperationsNames {
				this := step{file, name}
				if times[this] == nil {
					times[this], order = series{}, append(order, this)
				}
				for _, point := range got.Datapoints {
					times[this][r] = append(times[this][r], sample{wall: time.Duration(point.OperationsDurationsNs[i])})
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, this := range order {
		b.table.less("critest: "+this.name, "ms", times[this].millis())
	}
	return nil
}

// critestRun writes the figures of so many lives of each kind to a directory.
func (b *bench) critestRun(ctx context.Context, r *runtime, out string, lives int) error {
	settings := fmt.Sprintf("containersNumber: %[1]d\npodsNumber: %[1]d\nimagesNumber: %[1]d\n"+
		"containersNumberParallel: 1\npodsNumberParallel: 1\nimagesNumberParallel: 1\n"+
		"imagePullingBenchmarkImage: %[2]s\nimageListingBenchmarkImages: [%[2]s]\n", lives, b.image)
	params := filepath.Join(out, "params.yaml")
	if err := os.WriteFile(params, []byte(settings), 0o644); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, b.critest, "-benchmark", "-benchmarking-params-file", params, "-benchmarking-output-dir", out,
		"-runtime-endpoint", "unix://"+r.socket, "-image-endpoint", "unix://"+r.socket, "-ginkgo.no-color",
		"-ginkgo.focus", "benchmark about")
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("critest: %w: %s", err, said[max(0, len(said)-2000):])
	}
	// Its benchmarks of images take the pods' away.
	return r.pull(ctx, b.image)
}
