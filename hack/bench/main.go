// Command bench measures container runtimes side by side over CRI: the first that is named against all others. Rounds go
// round the runtimes, so that what disturbs the machine disturbs all. It starts the daemons itself, each from a script of
// its own in a cgroup of its own, which tells what the daemon and all it starts use.
// Its exit status is 3 when all was measured and a goal was missed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// settings are what the command line says.
type settings struct {
	image, registry, logs string
	// The network's configuration and plugins, and a directory on the stores' disk.
	cniConfig, cniBin, scratch string
	critest                    string
	scale                      float64
	pods, streamMiB, logMB     int
	records                    int
}

// bench is what the parts share.
type bench struct {
	settings
	all   []*runtime
	table *table
}

// part is what can be measured by itself; the table holds what was measured before an error.
type part struct {
	name, title string
	measure     func(context.Context, *bench) error
	// daemons says that runtimes with the same daemon are the same to it: it is about no container.
	daemons bool
}

// floors is the part that measures no runtime.
const floors = "floors"

// parts are in the order in which they are measured: the last leaves its records behind.
var parts = []part{
	{floors, "What no runtime gets round", measureFloors, false},
	{"pods", "Lives of pods", measurePods, false},
	{"rates", "Filling and emptying a node", measureRates, false},
	{"exec", "ExecSync", measureExec, false},
	{"pulls", "Pulls", measurePulls, true},
	{"events", "Events", measureEvents, false},
	{"logs", "Logs", measureLogs, false},
	{"streaming", "Streams", measureStreaming, false},
	{"many", "A node with many pods", measureMany, false},
	{"growth", "As a node fills", measureGrowth, false},
	{"daemon", "The daemon", measureDaemons, true},
	{"critest", "critest's benchmarks", measureCritest, false},
	{"records", "Many records", measureRecords, true},
}

