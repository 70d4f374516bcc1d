package runner

import (
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// record is the trace while it is being written. Its timeline may be added to from any goroutine of the run.
type record struct {
	mu     sync.Mutex
	clock  bench.Clock
	trace  *trace.Trace
	notify func(trace.Event)
	masker *strings.Replacer
}

func newRecord(p *plan.Plan, b *bench.Bench, o Options) *record {
	t := &trace.Trace{
		Scenario: p.Scenario.Name,
		File:     p.Scenario.Pos.File,
		About:    p.Scenario.About,
		Device:   b.DevName,
		Model:    b.Model,
		Bench:    b.Name,
		Account:  account(b),
	}
	r := &record{clock: b.Clock, trace: t, notify: o.Notify, masker: newMasker(o.Secrets)}
	t.About = r.mask(t.About)
	return r
}

// account is the carrier's own, the wire's where there is no carrier or it names one that is not known.
func account(b *bench.Bench) trace.Account {
	if b.Carrier == nil {
		return trace.Wire
	}
	a, err := trace.ParseAccount(b.Carrier.Account())
	if err != nil {
		return trace.Wire
	}
	return a
}

// mask is what stands where a secret stood.
const mask = "•••"

// newMasker replaces secrets, the longest first so that none is left half visible.
func newMasker(secrets map[string]string) *strings.Replacer {
	var values []string
	for _, v := range secrets {
		if v != "" {
			values = append(values, v)
		}
	}
	sort.Slice(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	var pairs []string
	for _, v := range values {
		pairs = append(pairs, v, mask)
	}
	return strings.NewReplacer(pairs...)
}

func (r *record) mask(s string) string { return r.masker.Replace(s) }

// note adds an event to the timeline, now unless it has a time, and gives it as noted.
func (r *record) note(e trace.Event) trace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = r.clock.Now()
	}
	e.Wall = time.Now()
	e.Name, e.Text = r.mask(e.Name), r.mask(e.Text)
	for k, v := range e.Values {
		e.Values[k] = r.mask(v)
	}
	r.trace.Timeline = append(r.trace.Timeline, e)
	if r.notify != nil {
		r.notify(e)
	}
	return e
}

// windows keeps the windows that are open, and numbers those that repeat.
type windows struct {
	record *record
	open   []openWindow
	opened map[string]int
}

type openWindow struct {
	name  string
	index int
	from  time.Time
}

func newWindows(r *record) *windows { return &windows{record: r, opened: map[string]int{}} }

// begin opens a window; one that repeats gets the next number.
func (w *windows) begin(name string, repeats bool) {
	index := 0
	if repeats {
		w.opened[name]++
		index = w.opened[name]
	}
	e := w.record.note(trace.Event{Kind: trace.EventWindow, Name: windowName(name, index), State: "open"})
	w.open = append(w.open, openWindow{name: name, index: index, from: e.Time})
}

// end closes the window that was opened last.
func (w *windows) end() {
	last := w.open[len(w.open)-1]
	w.open = w.open[:len(w.open)-1]
	e := w.record.note(trace.Event{Kind: trace.EventWindow, Name: windowName(last.name, last.index), State: "close"})
	w.record.trace.Windows = append(w.record.trace.Windows,
		trace.Window{Name: last.name, Index: last.index, From: last.from, To: e.Time})
}

func (w *windows) closeAll() {
	for len(w.open) > 0 {
		w.end()
	}
}

func windowName(name string, index int) string {
	if index == 0 {
		return name
	}
	return name + "[" + itoa(index) + "]"
}
