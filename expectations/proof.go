package expectations

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// proof is how far a claim's part of the record can be trusted.
type proof struct {
	state  trace.State
	strict bool
	doubt  string // why the record is not whole, a clause; "" where it is
}

// prove judges the part of the record that a claim is about: for what a packet shows by itself, and for what is derived
// from more than the part (a name from an answer before the window, how a flow ended after it), for which a loss
// anywhere counts.
func prove(t *trace.Trace, s trace.Scope, strict bool) (own, derived proof) {
	part, all := t.Completeness(s), t.Completeness(trace.Scope{Headers: s.Headers})
	own = proof{state: part.State, strict: strict}
	switch part.State {
	case trace.Broken:
		own.doubt = sentence(part.Reasons, "packets are missing")
		return own, own
	case trace.Unproven:
		own.doubt = sentence(part.Reasons, "nothing proves the record whole")
	case trace.Whole:
		if t.Trouble != "" || t.Interrupted {
			own.state, own.doubt = trace.Unproven, "the run did not go through"
		}
	}
	if all.State != trace.Broken {
		return own, own
	}
	derived = proof{state: trace.Broken, strict: strict,
		doubt: "packets are missing elsewhere in the record, and may be here: " + sentence(all.Reasons, "it has holes")}
	if spreads(all.Holes) {
		return derived, derived
	}
	return own, derived
}

// wary says whether what is derived from packets seen, rather than plain from each of them, proves nothing here.
func (p proof) wary() bool {
	return p.state == trace.Broken || p.state == trace.Unproven && p.strict
}

// spreads says whether any hole is of a kind that makes the rest of the record doubtful: packets gone that nobody
// counted. Losses that were counted where they happened (a tap's own drops, packets cut short, a tap that began late)
// leave the rest as good as it was.
func spreads(holes []trace.Hole) bool {
	for _, h := range holes {
		switch h.Kind {
		case trace.HoleDrops, trace.HoleCut, trace.HolePayload, trace.HoleTap:
		default:
			return true
		}
	}
	return len(holes) == 0
}

// sentence joins the first reasons.
func sentence(reasons []string, otherwise string) string {
	const most = 2
	switch {
	case len(reasons) == 0:
		return otherwise
	case len(reasons) > most:
		return fmt.Sprintf("%s, and %d more", strings.Join(reasons[:most], "; "), len(reasons)-most)
	}
	return strings.Join(reasons, "; ")
}

// measure is a value taken from the record: got as it stands there, the truth somewhere from least to most whatever
// packets are missing. In a whole record got is the truth.
type measure struct{ got, least, most int64 }

// derived is a value that proves nothing once packets may be missing.
func derived(n int64) measure { return measure{got: n, most: unlimited} }

// side says where a value lies beside its bound.
type side int

const (
	within side = iota
	under
	over
)

// ruling is a comparison's outcome.
type ruling struct {
	verdict verdict.Verdict
	side    side
	doubt   string
}

// rule compares a measure with a bound under what is known of the record; see the package's doc.
func (p proof) rule(m measure, b bound) ruling {
	r := ruling{}
	switch {
	case m.got < b.low:
		r.side = under
	case m.got > b.high:
		r.side = over
	}
	if p.state == trace.Whole {
		r.verdict = verdict.Pass
		if r.side != within {
			r.verdict = verdict.Fail
		}
		return r
	}
	switch {
	case m.least > b.high || m.most < b.low:
		r.verdict = verdict.Fail
	case m.least >= b.low && m.most <= b.high:
		r.verdict = verdict.Pass
	case r.side == within:
		r.verdict, r.doubt = p.unseen(), p.doubt
	default:
		r.doubt = p.doubt
	}
	return r
}

// unseen is the verdict on a claim that holds as long as nothing was missed.
func (p proof) unseen() verdict.Verdict {
	switch {
	case p.state == trace.Whole, p.state == trace.Unproven && !p.strict:
		return verdict.Pass
	}
	return verdict.Inconclusive
}

// unmet is the verdict on a claim that fails unless what it wants was missed.
func (p proof) unmet() verdict.Verdict {
	if p.state == trace.Whole {
		return verdict.Fail
	}
	return verdict.Inconclusive
}

// outcome is what became of a claim, or of a part of it.
type outcome struct {
	verdict   verdict.Verdict
	reason    string
	doubt     string
	got       string
	witnesses []verdict.Witness
}

// judge compares and words the outcome: what says what was counted ("10 packets up").
func (p proof) judge(u unit, m measure, b bound, what string) outcome {
	r := p.rule(m, b)
	o := outcome{verdict: r.verdict, doubt: r.doubt, reason: what}
	if r.side != within {
		o.reason += ", " + b.limit(u)
	}
	return o
}

// hedge adds to the reason of an outcome that is not decided why it is not.
func (o outcome) hedge() outcome {
	if o.verdict == verdict.Inconclusive && o.doubt != "" {
		o.reason += "; not decided, because " + o.doubt
	}
	return o
}

// merge joins the outcomes of a claim's parts: only those that decide are told of and bear witness.
func merge(parts ...outcome) outcome {
	if len(parts) == 1 {
		return parts[0]
	}
	vs := make([]verdict.Verdict, len(parts))
	for i, o := range parts {
		vs[i] = o.verdict
	}
	out := outcome{verdict: verdict.Join(vs...)}
	var reasons, got []string
	for _, o := range parts {
		if o.got != "" {
			got = append(got, o.got)
		}
		if out.doubt == "" && out.verdict != verdict.Fail { // a fail is proved
			out.doubt = o.doubt
		}
		if o.verdict == out.verdict {
			reasons = append(reasons, o.reason)
			out.witnesses = append(out.witnesses, o.witnesses...)
		}
	}
	out.reason, out.got = strings.Join(reasons, "; "), strings.Join(got, ", ")
	return out
}
