package expectations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// teardown is a claim on how TCP flows ended: each in one of the ways listed.
//
// It combines at least (both FINs, acknowledged, were seen) and at most (no RST): a way that packets not seen could
// still turn into one that is allowed is no proved violation, and one that they could turn into another is no proof.
// It wants at least one TCP flow.
type teardown struct{ allowed []flow.Close }

// closes are the ways of design, in the order in which messages name them.
var closes = []flow.Close{flow.Clean, flow.ResetAfterClose, flow.ResetBefore, flow.HalfClosed, flow.Refused, flow.Unanswered, flow.Open}

func teardownKind() kind {
	words := make([]string, len(closes))
	for i, c := range closes {
		words[i] = c.String()
	}
	way := adapt(scenario.Choice("way to end", words...), func(word string) flow.Close {
		return closes[max(0, slices.Index(words, word))]
	})
	return kindOf("teardown", "How every TCP flow ended: clean, or one of the ways listed (a FIN each way and no RST combine at least and at most).",
		adapt(scenario.OneOrMany(way), func(ways []flow.Close) teardown { return teardown{ways} }), keyWindow, keyFlow)
}

// couldBe gives the ways in which a flow may truly have ended that is seen to have ended in a certain way, where packets
// may be missing. A RST or a FIN that was seen can't be undone; all else can still have happened.
func couldBe(seen flow.Close) []flow.Close {
	switch seen {
	case flow.Clean:
		return []flow.Close{flow.Clean, flow.ResetAfterClose, flow.ResetBefore}
	case flow.ResetAfterClose, flow.ResetBefore:
		return []flow.Close{flow.ResetAfterClose, flow.ResetBefore, flow.Refused}
	case flow.Refused:
		return []flow.Close{flow.Refused, flow.ResetBefore, flow.ResetAfterClose}
	case flow.HalfClosed:
		return []flow.Close{flow.HalfClosed, flow.Clean, flow.ResetAfterClose, flow.ResetBefore}
	}
	return closes
}

// mustBe gives the ways in which a flow may have ended by the FINs and RSTs in view alone. Where packets are missing, what
// looks like one flow can be several from the same port, of which some are out of view.
func mustBe(packets []flow.Packet) []flow.Close {
	var all packet.Flags
	for i := range packets {
		all |= packets[i].Flags
	}
	switch {
	case all&packet.RST != 0:
		return couldBe(flow.ResetBefore)
	case all&packet.FIN != 0:
		return couldBe(flow.HalfClosed)
	}
	return closes
}

func (c teardown) check(v *view) outcome {
	v = v.shell().deep()
	var outs []outcome
	counts := map[flow.Close]int64{}
	for _, part := range v.parts {
		if part.Kind != packet.TCP || resumed(v.t.Capture.Flows, part.Flow) {
			continue
		}
		counts[part.Close]++
		outs = append(outs, c.flow(v, part))
	}
	if len(outs) == 0 {
		o := outcome{verdict: v.proof.unmet(), reason: "no TCP flow" + v.where(), got: "no TCP flow", doubt: v.proof.doubt}
		if !anyPacket(v.t) {
			o.verdict = verdict.Inconclusive
		}
		return o
	}
	var got []string
	for _, way := range closes {
		if n := counts[way]; n == 1 && len(outs) == 1 {
			got = append(got, way.String())
		} else if n > 0 {
			got = append(got, fmt.Sprintf("%d %s", n, way))
		}
	}
	o := merge(outs...)
	o.got = strings.Join(got, ", ")
	if o.verdict == verdict.Pass {
		o.reason = strings.Join(got, ", ")
	}
	return o
}

// resumed says whether a flow was only let go for its long silence and went on later: then it did not end here.
func resumed(all []*flow.Flow, f *flow.Flow) bool {
	for _, later := range all {
		if later.Resumed && later.ID > f.ID && later.Kind == f.Kind && later.Device == f.Device && later.Peer == f.Peer && later.Start >= f.End {
			return f.Close == flow.Open || f.Close == flow.HalfClosed
		}
	}
	return false
}

func (c teardown) flow(v *view, p part) outcome {
	o := outcome{reason: tellClose(p.Flow), witnesses: closing(p.Flow)}
	if v.proof.state == trace.Whole {
		o.verdict = verdict.Fail
		if slices.Contains(c.allowed, p.Close) {
			o.verdict = verdict.Pass
		}
		return o
	}
	possible := couldBe(p.Close)
	if v.proof.wary() {
		possible = mustBe(p.packets)
	}
	allowed := 0
	for _, way := range possible {
		if slices.Contains(c.allowed, way) {
			allowed++
		}
	}
	switch {
	case allowed == 0 && v.sure():
		o.verdict = verdict.Fail
		return o
	case slices.Contains(c.allowed, p.Close):
		o.verdict = v.proof.unseen()
	}
	o.doubt = v.proof.doubt
	if p.CloseDoubt != "" {
		o.doubt = p.CloseDoubt
	}
	return o
}

// tellClose says how a flow ended, for a person.
func tellClose(f *flow.Flow) string {
	with := " with " + peerOf(f)
	switch f.Close {
	case flow.Clean:
		return "clean" + with
	case flow.ResetAfterClose, flow.ResetBefore, flow.Refused:
		if rsts := tellRSTs(f); len(rsts) > 0 {
			return f.Close.String() + with + ": " + rsts[0]
		}
	case flow.HalfClosed:
		who := map[flow.Direction]string{flow.Up: "the device's FIN was never answered by a FIN", flow.Down: "the peer's FIN was never answered by a FIN"}[f.FirstClose]
		return fmt.Sprintf("half_closed%s: %s (%s)", with, who, plural(int64(f.Sides[f.FirstClose].FIN), "FIN"))
	case flow.Unanswered:
		return "unanswered" + with + ": no answer to " + plural(int64(f.Sides[flow.Up].SYN), "SYN")
	case flow.Open:
		return "open" + with + ": no FIN and no RST up to the end of the record"
	}
	return f.Close.String() + with
}

// closing points to the packets that ended a flow.
func closing(f *flow.Flow) []verdict.Witness {
	var ws []verdict.Witness
	for i := range f.Packets {
		p := &f.Packets[i]
		switch {
		case p.Flags&packet.RST != 0:
			ws = append(ws, witness(f, p, "RST from "+whose(p.Dir)))
		case p.Flags&packet.FIN != 0:
			ws = append(ws, witness(f, p, "FIN from "+whose(p.Dir)))
		}
	}
	return ws
}

// whose names the sender of a direction.
func whose(d flow.Direction) string {
	if d == flow.Up {
		return "the device"
	}
	return "the peer"
}
