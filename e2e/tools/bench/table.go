package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// table is what was measured, a row a quantity.
type table struct{ rows []row }

// row has the value of both runtimes; limit is what the ratio, or the first value, may reach (0: no limit).
type row struct {
	name, unit string
	limit      float64
	values     [2]float64
	ofValue    bool
}

// row adds a quantity whose ratio may be limited.
func (t *table) row(name, unit string, limit float64, values [2]float64) {
	t.rows = append(t.rows, row{name, unit, limit, values, false})
}

// absolute adds a quantity of which the first runtime's value is limited.
func (t *table) absolute(name, unit string, limit float64, values [2]float64) {
	t.rows = append(t.rows, row{name, unit, limit, values, true})
}

func (r row) ratio() float64 {
	if r.values[1] == 0 {
		return 0
	}
	return r.values[0] / r.values[1]
}

// missed says whether the row is over its limit.
func (r row) missed() bool {
	value := r.ratio()
	if r.ofValue {
		value = r.values[0]
	}
	return r.limit > 0 && value > r.limit
}

func (t *table) missed() bool { return slices.ContainsFunc(t.rows, row.missed) }

func (t *table) print(out io.Writer, first, second string) {
	fmt.Fprintf(out, "%6s  %-46s %12s %12s  %s\n", "ratio", "medians", first, second, "")
	for _, r := range t.rows {
		verdict := ""
		if r.limit > 0 {
			of := "ratio"
			if r.ofValue {
				of = "value"
			}
			verdict = fmt.Sprintf("%s at most %.2f: met", of, r.limit)
			if r.missed() {
				verdict = fmt.Sprintf("%s at most %.2f: MISSED", of, r.limit)
			}
		}
		fmt.Fprintf(out, "%6.2f  %-46s %9.2f %-2s %9.2f %-2s  %s\n", r.ratio(), r.name, r.values[0], r.unit, r.values[1], r.unit, verdict)
	}
}

// median of durations, in milliseconds.
func median(times []time.Duration) float64 {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return float64(middle.Microseconds()) / 1000
}
