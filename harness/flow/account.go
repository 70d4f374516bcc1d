package flow

import (
	"math"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// weight is what one captured packet counts: itself, the fragments that came before it, and what the air had beyond.
type weight struct {
	packets, bytes       uint32
	airPackets, airBytes uint32 // beyond packets and bytes
}

// weigh adds to the weight of the packet at hand what came before it and what the air had of it.
func (t *Tracker) weigh(s *state, end int, p *packet.Packet) {
	w := &t.weight
	for i := range p.Pieces {
		w.packets++
		w.bytes += uint32(p.Pieces[i].WireLen)
	}
	if p.Kind == packet.TCP && len(p.Pieces) == 0 {
		if n := airPackets(&s.sides[1-end], p); n > 1 {
			w.airPackets = uint32(n - 1)
			w.airBytes = w.airPackets * uint32(p.HeaderLen)
		}
	}
}

const (
	smallestMSS  = 216  // Linux's least (net.ipv4.tcp_min_snd_mss is 48, but nothing routes so small a packet)
	plainHeaders = 54   // Ethernet, IPv4 and TCP without options
	plainMSS     = 1460 // what fits an Ethernet frame with them
	timestamps   = 12   // the option that every segment of a flow carries (RFC 7323, 3.2), with its padding
)

// airPackets says how many packets of the air a captured one stands for. A packet longer than the receiver's MSS was
// joined on the way. Options take their room out of each segment (RFC 6691). Where the handshake was not seen, what
// does not fit an Ethernet frame was joined.
func airPackets(receiver *side, p *packet.Packet) int {
	plain, mss := plainHeaders, int(receiver.mss)
	if p.Src[0] != 0 || p.Src[10] != 0xff {
		plain += 20
	}
	if mss == 0 {
		mss = plainMSS - (plain - plainHeaders)
	}
	if p.PayloadLen <= mss {
		return 1
	}
	if p.HeaderLen-plain >= timestamps && mss > 2*timestamps {
		mss -= timestamps
	}
	return (p.PayloadLen + mss - 1) / mss
}

// cell gives the cell of a phase and end, or nil where the state has none.
func (s *state) cell(phase Phase, end int) *cell {
	i := hotCell[s.key.kind()][phase]
	if i < 0 {
		return nil
	}
	return &s.cells[i][end]
}

// count adds a packet to the tally of its phase and end; undo takes it away again.
func (t *Tracker) count(s *state, end int, phase Phase, w *weight) {
	c := s.cell(phase, end)
	if c == nil || w.airPackets > 0 {
		t.countMore(s, end, phase, w, c)
		return
	}
	packets, bytes := c.packets+w.packets, c.bytes+w.bytes
	if packets < w.packets || bytes < w.bytes {
		t.countMore(s, end, phase, w, c)
		return
	}
	c.packets, c.bytes = packets, bytes
}

// countMore is count for what a cell does not hold, or no longer.
func (t *Tracker) countMore(s *state, end int, phase Phase, w *weight, c *cell) {
	m := t.more(s).count(phase, end)
	if c == nil {
		m.Packets += uint64(w.packets)
		m.Bytes += uint64(w.bytes)
	} else {
		if c.bytes > math.MaxUint32-w.bytes || c.packets > math.MaxUint32-w.packets {
			m.Packets += uint64(c.packets)
			m.Bytes += uint64(c.bytes)
			*c = cell{}
		}
		c.packets += w.packets
		c.bytes += w.bytes
	}
	m.AirPackets += uint64(w.airPackets)
	m.AirBytes += uint64(w.airBytes)
}

func (t *Tracker) undo(s *state, end int, phase Phase, w *weight) {
	if c := s.cell(phase, end); c != nil && c.packets >= w.packets && c.bytes >= w.bytes {
		c.packets -= w.packets
		c.bytes -= w.bytes
	} else {
		m := t.more(s).count(phase, end)
		m.Packets -= uint64(w.packets)
		m.Bytes -= uint64(w.bytes)
	}
	if w.airPackets > 0 {
		m := t.more(s).count(phase, end)
		m.AirPackets -= uint64(w.airPackets)
		m.AirBytes -= uint64(w.airBytes)
	}
}
