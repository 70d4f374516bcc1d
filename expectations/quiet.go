package expectations

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// quiet is a claim that no packet passes from one moment to another, or for some time after a moment.
//
// It is an at-most claim: a packet seen breaks the silence whatever else is missing, unless all that are seen come so soon
// after its beginning that they may have been sent before, or so soon after its end (see late.go). Where the record ends
// before the silence does, the rest was not seen.
type quiet struct {
	from, to  *moment
	length    time.Duration
	direction string
	except    []flow.Phase
}

func quietKind() kind {
	m := adapt(momentForm(), func(m moment) *moment { return &m })
	length := adapt(scenario.Length(), func(s scenario.Span) time.Duration { return s.Length })
	object := &scenario.Object[quiet]{
		Name: "a silence", Doc: "When no packet may pass.",
		Keys: []scenario.Key[quiet]{
			scenario.Field("from", "After this moment: begin (the default), end (of the window), cut, session, first_… or last_… of packet, packet_up, packet_down, syn, fin, rst or a phase.", m, func(q *quiet) **moment { return &q.from }),
			scenario.Field("to", "Before this moment; the end where neither to nor for is given.", m, func(q *quiet) **moment { return &q.to }),
			scenario.Field("for", "For so long.", length, func(q *quiet) *time.Duration { return &q.length }),
			scenario.Field("direction", "Only packets up, or down.", scenario.Choice("direction", "up", "down"), func(q *quiet) *string { return &q.direction }),
			scenario.Field("except", "Packets of these phases don't count.", scenario.OneOrMany(phaseForm()), func(q *quiet) *[]flow.Phase { return &q.except }),
		},
		Check: func(errs *scenario.Errors, q *quiet, v scenario.Value, known bool) {
			if has(v, "to") && has(v, "for") {
				errs.Addf(v.Pos, "a silence ends at a moment (to) or after a time (for): give one of them")
			}
			if known && len(v.Map) == 0 {
				errs.Addf(v.Pos, "a silence needs from, to or for")
			}
		},
	}
	return kindOf("quiet", "No packet between two moments, or for some time after one (at most: none).", object.Form(), keyWindow, keyFlow)
}

// has says whether a mapping has a key.
func has(v scenario.Value, key string) bool {
	return slices.ContainsFunc(v.Map, func(e scenario.Entry) bool { return e.Key == key })
}

func (q quiet) wantsNothing() bool { return true }

func (q quiet) check(v *view) outcome {
	if q.headersTell() {
		v = v.shell()
	}
	v = v.deep() // the silence may reach beyond the window
	from, ok := q.begin(v)
	if !ok {
		return outcome{reason: fmt.Sprintf("%s was not seen%s: there is no silence to judge", q.from.text, v.where()), doubt: v.proof.doubt}
	}
	to, ok := q.finish(v, from)
	if !ok {
		return outcome{reason: fmt.Sprintf("%s was not seen%s: nobody knows how long the silence was to last", q.to.text, v.where()), doubt: v.proof.doubt}
	}
	during := fmt.Sprintf("from %s to %s", clock(from.at), clock(to))
	noise, late := q.noise(v, from, to)
	if len(noise) > 0 {
		first := noise[0]
		o := outcome{verdict: verdict.Fail, witnesses: noise, got: plural(int64(len(noise)), "packet"),
			reason: fmt.Sprintf("%s %s, the first at %s (packet %d)", plural(int64(len(noise)), "packet"), during, clock(first.Time), first.Number)}
		switch {
		case v.proof.wary() && !q.certain(v), v.proof.state == trace.Unproven && latest(q.from):
			o.verdict, o.doubt = verdict.Inconclusive, v.proof.doubt
		case late == len(noise):
			o.verdict, o.doubt = verdict.Inconclusive, mayPrecede
		}
		return o
	}
	o := outcome{verdict: v.proof.unseen(), doubt: v.proof.doubt, reason: "no packet " + during, got: "no packet"}
	if end := v.recorded(); end < to {
		o.verdict, o.doubt = verdict.Inconclusive, "the record ends "+span(time.Duration(to-end))+" too early"
		return o
	}
	if !q.endsByTime() {
		return o
	}
	if behind, _ := q.noise(v, found{at: to}, to+flow.LateTime); len(behind) > 0 {
		o.verdict, o.doubt, o.witnesses = verdict.Inconclusive, mayPrecede, behind[:1]
		o.reason += fmt.Sprintf(", but one at %s (packet %d)", clock(behind[0].Time), behind[0].Number)
	}
	return o
}

// endsByTime says whether the silence ends at a moment that no packet marks. Behind the end of a window others begin.
func (q quiet) endsByTime() bool { return q.length > 0 || q.to != nil && q.to.event != "" }

// latest says whether a moment is the last packet of a kind: one that was not seen may have come later, after the packets
// that seem to break the silence.
func latest(m *moment) bool { return m != nil && m.fits != nil && m.last }

// headersTell says whether packets need not be read to know the silence.
func (q quiet) headersTell() bool {
	return q.from.headersTell() && q.to.headersTell() && !slices.ContainsFunc(q.except, func(p flow.Phase) bool { return !headersTell(p) })
}

func (q quiet) begin(v *view) (found, bool) {
	if q.from == nil {
		return found{at: v.begin()}, true
	}
	return q.from.find(v, always)
}

func (q quiet) finish(v *view, from found) (int64, bool) {
	switch {
	case q.length > 0:
		return from.at + int64(q.length), true
	case q.to == nil:
		return v.end(), true
	}
	to, ok := q.to.find(v, from.at+1)
	return to.at, ok
}

// noise gives the packets that break the silence, and how many of them may have been sent before it. It may reach beyond
// the window from whose end it is counted.
func (q quiet) noise(v *view, from found, to int64) (ws []verdict.Witness, late int) {
	for _, f := range v.t.Capture.Flows {
		if nobodys(f) || v.scope.flow != nil && !v.scope.flow.takes(f) {
			continue
		}
		for i := range f.Packets {
			p := &f.Packets[i]
			after := p.Time > from.at || from.packet == nil && p.Time == from.at
			if !after || p.Time >= to || q.direction != "" && p.Dir.String() != q.direction || slices.Contains(q.except, p.Phase) {
				continue
			}
			ws = append(ws, witness(f, p, fmt.Sprintf("%s, %s", p.Dir, p.Phase)))
			if !q.from.fresh(v) && !from.surely(f, p) {
				late++
			}
		}
	}
	slices.SortStableFunc(ws, func(a, b verdict.Witness) int { return cmp.Compare(a.Time, b.Time) })
	return ws, late
}

// certain says whether a packet seen in the silence proves that it was broken, in a record with holes: the silence's
// moments, the packets excepted and their directions must not hang on what may be missing.
func (q quiet) certain(v *view) bool {
	fixed := func(m *moment) bool { return m == nil || m.fits == nil }
	if !fixed(q.from) || !fixed(q.to) || !v.sure() {
		return false
	}
	if slices.ContainsFunc(q.except, func(p flow.Phase) bool { return !shows(p) }) {
		return false
	}
	return q.direction == "" || !v.t.Capture.Inferred
}
