package expectations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// dns is a claim on what names the device looked up.
//
// Names are exactly: each of them asked for (at least), no other (at most). Only is the second half alone. Unanswered
// counts questions without an answer: in a record that isn't whole a missing answer proves nothing, nor does a missing
// question. Count is of query packets, repeats included: at most, at least or exactly.
type dns struct {
	names, only       []string
	unanswered, count *bound
}

func dnsKind() kind {
	name := adapt(scenario.Word("a host name", hostName), func(text string) string {
		return strings.ToLower(strings.TrimSuffix(text, "."))
	})
	b := adapt(boundForm(pieces), func(b bound) *bound { return &b })
	object := &scenario.Object[dns]{
		Name: "a DNS claim", Doc: "What the device asked its resolver.",
		Keys: []scenario.Key[dns]{
			scenario.Field("names", "The names asked for: each of these and no other (exactly).", scenario.OneOrMany(name), func(d *dns) *[]string { return &d.names }),
			scenario.Field("only", "No other names than these (at most); .example.com stands for all names below it.", scenario.OneOrMany(name), func(d *dns) *[]string { return &d.only }),
			scenario.Field("unanswered", "Questions that got no answer.", b, func(d *dns) **bound { return &d.unanswered }),
			scenario.Field("count", "Query packets, repeats included.", b, func(d *dns) **bound { return &d.count }),
		},
		Check: atLeastOneKey[dns]("a DNS claim"),
	}
	short := adapt(b, func(b *bound) dns { return dns{count: b} })
	return kindOf("dns", "What names the device looked up, and what came of it. A bare comparison is about the number of query packets.",
		either(short, object.Form()), keyWindow)
}

func (c dns) wantsNothing() bool {
	return c.names == nil && c.only == nil && c.unanswered == nil && c.count != nil && c.count.high == 0
}

// question is a query with the flow it was asked in.
type question struct {
	*flow.Query
	flow int
}

func (c dns) check(v *view) outcome {
	sent := v.shell().deep()
	v = v.deep()
	var asked []question
	for _, part := range v.parts {
		for i := range part.Queries {
			if q := &part.Queries[i]; q.Time >= v.from && q.Time < v.to {
				asked = append(asked, question{q, part.ID})
			}
		}
	}
	var outs []outcome
	if c.names != nil {
		outs = append(outs, merge(others(v, asked, c.names), missing(v, asked, c.names)))
		outs[0].got = namesAsked(asked)
		if outs[0].verdict == verdict.Pass {
			outs[0].reason = "asked for " + namesAsked(asked)
		}
	}
	if c.only != nil {
		outs = append(outs, others(v, asked, c.only))
	}
	if c.unanswered != nil {
		outs = append(outs, unanswered(v, asked, *c.unanswered))
	}
	if c.count != nil {
		outs = append(outs, queryPackets(sent, *c.count))
	}
	return merge(outs...)
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func namesAsked(asked []question) string {
	var names []string
	for _, q := range asked {
		if n := canonical(q.Name); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return "no name"
	}
	return atMost(names, ", ")
}

// others judges that no other names were asked for: one seen is one asked.
func others(v *view, asked []question, allowed []string) outcome {
	o := outcome{got: namesAsked(asked)}
	var told []string
	for _, q := range asked {
		name := canonical(q.Name)
		if slices.ContainsFunc(allowed, func(a string) bool { return a == name || a[0] == '.' && strings.HasSuffix(name, a) }) {
			continue
		}
		told = append(told, fmt.Sprintf("%s was asked for at %s (packet %d)", name, clock(q.Time), q.Number))
		o.witnesses = append(o.witnesses, verdict.Witness{Number: q.Number, Time: q.Time, Flow: q.flow, Note: "asks for " + name})
	}
	if len(told) > 0 {
		o.verdict, o.reason = verdict.Fail, atMost(told, "; ")
		return o
	}
	o.verdict, o.doubt = v.proof.unseen(), v.proof.doubt
	o.reason = "no other name was seen asked for"
	return o
}

// missing judges that each of some names was asked for.
func missing(v *view, asked []question, wanted []string) outcome {
	var absent []string
	for _, name := range wanted {
		if !slices.ContainsFunc(asked, func(q question) bool { return canonical(q.Name) == name }) {
			absent = append(absent, name)
		}
	}
	if len(absent) == 0 {
		return outcome{verdict: verdict.Pass, reason: "each name was asked for"}
	}
	o := outcome{verdict: v.proof.unmet(), doubt: v.proof.doubt, reason: strings.Join(absent, ", ") + " was not seen asked for" + v.where()}
	return o
}

func unanswered(v *view, asked []question, b bound) outcome {
	m := measure{most: unlimited}
	var told []string
	var ws []verdict.Witness
	for _, q := range asked {
		if q.Answered {
			continue
		}
		m.got++
		told = append(told, fmt.Sprintf("no answer about %s, asked at %s (packet %d)", canonical(q.Name), clock(q.Time), q.Number))
		ws = append(ws, verdict.Witness{Number: q.Number, Time: q.Time, Flow: q.flow, Note: "never answered"})
	}
	what := plural(m.got, "question") + " unanswered"
	if len(told) > 0 {
		what += ": " + atMost(told, "; ")
	}
	o := v.proof.judge(pieces, m, b, what)
	o.got = group(m.got) + " unanswered"
	if o.verdict != verdict.Pass {
		o.witnesses = ws
	}
	return o
}

// queryPackets counts the packets with which the device asked.
func queryPackets(v *view, b bound) outcome {
	m := measure{most: unlimited}
	var past []verdict.Witness
	for _, part := range v.parts {
		if !lookup(part.Flow) {
			continue
		}
		for i := range part.packets {
			p := &part.packets[i]
			if p.Dir != flow.Up || p.Payload == 0 {
				continue
			}
			m.got++
			if part.Kind == packet.UDP || !v.proof.wary() {
				m.least++
			}
			if m.got > b.high {
				past = append(past, witness(part.Flow, p, "a query"))
			}
		}
	}
	o := v.proof.judge(pieces, m, b, plural(m.got, "DNS query"))
	o.got = plural(m.got, "query")
	if o.verdict != verdict.Pass {
		o.witnesses = past
	}
	return o
}
