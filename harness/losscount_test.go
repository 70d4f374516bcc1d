package harness

import (
	"fmt"
	"strings"
)

// count is how findings came out.
type count struct {
	right  int // as in the untouched run
	open   int // inconclusive
	untold int // pass, truly fail: nothing tells of the loss, and the finding says what it rests on
	wrong  int
}

// results are counts by what was lost and what could tell of it. Runs of which packets were cut short are counted apart,
// whatever else was lost: behind the headers, or inside those of at least one packet.
type results struct {
	counts [numSets][numKnowledge][]count // by loss rate; the last rows are for what was cut short
	cases  int
	// unnoticed counts the cases in which packets are gone and nothing tells.
	unnoticed int
}

// rows beyond those of lossRates
var (
	cutAlone  = len(lossRates) // behind the headers, and nothing lost
	cutBehind = cutAlone + 1
	cutInside = cutBehind + 1
	numRows   = cutInside + 1
)

func (r *results) add(c *oneCase) {
	r.cases++
	if c.unnoticed() {
		r.unnoticed++
	}
	row := c.rate
	switch {
	case c.trace.Capture.HeadersCut > 0:
		row = cutInside
	case c.got.cut > 0 && c.got.losses == 0:
		row = cutAlone
	case c.got.cut > 0:
		row = cutBehind
	}
	for set := range r.counts {
		rows := &r.counts[set][c.know]
		if *rows == nil {
			*rows = make([]count, numRows)
		}
		to, n := &(*rows)[row], c.counts[set]
		to.right, to.open, to.untold, to.wrong = to.right+n.right, to.open+n.open, to.untold+n.untold, to.wrong+n.wrong
	}
}

func (r *results) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, in %d of them packets lost between two canaries that nobody counted and nothing misses\n", r.cases, r.unnoticed)
	for set, what := range []string{"the shipped claims", "claims of every kind"} {
		for k := range numKnowledge {
			fmt.Fprintf(&b, "\n%s, by %s\n  lost                   | true    | inconclusive | wrong | untold pass\n", what, k)
			for i, c := range r.counts[set][k] {
				name := map[int]string{cutAlone: "cut behind the headers", cutBehind: "lost, and cut behind", cutInside: "cut inside them"}[i]
				if i < len(lossRates) {
					name = fmt.Sprintf("%.0f %%", 100*lossRates[i])
				}
				all := max(1, c.right+c.open+c.untold+c.wrong)
				fmt.Fprintf(&b, "  %-22s | %5.1f %% |      %5.1f %% | %5d | %11d | of %d\n", name, 100*float64(c.right)/float64(all), 100*float64(c.open)/float64(all), c.wrong, c.untold, all)
			}
		}
	}
	return b.String()
}
