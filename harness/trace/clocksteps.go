package trace

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// clockWatch looks for clocks that were set back while they gave frames their times: each interface has its own. A clock that
// was set forward looks as one that passed a silence, and is seen only where another tap saw packets meanwhile (merge), or
// where the run's own clock disagrees (Trace.ClockDoubt).
type clockWatch struct {
	faces []faceClock
	steps []ClockStep
}

// faceClock is one interface's clock.
type faceClock struct {
	high   int64 // latest time
	before int64 // the latest before it leapt ahead
	run    int   // frames since it leapt ahead
	behind int   // frames in a row that lie far behind high
	first  int64 // time of the first of them
	last   int64 // and of the latest
}

const (
	stepBack  = int64(time.Second) // further back is no mirror's reordering
	stepAhead = int64(time.Hour)   // so far ahead a single time may be mangled
	stepVotes = 3                  // frames that are believed where one or two are not
	mostSteps = 64
)

// onward takes a frame's time where it is later than all before it, as nearly every frame's is; look takes any other.
func (w *clockWatch) onward(rec *pcap.Record) bool {
	if rec.Interface >= len(w.faces) {
		return false
	}
	f := &w.faces[rec.Interface]
	if f.behind != 0 || rec.Time < f.high || rec.Time-f.high >= stepAhead {
		return false
	}
	f.high = rec.Time
	f.run++
	return true
}

func (w *clockWatch) look(rec *pcap.Record) {
	if rec.Time <= 0 {
		return // no time at all
	}
	for rec.Interface >= len(w.faces) {
		w.faces = append(w.faces, faceClock{})
	}
	f, t := &w.faces[rec.Interface], rec.Time
	switch {
	case f.high == 0:
		f.high, f.run = t, stepVotes
	case t >= f.high:
		w.returned(f, t)
		if t-f.high >= stepAhead {
			f.before, f.run = f.high, 0
		}
		f.high = t
		f.run++
	case f.behind == 0 && t > f.high-stepBack:
	case f.run < stepVotes && f.before > 0 && t >= f.before-stepBack: // what leapt ahead were single mangled times
		f.high, f.run, f.behind = max(t, f.before), stepVotes, 0
	default:
		if f.behind == 0 {
			f.first = t
		}
		f.behind++
		f.last = t
	}
}

// returned is called where time is where it was before it went back. Frames that were held and written late come from far
// back and end as they began, by a leap; a clock that was set goes on from where it was set to.
func (w *clockWatch) returned(f *faceClock, t int64) {
	if leap, back := t-f.last, f.high-f.first; f.behind >= stepVotes && leap < back/2 {
		w.confirm(f)
	}
	f.behind = 0
}

func (w *clockWatch) confirm(f *faceClock) {
	if len(w.steps) < mostSteps {
		w.steps = append(w.steps, ClockStep{At: f.first, By: time.Duration(f.first - f.high)})
	}
}

// all gives the steps that are certain when the capture is over.
func (w *clockWatch) all() []ClockStep {
	for i := range w.faces {
		if f := &w.faces[i]; f.behind >= stepVotes {
			w.confirm(f)
			f.behind = 0
		}
	}
	return w.steps
}

// reason tells of a step.
func (s ClockStep) reason() string {
	whose, way := "the clock of the capture", "forward"
	if s.Tap != "" {
		whose = "the clock of tap " + s.Tap
	}
	by := s.By
	if by < 0 {
		way, by = "back", -by
	}
	return fmt.Sprintf("%s was set %s by %s, to %s", whose, way, by.Round(time.Millisecond), clock(time.Unix(0, s.At)))
}

// Unsorted says that the capture's packets have the times at which they passed, and are not in that order, as where files were
// joined without being sorted; "" where they are. Which phase a packet belongs to can't be judged then.
func (c *Capture) Unsorted() string {
	if c == nil || c.Disorder <= flow.NeighbourTime {
		return ""
	}
	return fmt.Sprintf("packets lie up to %s behind later ones in the capture: sort it by time (reordercap FILE SORTED, mergecap without -a)",
		time.Duration(c.Disorder).Round(time.Millisecond))
}

// runSlack is how far the times of a run's packets may lie outside of the run: its taps' hosts have clocks of their own.
const runSlack = 2 * time.Second

// ClockDoubt says why the times of the record's packets can't be trusted, "" where nothing speaks against them: a clock was
// set while it gave them their times, or they lie outside of the run in which they were captured. How long something took,
// and in which window of the run it was, can't be judged by them.
func (t *Trace) ClockDoubt() string {
	c := t.Capture
	if c == nil {
		return ""
	}
	if len(c.Steps) > 0 {
		return c.Steps[0].reason()
	}
	if t.Begin.IsZero() || t.End.IsZero() || c.First == 0 {
		return ""
	}
	first, last := time.Unix(0, c.First), time.Unix(0, c.Last)
	switch {
	case first.Before(t.Begin.Add(-runSlack)):
		return fmt.Sprintf("packets have times before the run began, the first %s: the clock of the tap's host is behind the bench's, or was set", clock(first))
	case last.After(t.End.Add(runSlack)):
		return fmt.Sprintf("packets have times after the run ended, the last %s: the clock of the tap's host is ahead of the bench's, or was set", clock(last))
	}
	return ""
}

// clockSteps gives the steps of a capture's clocks: those that the taps' packets show of each other, or the frames' own times.
func (a *analysis) clockSteps() []ClockStep {
	if len(a.out.Taps) == 0 {
		return a.clocks.all()
	}
	var out []ClockStep
	for _, t := range a.out.Taps {
		out = append(out, t.Steps...)
	}
	slices.SortStableFunc(out, func(x, y ClockStep) int { return cmp.Compare(x.At, y.At) })
	return out
}
