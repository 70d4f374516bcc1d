package expectations

import (
	"fmt"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// reconnect is a claim on how soon the device is back after each cut of its session.
//
// Cuts and sessions are the run's timeline, where nothing is lost. A first packet that was seen came no later, so a time
// within the limit is a pass even in a leaky record; a packet that was not seen is a fail only in a whole one. Neither is
// proved where it hangs on a packet that may have been sent before the cut (see late.go).
type reconnect struct {
	toSession bool
	each      *bound
	count     *bound
}

func reconnectKind() kind {
	object := &scenario.Object[reconnect]{
		Name: "a reconnection", Doc: "How soon the device is back after each cut.",
		Keys: []scenario.Key[reconnect]{
			scenario.Each("from", "From the cut of the session by the carrier.", scenario.Choice("beginning", "cut"), func(*reconnect, scenario.Entry, string) {}),
			scenario.Each("to", "To the first packet up after the cut (the default), or to the next session that the carrier tells of.",
				scenario.Choice("end", "first_packet_up", "session"), func(r *reconnect, _ scenario.Entry, word string) { r.toSession = word == "session" }),
			scenario.Each("each", "Each time.", boundForm(spans), func(r *reconnect, _ scenario.Entry, b bound) { r.each = &b }),
			scenario.Each("count", "How many cuts there were.", boundForm(pieces), func(r *reconnect, _ scenario.Entry, b bound) { r.count = &b }),
		},
	}
	return kindOf("reconnect", "How soon the device is back after each cut of its session (at most, as a rule); it must be back after each.", object.Form(), keyWindow, keyFlow)
}

func (reconnect) fromTimeline() {}

func (c reconnect) check(v *view) outcome {
	v = v.shell()
	cuts := v.carrier("delete_session")
	var outs []outcome
	var got []string
	if c.count != nil {
		n := int64(len(cuts))
		o := v.proof.judge(pieces, measure{n, n, n}, *c.count, plural(n, "cut"))
		outs = append(outs, o)
	}
	for i, cut := range cuts {
		until := v.to
		if i+1 < len(cuts) {
			until = cuts[i+1]
		}
		o := c.back(v, i+1, cut, until)
		outs, got = append(outs, o), append(got, o.got)
	}
	if len(cuts) == 0 {
		outs = append(outs, outcome{reason: "the session was not cut" + v.where() + ": nothing to judge"})
	}
	o := merge(outs...)
	o.got = atMost(got, ", ")
	if o.verdict == verdict.Pass {
		o.reason = fmt.Sprintf("back after each of %s: %s", plural(int64(len(cuts)), "cut"), o.got)
	}
	return o
}

// carrier gives the times of a call or event of the carrier in view, in order: events can be told late and out of order.
func (v *view) carrier(name string) []int64 {
	var times []int64
	for _, e := range v.t.Timeline {
		if at := e.Time.UnixNano(); happened(e, name) && at >= v.from && at < v.to {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	return times
}

// back judges one cut: whether the device was back before the next, and how soon.
func (c reconnect) back(v *view, number int, cut, until int64) outcome {
	gone := v.gone(cut, until)
	packet, at := v.firstUp(gone, until)
	o := c.backAt(v, number, cut, until, packet, at)
	if sure := min(gone+flow.LateTime, v.begun(cut, until)); !c.toSession && at != 0 && at < sure {
		packet, at = v.firstUp(sure-1, until)
		if c.backAt(v, number, cut, until, packet, at).verdict != o.verdict {
			o.verdict, o.doubt = verdict.Inconclusive, mayPrecede
		}
	}
	return o
}

// backAt judges one cut where the first packet up came at a time, 0 where none did.
func (c reconnect) backAt(v *view, number int, cut, until int64, packet verdict.Witness, at int64) outcome {
	end, what := at, "the first packet up"
	if c.toSession {
		what, end = "the new session", 0
		if begun := v.begun(cut, until); begun != never {
			end = begun
		}
	}
	if end == 0 {
		o := outcome{verdict: v.proof.unmet(), doubt: v.proof.doubt, got: "never",
			reason: fmt.Sprintf("cut %d at %s: not back, %s never came", number, clock(cut), what)}
		if c.toSession && at != 0 {
			o.verdict, o.doubt = verdict.Inconclusive, "packets went up, but the carrier told of no new session"
		}
		return o
	}
	n := end - cut
	m := measure{got: n, most: n}
	if c.toSession {
		m.least = n
	} else if !v.sure() || v.proof.wary() && v.t.Capture.Inferred {
		m.most = unlimited
	}
	b := bound{high: unlimited}
	if c.each != nil {
		b = *c.each
	}
	o := v.proof.judge(spans, m, b, fmt.Sprintf("cut %d at %s: %s after %s", number, clock(cut), what, span(time.Duration(n))))
	o.got = span(time.Duration(n))
	if o.verdict != verdict.Pass && !c.toSession {
		o.witnesses = []verdict.Witness{packet}
	}
	return o
}

// gone is when the session was really over: the network accepts the cut first and carries it out a moment later, and
// until then packets of the old session still pass. The carrier may date the end of a session later than the beginning
// of the next, so that ends are paired with cuts by the session, and no session outlives the next.
func (v *view) gone(cut, until int64) int64 {
	was, over := v.sessionAt(cut), int64(never)
	for _, e := range v.t.Timeline {
		ended := happened(e, "session.deleted") && (was == "" || e.Values["session"] == was)
		next := happened(e, "session.created") && (was == "" || e.Values["session"] != was)
		if at := e.Time.UnixNano(); (ended || next) && at > cut && at < until {
			over = min(over, at)
		}
	}
	if over == never {
		return cut
	}
	return over
}

// begun is when the next session began after a cut, never where the carrier told of none: who has one is back, and what
// comes then is no longer of the session before.
func (v *view) begun(cut, until int64) int64 {
	for _, at := range v.carrier("session.created") {
		if at > cut && at < until {
			return at
		}
	}
	return never
}

// sessionAt names the session that the device had at a moment: the last that began before; "" where the carrier told of
// none or did not name it.
func (v *view) sessionAt(when int64) (name string) {
	last := int64(always)
	for _, e := range v.t.Timeline {
		if at := e.Time.UnixNano(); happened(e, "session.created") && at <= when && at >= last {
			last, name = at, e.Values["session"]
		}
	}
	return name
}

// firstUp finds the first packet up in a stretch of the record.
func (v *view) firstUp(from, until int64) (w verdict.Witness, at int64) {
	for _, part := range v.parts {
		for i := range part.packets {
			p := &part.packets[i]
			if p.Dir == flow.Up && p.Time > from && p.Time < until && (at == 0 || p.Time < at) {
				at, w = p.Time, witness(part.Flow, p, "the first packet up after the cut")
			}
		}
	}
	return w, at
}
