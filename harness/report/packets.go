package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// listed is a line of a packet list: the head of a flow, a packet, or how many were left out.
type listed struct {
	head    string
	left    int
	number  uint64
	time    string
	arrow   string
	flags   string
	payload string
	phase   string
	note    string
	here    bool
}

// A flow of at most flowLimit packets is listed whole; of a longer one the first and the last few, and those around
// each witness.
const (
	flowLimit = 60
	flowEnds  = 8
	around    = 4
	flowsMax  = 6
)

// listing shows every flow that a finding rests on, packet by packet.
func listing(r *Run, f *verdict.Finding) []listed {
	if r.Trace.Capture == nil {
		return nil
	}
	var out []listed
	ids := findingFlows(f)
	for i, id := range ids {
		if i == flowsMax {
			out = append(out, listed{head: fmt.Sprintf("and %s", plural(uint64(len(ids)-i), "flow"))})
			break
		}
		if fl := r.Trace.Capture.Flow(id); fl != nil {
			out = append(out, flowListing(r.Trace, fl, f)...)
		}
	}
	return out
}

// findingFlows are the flows to show: those the finding names, and those of its witnesses.
func findingFlows(f *verdict.Finding) []int {
	ids := slices.Clone(f.Flows)
	for _, w := range f.Witnesses {
		if w.Number > 0 && w.Flow >= 0 && !slices.Contains(ids, w.Flow) {
			ids = append(ids, w.Flow)
		}
	}
	return ids
}

func flowListing(t *trace.Trace, fl *flow.Flow, f *verdict.Finding) []listed {
	notes := map[uint64]string{}
	for _, w := range f.Witnesses {
		notes[w.Number] = w.Note
	}
	out := []listed{{head: flowHead(fl)}}
	closed := flow.Both[bool]{}
	left := 0
	shown := shownPackets(fl.Packets, notes)
	for i := range fl.Packets {
		p := &fl.Packets[i]
		note := packetNote(fl, p, &closed)
		if !shown[i] {
			left++
			continue
		}
		if left > 0 {
			out, left = append(out, listed{left: left}), 0
		}
		l := packetLine(t, fl, p)
		witness, here := notes[p.Number]
		l.here, l.note = here, joined(", ", note, witness)
		out = append(out, l)
	}
	if left > 0 {
		out = append(out, listed{left: left})
	}
	return out
}

// shownPackets says which packets of a flow are listed.
func shownPackets(ps []flow.Packet, witnesses map[uint64]string) []bool {
	shown := make([]bool, len(ps))
	for i := range ps {
		_, witness := witnesses[ps[i].Number]
		if len(ps) <= flowLimit || i < flowEnds || i >= len(ps)-flowEnds {
			shown[i] = true
		}
		if witness {
			for j := max(0, i-around); j <= min(len(ps)-1, i+around); j++ {
				shown[j] = true
			}
		}
	}
	return shown
}

// flowHead names a flow: "tcp 10.0.0.2:40001 → 52.219.0.180:80 (harvest.soracom.io), reset_after_close".
func flowHead(f *flow.Flow) string {
	s := fmt.Sprintf("%s %s → %s", trace.Proto(f.Kind), endpoint(f.Kind, f.Device), endpoint(f.Kind, f.Peer))
	if f.Name != "" {
		s += " (" + f.Name + ")"
	}
	if f.Close != flow.NoClose {
		s += ", " + f.Close.String()
	}
	return s
}

func packetLine(t *trace.Trace, f *flow.Flow, p *flow.Packet) listed {
	l := listed{
		number: p.Number,
		time:   since(origin(t), p.Time),
		arrow:  [...]string{flow.Up: "▲", flow.Down: "▼"}[p.Dir],
		flags:  trace.Proto(f.Kind),
		phase:  p.Phase.String(),
	}
	if f.Kind == packet.TCP {
		l.flags = flagNames(p.Flags)
	}
	if p.Payload > 0 {
		l.payload = number(uint64(p.Payload)) + " B"
	}
	return l
}

// flagNames writes control bits as Wireshark's column does: "FIN,ACK".
func flagNames(f packet.Flags) string {
	var names []string
	for _, n := range []struct {
		bit  packet.Flags
		name string
	}{{packet.SYN, "SYN"}, {packet.FIN, "FIN"}, {packet.RST, "RST"}, {packet.PSH, "PSH"}, {packet.URG, "URG"}, {packet.ACK, "ACK"}} {
		if f&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// packetNote says what is special about a packet in a few words.
func packetNote(f *flow.Flow, p *flow.Packet, closed *flow.Both[bool]) string {
	var notes []string
	if f.Kind == packet.TCP && p.Flags&packet.FIN != 0 && !closed[p.Dir] {
		closed[p.Dir] = true
		notes = append(notes, [...]string{flow.Up: "the device closes", flow.Down: "the peer closes"}[p.Dir])
	}
	for _, m := range []struct {
		mark flow.Mark
		text string
	}{
		{flow.Retransmission, "sent again"}, {flow.OutOfOrder, "out of order"}, {flow.KeepaliveProbe, "keep-alive probe"},
		{flow.ZeroWindow, "window 0"}, {flow.Cut, "cut short"}, {flow.Fragmented, "in fragments"},
		{flow.AckedUnseen, "acknowledges what was never seen"}, {flow.AfterGap, "something before it is missing"},
	} {
		if p.Mark&m.mark != 0 {
			notes = append(notes, m.text)
		}
	}
	if p.Mark&flow.Joined != 0 {
		notes = append(notes, fmt.Sprintf("%d packets of the air joined", p.Air))
	}
	return strings.Join(notes, ", ")
}
