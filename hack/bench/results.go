package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// table is what one run measured.
type table struct {
	Day      string
	Facts    map[string]string
	Runtimes []string
	Axes     []axis
	Floors   []floor `json:",omitempty"`
	part     string
}

// axis is one quantity of all runtimes.
type axis struct {
	Part, Name, Unit string
	// More of it is better.
	More   bool             `json:",omitempty"`
	Goals  []goal           `json:",omitempty"`
	Values map[string]value `json:"values"`
}

// value is a median with the quartiles around it, and the processor time of a round in milliseconds where that was measured.
type value struct {
	Median, Low, High float64
	CPU               float64 `json:",omitempty"`
}

// goal is what the first runtime has to reach: a ratio to the best of the others, or to the one that is named, or a value.
type goal struct {
	Limit float64
	Of    string
}

const (
	ofBest  = "best"
	ofValue = "value"
	// ofBestCPU is a goal for the processor time.
	ofBestCPU = "best, processor time"
)

// sample is one round's time, and the processor time that the runtime used in it.
type sample struct{ wall, cpu time.Duration }

func toBest(limit float64) goal { return goal{limit, ofBest} }

func atMost(limit float64) goal { return goal{limit, ofValue} }

func (t *table) add(a axis) {
	a.Part = t.part
	t.Axes = append(t.Axes, a)
}

// less adds an axis of which less is better.
func (t *table) less(name, unit string, values map[string]value, goals ...goal) {
	t.add(axis{Name: name, Unit: unit, Goals: goals, Values: values})
}

// more adds an axis of which more is better.
func (t *table) more(name, unit string, values map[string]value, goals ...goal) {
	t.add(axis{Name: name, Unit: unit, More: true, Goals: goals, Values: values})
}

// best is the best value of the runtimes other than the first.
func (t *table) best(a axis, of func(value) float64) (float64, bool) {
	var others []float64
	for _, name := range t.Runtimes[1:] {
		if v, ok := a.Values[name]; ok {
			others = append(others, of(v))
		}
	}
	if len(others) == 0 {
		return 0, false
	}
	if a.More {
		return slices.Max(others), true
	}
	return slices.Min(others), true
}

func median(v value) float64 { return v.Median }

func processor(v value) float64 { return v.CPU }

// reached is what the first runtime comes to by the goal's measure.
func (t *table) reached(a axis, g goal) (float64, bool) {
	own, ok := a.Values[t.Runtimes[0]]
	if !ok {
		return 0, false
	}
	switch g.Of {
	case ofValue:
		return own.Median, true
	case ofBest, ofBestCPU:
		of := median
		if g.Of == ofBestCPU {
			of = processor
		}
		best, ok := t.best(a, of)
		return of(own) / best, ok && best > 0
	default:
		other, ok := a.Values[g.Of]
		return own.Median / other.Median, ok && other.Median > 0
	}
}

// met says whether a goal is reached; one that nobody can be compared for is neither met nor missed.
func (t *table) met(a axis, g goal) (met, known bool) {
	got, known := t.reached(a, g)
	if a.More && g.Of != ofBestCPU {
		return got >= g.Limit, known
	}
	return got <= g.Limit, known
}

func (t *table) missed() bool {
	return slices.ContainsFunc(t.Axes, func(a axis) bool {
		return slices.ContainsFunc(a.Goals, func(g goal) bool {
			met, known := t.met(a, g)
			return known && !met
		})
	})
}

// verdict tells of a goal, and of what is reached.
func (t *table) verdict(a axis, g goal) string {
	got, known := t.reached(a, g)
	if !known {
		return ""
	}
	limit, said := "at most", "met"
	if a.More && g.Of != ofBestCPU {
		limit = "at least"
	}
	if met, _ := t.met(a, g); !met {
		said = "MISSED"
	}
	return fmt.Sprintf("%.2f of %s, %s %g: %s", got, g.Of, limit, g.Limit, said)
}

func (t *table) print(out io.Writer) {
	t.printFloors(out)
	fmt.Fprintf(out, "%6s  %-52s", "ratio", "medians")
	for _, name := range t.Runtimes {
		fmt.Fprintf(out, " %16s", name)
	}
	fmt.Fprintln(out)
	for _, a := range t.Axes {
		ratio := "-"
		if got, ok := t.reached(a, toBest(0)); ok {
			ratio = fmt.Sprintf("%.2f", got)
		}
		fmt.Fprintf(out, "%6s  %-52s", ratio, a.Name+", "+a.Unit)
		for _, name := range t.Runtimes {
			if v, ok := a.Values[name]; ok {
				fmt.Fprintf(out, " %16.2f", v.Median)
			} else {
				fmt.Fprintf(out, " %16s", "-")
			}
		}
		fmt.Fprintln(out)
		if got, ok := t.reached(a, goal{0, ofBestCPU}); ok {
			fmt.Fprintf(out, "%6.2f  %-52s", got, "  processor time, ms")
			for _, name := range t.Runtimes {
				if v, ok := a.Values[name]; ok {
					fmt.Fprintf(out, " %16.2f", v.CPU)
				} else {
					fmt.Fprintf(out, " %16s", "-")
				}
			}
			fmt.Fprintln(out)
		}
		for _, g := range a.Goals {
			if said := t.verdict(a, g); said != "" {
				fmt.Fprintf(out, "%8s%s\n", "", said)
			}
		}
	}
}

// printFloors prints what was measured of no runtime.
func (t *table) printFloors(out io.Writer) {
	for _, f := range t.Floors {
		fmt.Fprintf(out, "%6s  %s, %s: %.2f\n", "floor", f.Name, f.Unit, f.Value.Median)
	}
}

func (t *table) write(path string) error {
	text, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// millis is the value of samples in milliseconds.
func millis(samples []sample) value {
	walls := make([]float64, 0, len(samples))
	cpu := make([]float64, 0, len(samples))
	for _, s := range samples {
		walls = append(walls, float64(s.wall.Microseconds())/1000)
		cpu = append(cpu, float64(s.cpu.Microseconds())/1000)
	}
	v := spread(walls)
	v.CPU = spread(cpu).Median
	return v
}

// spread is the median with the quartiles.
func spread(values []float64) value {
	if len(values) == 0 {
		return value{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(share float64) float64 {
		place := share * float64(len(sorted)-1)
		low := int(place)
		high := min(low+1, len(sorted)-1)
		return sorted[low] + (place-float64(low))*(sorted[high]-sorted[low])
	}
	return value{Median: at(0.5), Low: at(0.25), High: at(0.75)}
}

// single is a value that was measured once.
func single(v float64) value { return value{Median: v, Low: v, High: v} }