func main() {
	standIn()
	var s settings
	flag.StringVar(&s.image, "image", "", "small image that the pods run; it needs sh, dd, nc and true")
	flag.StringVar(&s.registry, "registry", "", "HOST/PATH that the images to pull are below")
	flag.StringVar(&s.logs, "logs", "", "directory for the containers' logs")
	flag.StringVar(&s.cniConfig, "cni-config", "", "the runtimes' list of network plugins")
	flag.StringVar(&s.cniBin, "cni-bin", "", "directory of those plugins")
	flag.StringVar(&s.scratch, "scratch", "", "directory on the disk of the runtimes' stores")
	flag.StringVar(&s.critest, "critest", "", "critest's program")
	flag.Float64Var(&s.scale, "scale", 1, "share of the rounds that are made")
	flag.IntVar(&s.pods, "pods", 100, "pods there are in the part many; its first figures are of half of them")
	flag.IntVar(&s.streamMiB, "stream", 1024, "MiB that are streamed out of a pod")
	flag.IntVar(&s.logMB, "log", 1000, "MB that a container writes to its log")
	flag.IntVar(&s.records, "records", 4000, "containers there are in the part records; its first figures are of an eighth")
	wanted := flag.String("parts", "", "what is measured, by commas; all when empty")
	facts := flag.String("facts", "", "JSON object of strings to keep with the results: versions, command")
	out := flag.String("out", "", "file that the results go to, as JSON")
	document := flag.String("document", "", "directory that results of an earlier run, -out, are written to as text and picture; nothing is measured")
	trace := flag.String("guard", "", "what strace writes of the first of two runtimes: what it does is counted, and compared with a baseline")
	weights := flag.String("weights", "", "what callgrind writes of the second of them, numbered")
	baseline := flag.String("baseline", "", "file of the baseline")
	update := flag.Bool("update", false, "write the baseline")
	socket := flag.String("idle", "", "socket to be a server on that does nothing; nothing is measured")
	answers := flag.String("answers", "", "directory of the answers that this server has ready, named as the calls are")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: bench [FLAG...] NAME=SOCKET=CGROUP=SCRIPT...   (the first is compared with the others)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *document != "" {
		check(writeDocument(*out, *document))
		return
	}
	if *socket != "" {
		check(serveIdle(*socket, *answers))
	}
	if (flag.NArg() < 2 && *trace == "") || s.image == "" || s.logs == "" {
		flag.Usage()
		os.Exit(2)
	}
	chosen, err := choose(*wanted)
	check(err)
	b := &bench{settings: s, table: &table{Facts: map[string]string{}, Day: time.Now().UTC().Format(time.DateOnly)}}
	if *facts != "" {
		check(json.Unmarshal([]byte(*facts), &b.table.Facts))
	}
	for _, arg := range flag.Args() {
		r, err := newRuntime(arg)
		check(err)
		b.all = append(b.all, r)
		b.table.Runtimes = append(b.table.Runtimes, r.name)
	}
	if *trace != "" {
		check(b.guard(context.Background(), *trace, *weights, *baseline, *update))
		return
	}
	err = b.run(chosen, *out)
	b.table.print(os.Stdout)
	check(err)
	if b.table.missed() {
		os.Exit(3)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// choose lists the parts of these names, in the order of all.
func choose(names string) ([]part, error) {
	if names == "" {
		return parts, nil
	}
	wanted := strings.Split(names, ",")
	var chosen []part
	for _, p := range parts {
		if at := slices.Index(wanted, p.name); at >= 0 {
			chosen, wanted = append(chosen, p), slices.Delete(wanted, at, at+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no such part, or twice: %s", strings.Join(wanted, ", "))
	}
	return chosen, nil
}

// run starts the daemons, measures the parts, and ends the daemons, whatever came of it. What there is after each part is written.
func (b *bench) run(chosen []part, out string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Minute)
	defer cancel()
	defer func() {
		for _, r := range b.all {
			err = errors.Join(err, r.stop())
		}
	}()
	for _, r := range b.all {
		if err := r.launch(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if err := r.pull(ctx, b.image); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	for _, p := range chosen {
		say("== %s", p.name)
		begun := time.Now()
		b.table.part = p.name
		of := b
		if p.daemons {
			of = b.daemons()
		}
		if err := p.measure(ctx, of); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		say("   %.0f s", time.Since(begun).Seconds())
		if out != "" {
			if err := b.table.write(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// daemons is the bench with each daemon's program once: of two that differ in what starts their containers the first.
func (b *bench) daemons() *bench {
	once := *b
	once.all = nil
	var seen []string
	for _, r := range b.all {
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.process.Process.Pid))
		if err != nil || !slices.Contains(seen, program) {
			once.all, seen = append(once.all, r), append(seen, program)
		}
	}
	return &once
}

// rounds is how many of so many are made.
func (b *bench) rounds(usual int) int { return max(1, int(float64(usual)*b.scale)) }

// each does something with every runtime.
func (b *bench) each(do func(r *runtime) error) error {
	for _, r := range b.all {
		if err := do(r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// alternate makes rounds on all runtimes, each of them first in its turn; round -1 is not measured.
func (b *bench) alternate(rounds int, round func(r *runtime, n int) error) error {
	for n := -1; n < rounds; n++ {
		for i := range b.all {
			r := b.all[(i+n+1)%len(b.all)]
			if err := round(r, n); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return nil
}

// series are the samples of each runtime.
type series map[*runtime][]sample

// timed adds how long something took, and the processor time meanwhile, unless the round is not measured.
func (s series) timed(r *runtime, n int, do func() error) error {
	used, begun := r.cpu(), time.Now()
	if err := do(); err != nil {
		return err
	}
	if took := (sample{time.Since(begun), r.cpu() - used}); n >= 0 {
		s[r] = append(s[r], took)
	}
	return nil
}

// millis turns the samples into values in milliseconds.
func (s series) millis() map[string]value {
	values := map[string]value{}
	for r, samples := range s {
		values[r.name] = millis(samples)
	}
	return values
}

// perSecond turns the samples, each of so much, into amounts a second; the processor time is that of `unit` of it.
func (s series) perSecond(amount, unit float64) map[string]value {
	values := map[string]value{}
	for r, samples := range s {
		var rates, cpu []float64
		for _, one := range samples {
			rates = append(rates, amount/one.wall.Seconds())
			cpu = append(cpu, float64(one.cpu.Microseconds())/1000*unit/amount)
		}
		v := spread(rates)
		v.CPU = spread(cpu).Median
		values[r.name] = v
	}
	return values
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
