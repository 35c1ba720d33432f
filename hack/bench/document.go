package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// causes is why an axis falls short, and what would mend it: a line each, the axis and the reason with a tab between.
//
//go:embed causes.tsv
var causes string

// writeDocument turns results into performance.md and performance.svg.
func writeDocument(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	t := &table{}
	if err := json.Unmarshal(text, t); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if len(t.Runtimes) < 2 {
		return fmt.Errorf("%s: results of no two runtimes", from)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(to, "performance.md"), []byte(t.document()), 0o644),
		os.WriteFile(filepath.Join(to, "performance.svg"), []byte(t.picture()), 0o644))
}

func (t *table) document() string {
	var out strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&out, format, args...) }
	write("# Performance, in figures\n\n")
	write("Written by `hack/bench.sh document` from the results of one run of `hack/bench.sh`; not to be edited.\n\n")
	write("%s\n", preface)
	write("![ratios to the best of the others](performance.svg)\n\n")
	write("## The run\n\n| what | |\n| --- | --- |\n| day | %s |\n", t.Day)
	for _, name := range slices.Sorted(maps.Keys(t.Facts)) {
		write("| %s | %s |\n", name, t.Facts[name])
	}
	if left := t.left(); len(left) > 0 {
		write("\nNot in this run: %s.\n", strings.Join(left, ", "))
	}
	t.documentFloors(&out)
	part := ""
	for _, a := range t.Axes {
		if a.Part != part {
			part = a.Part
			write("\n## %s\n\n| what | ratio to the best | %s | goal |\n| --- | --- |%s --- |\n", title(part), strings.Join(t.Runtimes, " | "),
				strings.Repeat(" --- |", len(t.Runtimes)))
		}
		t.documentAxis(&out, a)
	}
	t.documentShort(&out)
	return out.String()
}

// left is the parts that there are no results of.
func (t *table) left() []string {
	var left []string
	for _, p := range parts {
		of := func(a axis) bool { return a.Part == p.name }
		if there := p.name == floors && len(t.Floors) > 0; !there && !slices.ContainsFunc(t.Axes, of) {
			left = append(left, p.name)
		}
	}
	return left
}

// documentFloors tells what the bench needed alone.
func (t *table) documentFloors(out *strings.Builder) {
	if len(t.Floors) == 0 {
		return
	}
	fmt.Fprintf(out, "\n## %s\n\nDone by the benchmark alone, in the same run.\n\n| what | |\n| --- | --- |\n", title(floors))
	for _, f := range t.Floors {
		fmt.Fprintf(out, "| %s, %s | %s (%s to %s) |\n", f.Name, f.Unit, digits(f.Value.Median), digits(f.Value.Low), digits(f.Value.High))
	}
}

func (t *table) documentAxis(out *strings.Builder, a axis) {
	ratio := ""
	if got, ok := t.reached(a, toBest(0)); ok {
		ratio = fmt.Sprintf("**%.2f**", got)
	}
	name := a.Name
	if a.Unit != "" {
		name += ", " + a.Unit
	}
	fmt.Fprintf(out, "| %s | %s |", name, ratio)
	for _, runtime := range t.Runtimes {
		v, ok := a.Values[runtime]
		switch {
		case !ok:
			fmt.Fprint(out, " |")
		case v.Low == v.High:
			fmt.Fprintf(out, " %s |", digits(v.Median))
		default:
			fmt.Fprintf(out, " %s (%s to %s) |", digits(v.Median), digits(v.Low), digits(v.High))
		}
	}
	var goals []string
	for _, g := range a.Goals {
		if said := t.verdict(a, g); said != "" {
			goals = append(goals, said)
		}
	}
	fmt.Fprintf(out, " %s |\n", strings.Join(goals, "; "))
	if got, ok := t.reached(a, goal{0, ofBestCPU}); ok {
		fmt.Fprintf(out, "| … processor time, ms | **%.2f** |", got)
		for _, runtime := range t.Runtimes {
			if v, ok := a.Values[runtime]; ok {
				fmt.Fprintf(out, " %s |", digits(v.CPU))
			} else {
				fmt.Fprint(out, " |")
			}
		}
		fmt.Fprint(out, " |\n")
	}
}

