package expectations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// moment is a point in a run: a window's or the record's begin or end, a packet, or an event of the timeline.
type moment struct {
	text  string
	begin bool
	end   bool
	last  bool // the last such packet, else the first
	event string
	fits  func(*flow.Packet) bool
	phase *flow.Phase // where it is a packet of one
}

// headersTell says whether packets need not be read to find the moment.
func (m *moment) headersTell() bool { return m == nil || m.phase == nil || headersTell(*m.phase) }

// packetMoments are the packets that a moment can be, by what follows first_ or last_.
var packetMoments = map[string]func(*flow.Packet) bool{
	"packet":      func(*flow.Packet) bool { return true },
	"packet_up":   func(p *flow.Packet) bool { return p.Dir == flow.Up },
	"packet_down": func(p *flow.Packet) bool { return p.Dir == flow.Down },
	"syn":         func(p *flow.Packet) bool { return p.Flags&packet.SYN != 0 && p.Flags&packet.ACK == 0 },
	"syn_ack":     func(p *flow.Packet) bool { return p.Flags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK },
	"fin":         func(p *flow.Packet) bool { return p.Flags&packet.FIN != 0 },
	"rst":         func(p *flow.Packet) bool { return p.Flags&packet.RST != 0 },
}

// events are the words for events of the carrier.
var events = map[string]string{"cut": "delete_session", "session": "session.created"}

// momentWords are all words for moments, for messages and the schema.
func momentWords() []string {
	words := []string{"begin", "end", "cut", "session"}
	var kinds []string
	for k := range packetMoments {
		kinds = append(kinds, k)
	}
	for p := range flow.NumPhases {
		kinds = append(kinds, p.String())
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		words = append(words, "first_"+k, "last_"+k)
	}
	return words
}

func parseMoment(word string) moment {
	m := moment{text: word, begin: word == "begin", end: word == "end", event: events[word]}
	rest, first := strings.CutPrefix(word, "first_")
	if !first {
		rest, m.last = strings.CutPrefix(word, "last_")
	}
	if m.fits = packetMoments[rest]; m.fits == nil {
		if phase, ok := flow.ParsePhase(rest); ok {
			m.fits, m.phase = func(p *flow.Packet) bool { return p.Phase == phase }, &phase
		}
	}
	return m
}

func momentForm() scenario.Form[moment] {
	return adapt(scenario.Choice("moment", momentWords()...), parseMoment)
}

// found is a moment found in the record.
type found struct {
	at     int64
	packet *flow.Packet // nil where it is no packet
	flow   *flow.Flow
}

// find looks for the moment in view, not before from.
func (m moment) find(v *view, from int64) (f found, ok bool) {
	switch {
	case m.begin:
		return found{at: v.begin()}, true
	case m.end:
		return found{at: v.end()}, true
	case m.event != "":
		for _, e := range v.t.Timeline {
			at := e.Time.UnixNano()
			if happened(e, m.event) && at >= max(from, v.from) && at < v.to {
				return found{at: at}, true
			}
		}
		return found{}, false
	}
	for _, part := range v.parts {
		for i := range part.packets {
			p := &part.packets[i]
			if p.Time < from || !m.fits(p) {
				continue
			}
			if !ok || m.last == (p.Time > f.at) && p.Time != f.at {
				f, ok = found{at: p.Time, packet: p, flow: part.Flow}, true
			}
		}
	}
	return f, ok
}

// tell names a moment that was found.
func (f found) tell(m moment) string {
	if f.packet == nil {
		return fmt.Sprintf("%s at %s", m.text, clock(f.at))
	}
	return fmt.Sprintf("%s at %s (packet %d)", m.text, clock(f.at), f.packet.Number)
}

// happened says whether a timeline's entry is a certain call to the carrier that went through, or event that it told.
func happened(e trace.Event, name string) bool {
	return e.Kind == trace.EventCarrier && e.Name == name && (e.State == "" || e.State == "ok" || e.State == "told")
}

// begin is when the view begins.
func (v *view) begin() int64 {
	switch {
	case v.from != always:
		return v.from
	case !v.t.Begin.IsZero():
		return v.t.Begin.UnixNano()
	}
	return v.t.Capture.First
}

// end is when the view ends.
func (v *view) end() int64 {
	if v.to != never {
		return v.to
	}
	return v.recorded()
}

// recorded is up to when the record goes.
func (v *view) recorded() int64 {
	if !v.t.End.IsZero() {
		return v.t.End.UnixNano()
	}
	return v.t.Capture.Last
}
