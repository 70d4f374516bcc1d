package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

//go:embed report.html.tmpl
var htmlSource string

var htmlTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"number": number, "sign": sign, "safe": Safe, "cell": cell, "place": placeName,
	"class": func(v verdict.Verdict) string { return v.String() },
	"upper": func(v verdict.Verdict) string { return strings.ToUpper(v.String()) },
}).Parse(htmlSource))

// htmlPage is what the template shows.
type htmlPage struct {
	*Run
	Duration  string
	On        string
	CountedBy string // the account of all bytes
	Stopped   string // what became of a run that was interrupted
	Complete  *trace.Completeness
	Tables    []Table
	MoreTabs  int
	Taps      []tapCount   // where the record has more than one
	Places    []placeCount // other than the one that is judged
	Failed    []htmlFinding
	Open      []undecided
	Passed    []htmlFinding
	Flows     []htmlFlow
	MoreFlow  int
	Timeline  []htmlEvent
	MoreTime  int
}

type htmlFinding struct {
	verdict.Finding
	Line  string // the claim with its scope
	Flows []htmlFlow
}

// htmlPacket is a line of a packet list; its fields are a listed's.
type htmlPacket struct {
	Left, Time, Arrow, Flags, Payload, Phase, Note string
	Number                                         uint64
	Here                                           bool
}

type htmlFlow struct {
	Head    string
	Packets []htmlPacket
}

type htmlEvent struct {
	Time, Kind, Name, State, Text string
}

// The page stays readable, and small enough to be sent by mail, however long the run was.
const (
	htmlTables = 100
	htmlFlows  = 200
	htmlEvents = 2000
)

// HTML gives report.html: one file with everything in it, for a browser without a network.
func HTML(r *Run) ([]byte, error) {
	p := htmlPage{Run: r, Duration: duration(r.Trace), On: joined(" · ", r.Trace.Bench, r.Trace.Device), Tables: Tables(r),
		CountedBy: Safe(r.account().Name)}
	if c := r.Trace.Capture; c != nil {
		p.Complete = &c.Completeness
		p.Flows, p.MoreFlow = htmlFlowsOf(r)
		p.Taps, p.Places = severalTaps(r.Trace), placeCounts(r.Trace, r.account())
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		h := htmlFinding{Finding: *f, Line: claimLine(f)}
		switch f.Verdict {
		case verdict.Fail:
			h.Flows = htmlListing(listing(r, f))
			p.Failed = append(p.Failed, h)
		case verdict.Pass:
			p.Passed = append(p.Passed, h)
		}
	}
	p.Open = undecidedBy(r.Findings)
	if more := len(p.Tables) - htmlTables; more > 0 {
		p.Tables, p.MoreTabs = p.Tables[:htmlTables], more
	}
	if r.Trace.Interrupted {
		p.Stopped = interruption(r.Trace)
	}
	p.Timeline, p.MoreTime = htmlTimeline(r.Trace)
	var out bytes.Buffer
	if err := htmlTemplate.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("write report.html: %w", err)
	}
	return out.Bytes(), nil
}

// htmlListing puts the lines of a listing under the heads of their flows.
func htmlListing(ls []listed) (out []htmlFlow) {
	for _, l := range ls {
		if l.head != "" || len(out) == 0 {
			out = append(out, htmlFlow{Head: Safe(l.head)})
		}
		if l.head != "" {
			continue
		}
		p := htmlPacket{Time: l.time, Arrow: l.arrow, Flags: l.flags, Payload: l.payload, Phase: l.phase, Note: Safe(l.note), Number: l.number, Here: l.here}
		if l.left > 0 {
			p.Left = plural(uint64(l.left), "packet")
		}
		f := &out[len(out)-1]
		f.Packets = append(f.Packets, p)
	}
	return out
}

// htmlFlowsOf lists the device's flows with their packets, the first of many.
func htmlFlowsOf(r *Run) (out []htmlFlow, more int) {
	for _, f := range r.Trace.Capture.Flows {
		if !ours(r.Trace, f) {
			continue
		}
		if len(out) == htmlFlows {
			more++
			continue
		}
		one := htmlListing(flowListing(r.Trace, f, &verdict.Finding{}))[0]
		one.Head += ": " + flowSum(f)
		out = append(out, one)
	}
	return out, more
}

func flowSum(f *flow.Flow) string {
	return fmt.Sprintf("%s up, %s down", plural(f.Count(flow.Up).Packets, "packet"), number(f.Count(flow.Down).Packets))
}

func htmlTimeline(t *trace.Trace) (out []htmlEvent, more int) {
	for i, e := range t.Timeline {
		if i == htmlEvents {
			return out, len(t.Timeline) - i
		}
		text := e.Text
		if a := e.Values["address"]; a != "" {
			text = joined(" ", text, a)
		}
		out = append(out, htmlEvent{Time: since(origin(t), e.Time.UnixNano()), Kind: string(e.Kind), Name: Safe(e.Name), State: Safe(e.State), Text: Safe(text)})
	}
	return out, 0
}
