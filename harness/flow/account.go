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

func (t *Tracker) weigh(s *state, end int, p *packet.Packet) weight {
	w := weight{packets: 1, bytes: uint32(p.WireLen)}
	for i := range p.Pieces {
		w.packets++
		w.bytes += uint32(p.Pieces[i].WireLen)
	}
	if p.Kind == packet.TCP && len(p.Pieces) == 0 && p.PayloadLen > smallestMSS {
		if n := airPackets(&s.sides[1-end], p); n > 1 {
			w.airPackets = uint32(n - 1)
			w.airBytes = w.airPackets * uint32(p.HeaderLen)
		}
	}
	return w
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

// count adds a packet to the tally of its phase and end; undo takes it away again.
func (t *Tracker) count(s *state, end int, phase Phase, w weight) {
	i := hotCell[phase]
	if s.key.kind != packet.TCP && phase == sharedCell(s.key.kind) {
		i = 0
	}
	if i < 0 {
		c := t.more(s).count(phase, end)
		c.Packets += uint64(w.packets)
		c.Bytes += uint64(w.bytes)
	} else {
		c := &s.cells[i][end]
		if c.bytes > math.MaxUint32-w.bytes || c.packets > math.MaxUint32-w.packets {
			m := t.more(s).count(phase, end)
			m.Packets += uint64(c.packets)
			m.Bytes += uint64(c.bytes)
			*c = cell{}
		}
		c.packets += w.packets
		c.bytes += w.bytes
	}
	if w.airPackets > 0 {
		c := t.more(s).count(phase, end)
		c.AirPackets += uint64(w.airPackets)
		c.AirBytes += uint64(w.airBytes)
	}
}

func (t *Tracker) undo(s *state, end int, phase Phase, w weight) {
	i := hotCell[phase]
	if s.key.kind != packet.TCP && phase == sharedCell(s.key.kind) {
		i = 0
	}
	if i >= 0 && s.cells[i][end].packets >= w.packets && s.cells[i][end].bytes >= w.bytes {
		s.cells[i][end].packets -= w.packets
		s.cells[i][end].bytes -= w.bytes
	} else {
		c := t.more(s).count(phase, end)
		c.Packets -= uint64(w.packets)
		c.Bytes -= uint64(w.bytes)
	}
	if w.airPackets > 0 {
		c := t.more(s).count(phase, end)
		c.AirPackets -= uint64(w.airPackets)
		c.AirBytes -= uint64(w.airBytes)
	}
}