// documentShort names each axis that falls short, with its cause.
func (t *table) documentShort(out *strings.Builder) {
	known := map[string]string{}
	for line := range strings.Lines(causes) {
		if axis, cause, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			known[axis] = cause
		}
	}
	fmt.Fprint(out, "\n## Short of the goal\n\n")
	short := 0
	for _, a := range t.Axes {
		for _, g := range a.Goals {
			if met, is := t.met(a, g); !is || met {
				continue
			}
			short++
			cause := known[a.Name]
			if cause == "" {
				cause = "the cause is not known yet."
			}
			fmt.Fprintf(out, "- **%s**: %s. Cause: %s\n", a.Name, t.verdict(a, g), cause)
		}
	}
	if short == 0 {
		fmt.Fprint(out, "None.\n")
	}
}

const preface = `Medians of rounds that go round the runtimes, with the quartiles; ratios are to the best of the others, below 1 where less is
better. All share the machine, the kernel, one ext4 with a journal, the registry, the CNI plugins and their configuration,
and the requests: the default seccomp profile of each runtime, limits, a cgroup of its own for each pod, a log. A pull
ends when the files are on disk: Coracle does that by itself, containerd 2.4 with ` + "`image_pull_with_sync_fs`" + `; 1.6 cannot, and does
not wait. Records are as durable as each makes them. Processor time is what the kernel counts for a cgroup with the daemon and
all it starts in it, the containers too. Where a hundred pods are started, probed or removed, and where a daemon is started
again beside them, the other daemons are stopped meanwhile: what containerd's use for pods that do nothing would slow down
whoever is measured. A daemon's start is timed from the execution of its program, which is in its cgroup by then. Lists of
many records are timed until this client, which is of Go as the kubelet is, has decoded them, and until their bytes are here; of
the others the one that lists 500 containers fastest goes on to 4,000 (with 6,000 containerd 1.6 had used up its 20,000
descriptors). Where no container runs (pulls, the daemon, records) containerd 2.4 is there once. crun is Debian's, which needs
two things done for it: the version that containerd writes into the container's configuration is made an older
one by a small program, and the v2 hierarchy is hidden from it.
`

// title is what a part's table is headed with.
func title(name string) string {
	at := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
	if at < 0 {
		return name
	}
	return parts[at].title
}

// digits writes a value with three digits that count.
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// picture draws a bar for each axis with a goal against the best: the ratio on a logarithmic scale, shorter is better, the
// goal as a line.
func (t *table) picture() string {
	const (
		left, width, row, top = 470.0, 460.0, 20.0, 40.0
		least, most           = 0.005, 2.0
	)
	place := func(ratio float64) float64 {
		ratio = min(max(ratio, least), most)
		return left + width*math.Log(ratio/least)/math.Log(most/least)
	}
	var rows strings.Builder
	y := top
	for _, a := range t.Axes {
		at := slices.IndexFunc(a.Goals, func(g goal) bool { return g.Of == ofBest })
		if at < 0 {
			continue
		}
		got, ok := t.reached(a, a.Goals[at])
		if !ok {
			continue
		}
		wanted := a.Goals[at].Limit
		if a.More {
			got, wanted = 1/got, 1/wanted
		}
		colour := "#2a7f62"
		if got > wanted {
			colour = "#c0572b"
		}
		fmt.Fprintf(&rows, "<text x=%q y=\"%.0f\" text-anchor=\"end\">%s</text>", fmt.Sprint(left-8), y+13, html.EscapeString(a.Name))
		fmt.Fprintf(&rows, "<rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"14\" fill=%q/>", left, y+2, place(got)-left, colour)
		fmt.Fprintf(&rows, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\" stroke=\"black\" stroke-width=\"2\"/>", place(wanted), place(wanted), y, y+18)
		fmt.Fprintf(&rows, "<text x=\"%.1f\" y=\"%.0f\">%.2f</text>\n", left+width+8, y+13, got)
		y += row
	}
	var out strings.Builder
	fmt.Fprintf(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">", y+20)
	fmt.Fprint(&out, "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n")
	fmt.Fprintf(&out, "<text x=\"10\" y=\"16\" font-size=\"14\">%s beside the best of the others: shorter is better, the black line is the goal</text>\n", t.Runtimes[0])
	for _, mark := range []float64{0.01, 0.1, 1} {
		fmt.Fprintf(&out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\" stroke=\"#999\"/><text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\" fill=\"#666\">%g</text>\n",
			place(mark), place(mark), top-4, y, place(mark), y+14, mark)
	}
	fmt.Fprintf(&out, "%s</svg>\n", rows.String())
	return out.String()
}
