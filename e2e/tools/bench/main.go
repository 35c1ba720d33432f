// Command bench measures container runtimes side by side over CRI: start and end of pods, ExecSync, pulls, and the
// memory that idle pods cost. Rounds alternate between the runtimes, so that what disturbs the machine disturbs both.
// Its exit status is 3 when all was measured and a limit was missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	image, large                  string
	logs, cgroup                  string
	podRounds, execRounds, memory int
	pullRounds, root              int
	streamMiB, streamRounds       int
	listed, listRounds            int
}

func main() {
	var s settings
	flag.StringVar(&s.image, "image", "", "small image that the pods run; it needs sh, top and true")
	flag.StringVar(&s.large, "large", "", "image whose pull is measured")
	flag.StringVar(&s.logs, "logs", "", "directory for the containers' logs")
	flag.StringVar(&s.cgroup, "cgroup", "", "cgroup that the pods' own are made in, as a kubelet has one; without, pods have none of their own")
	flag.IntVar(&s.podRounds, "pods", 20, "rounds of pod start and end")
	flag.IntVar(&s.execRounds, "execs", 60, "rounds of ExecSync")
	flag.IntVar(&s.pullRounds, "pulls", 5, "rounds of pulls")
	flag.IntVar(&s.memory, "idle", 20, "pods that run idle while memory is measured")
	flag.IntVar(&s.streamMiB, "stream", 1024, "MiB that are streamed out of a pod, for the part streaming")
	flag.IntVar(&s.streamRounds, "streams", 5, "rounds of it")
	flag.IntVar(&s.listed, "listed", 200, "pods there are while calls that only tell are measured, for the part lists")
	flag.IntVar(&s.listRounds, "lists", 50, "rounds of each of these calls")
	part := flag.String("part", "", "what is measured: streaming, lists; all else when empty")
	flag.IntVar(&s.root, "root", 1, "process that all of both runtimes' processes descend from")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: bench [FLAG...] NAME=SOCKET=PID NAME=SOCKET=PID   (the first is compared with the second)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 || s.image == "" || s.logs == "" {
		flag.Usage()
		os.Exit(2)
	}
	var pair [2]*runtime
	for i, arg := range flag.Args() {
		r, err := dial(arg)
		if err != nil {
			fail(err)
		}
		pair[i] = r
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	measure, ok := parts[*part]
	if !ok {
		fail(fmt.Errorf("no such part: %s", *part))
	}
	table := &table{}
	err := prepare(ctx, s, pair)
	if err == nil {
		err = measure(ctx, s, pair, table)
	}
	table.print(os.Stdout, pair[0].name, pair[1].name)
	if err != nil {
		fail(err)
	}
	if table.missed() {
		os.Exit(3)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// alternate runs one round after another on both runtimes, each first every other time; round -1 is not measured.
func alternate(pair [2]*runtime, rounds int, round func(r *runtime, n int) error) error {
	for n := -1; n < rounds; n++ {
		order := [2]int{0, 1}
		if n%2 != 0 {
			order = [2]int{1, 0}
		}
		for _, i := range order {
			if err := round(pair[i], n); err != nil {
				return fmt.Errorf("%s: %w", pair[i].name, err)
			}
		}
	}
	return nil
}

// parts are what can be measured by itself; the table holds what was measured before an error.
var parts = map[string]func(context.Context, settings, [2]*runtime, *table) error{
	"":          measureLife,
	"streaming": measureStreaming,
	"lists":     measureLists,
}

func prepare(ctx context.Context, s settings, pair [2]*runtime) error {
	for _, r := range pair {
		if err := r.pull(ctx, s.image); err != nil {
			return err
		}
	}
	return nil
}

func measureLife(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	say("daemons without pods")
	t.row("daemon's memory without pods (PSS)", "MB", 0, both(pair, func(r *runtime) float64 { return pss(r.daemon) }))
	say("pod start and end, %d rounds", s.podRounds)
	if err := measurePods(ctx, s, pair, t); err != nil {
		return err
	}
	say("ExecSync, %d rounds", s.execRounds)
	if err := measureExec(ctx, s, pair, t); err != nil {
		return err
	}
	if s.large != "" {
		say("pull, %d rounds", s.pullRounds)
		if err := measurePull(ctx, s, pair, t); err != nil {
			return err
		}
	}
	say("memory of %d idle pods", s.memory)
	return measureMemory(ctx, s, pair, t)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// both is a value of each runtime.
func both(pair [2]*runtime, value func(*runtime) float64) [2]float64 {
	return [2]float64{value(pair[0]), value(pair[1])}
}

func measurePods(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	times := map[*runtime]*podTimes{pair[0]: {}, pair[1]: {}}
	err := alternate(pair, s.podRounds, func(r *runtime, n int) error {
		p, took, err := r.start(ctx, s, fmt.Sprintf("start-%d", n))
		if err != nil {
			return err
		}
		begun := time.Now()
		if err := r.remove(ctx, p); err != nil {
			return err
		}
		took.end = time.Since(begun)
		if n >= 0 {
			times[r].add(took)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name  string
		limit float64
		of    func(*podTimes) []time.Duration
	}{
		{"pod start", 0.45, func(p *podTimes) []time.Duration { return p.total }},
		{"  RunPodSandbox", 0, func(p *podTimes) []time.Duration { return p.run }},
		{"  CreateContainer", 0, func(p *podTimes) []time.Duration { return p.create }},
		{"  StartContainer", 0, func(p *podTimes) []time.Duration { return p.start }},
		{"pod stop and removal", 0, func(p *podTimes) []time.Duration { return p.end }},
	} {
		t.row(part.name, "ms", part.limit, both(pair, func(r *runtime) float64 { return median(part.of(times[r])) }))
	}
	return nil
}

func measureExec(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	pods, times := map[*runtime]pod{}, map[*runtime][]time.Duration{}
	for _, r := range pair {
		p, _, err := r.start(ctx, s, "exec")
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		pods[r] = p
	}
	err := alternate(pair, s.execRounds, func(r *runtime, n int) error {
		begun := time.Now()
		if err := r.exec(ctx, pods[r], "/bin/true"); err != nil {
			return err
		}
		if n >= 0 {
			times[r] = append(times[r], time.Since(begun))
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.row("ExecSync of /bin/true", "ms", 0.25, both(pair, func(r *runtime) float64 { return median(times[r]) }))
	for _, r := range pair {
		if err := r.remove(ctx, pods[r]); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func measurePull(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	times := map[*runtime][]time.Duration{}
	err := alternate(pair, s.pullRounds, func(r *runtime, n int) error {
		syscall.Sync()
		begun := time.Now()
		if err := r.pull(ctx, s.large); err != nil {
			return err
		}
		took := time.Since(begun)
		if n >= 0 {
			times[r] = append(times[r], took)
		}
		return r.removeImage(ctx, s.large)
	})
	if err != nil {
		return err
	}
	name := s.large[strings.LastIndex(s.large, "/")+1:]
	t.row("pull of the image "+name, "ms", 0.6, both(pair, func(r *runtime) float64 { return median(times[r]) }))
	return nil
}

func measureMemory(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	var perPod, withDaemon, processes, daemon [2]float64
	for i, r := range pair {
		known, daemonBefore := below(s.root), privateAnonymous(r.daemon)
		var pods []pod
		for n := range s.memory {
			p, _, err := r.start(ctx, s, fmt.Sprintf("idle-%d", n))
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			pods = append(pods, p)
		}
		time.Sleep(2 * time.Second) // what a start leaves to be freed is freed
		beside, err := r.beside(ctx, s.root, known, pods)
		if err != nil {
			return err
		}
		count := float64(s.memory)
		perPod[i] = privateAnonymous(beside) / count
		withDaemon[i] = perPod[i] + (privateAnonymous(r.daemon)-daemonBefore)/count
		processes[i] = float64(len(beside)) / count
		daemon[i] = pss(r.daemon)
		for _, p := range pods {
			if err := r.remove(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	t.absolute("private memory per idle pod (anonymous)", "MB", 0.12, perPod)
	t.row("  with the daemon's growth", "MB", 0, withDaemon)
	t.absolute("processes per idle pod beside the container's", "", 1, processes)
	t.row(fmt.Sprintf("daemon's memory at %d pods (PSS)", s.memory), "MB", 0, daemon)
	return nil
}
