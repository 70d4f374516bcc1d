package flow

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// begin makes the Flow of a state whose detail is kept.
func (t *Tracker) begin(s *state) {
	m := t.more(s)
	m.flow = &Flow{}
	t.identify(m.flow, s)
	if asked := t.names.of(packet.AddrFrom(m.flow.Device.Addr()), packet.AddrFrom(m.flow.Peer.Addr())); len(asked) > 0 {
		m.flow.Name = asked[0]
	}
}

// identify sets what a flow is called by.
func (t *Tracker) identify(f *Flow, s *state) {
	a, b := netip.AddrPortFrom(s.key.a.addr().Netip(), s.key.aPort()), netip.AddrPortFrom(s.key.b.addr().Netip(), s.key.bPort())
	if s.device == 1 {
		a, b = b, a
	}
	f.ID, f.Kind, f.Proto = int(s.id), s.key.kind(), s.key.proto()
	f.Device, f.Peer = a, b
	if t.opt.PathOf != nil {
		f.Path = t.opt.PathOf(s.key.path())
	}
	f.Start, f.End = s.start, s.last
	f.Resumed = s.flags&flagResumed != 0
	f.BeganBeforeCapture = s.key.kind() == packet.TCP && s.flags&flagSYN == 0 && !f.Resumed
	f.Inferred = s.flags&flagInferred != 0
	f.Foreign = s.flags&flagForeign != 0
}

// sum sums a state up. final says that the flow is being let go.
func (t *Tracker) sum(f *Flow, s *state, final bool) {
	f.Sides = Both[Side]{}
	for left := f.Had; left != 0; left &= left - 1 {
		f.Phases[left.First()] = Both[Tally]{}
	}
	f.Had = 0
	f.Gaps = f.Gaps[:0]
	t.identify(f, s)
	t.fillTallies(f, s)
	for end := range s.sides {
		d := &s.sides[end]
		side := &f.Sides[s.dir(end)]
		side.Payload = d.payload
		side.SYN, side.FIN, side.RST = int(d.syn), int(d.fin), int(d.rst)
		side.MSS = d.mss
	}
	m := t.hasMore(s)
	if m != nil {
		t.fillMore(f, s, m)
	}
	if final {
		t.fillHandshake(f, s)
	}
	t.fillClose(f, s)
	if t.detail {
		if final {
			f.CloseDoubt = t.closeDoubt(s, f)
			slices.SortStableFunc(f.Packets, func(a, b Packet) int { return cmp.Compare(a.Number, b.Number) })
		}
		t.nameFlow(s, f)
	}
}

func (t *Tracker) fillTallies(f *Flow, s *state) {
	for i := range s.cells {
		phase := cellPhases[i]
		if i == 0 && s.key.kind() != packet.TCP {
			phase = sharedCell(s.key.kind())
		}
		for end, c := range s.cells[i] {
			if c.packets > 0 {
				f.add(phase, s.dir(end), Tally{uint64(c.packets), uint64(c.bytes), uint64(c.packets), uint64(c.bytes)})
			}
		}
	}
	if m := t.hasMore(s); m != nil {
		for i := range m.spill {
			c := m.spill[i].tally
			c.AirPackets += c.Packets
			c.AirBytes += c.Bytes
			f.add(m.spill[i].phase, s.dir(int(m.spill[i].end)), c)
		}
	}
}

func (f *Flow) add(p Phase, d Direction, t Tally) {
	f.Had |= 1 << p
	f.Phases[p][d].Add(t)
	f.Sides[d].Tally.Add(t)
}

func (t *Tracker) fillMore(f *Flow, s *state, m *more) {
	for end := range m.sides {
		e := &m.sides[end]
		side := &f.Sides[s.dir(end)]
		side.Retransmissions, side.OutOfOrder = e.retransmissions, e.outOfOrder
		side.Duplicates = int(e.duplicates.packets)
		side.copies, side.reordered = e.duplicates, e.reordered
		side.LostSegments += e.lost
		side.AckedUnseen += e.ackedUnseen
		side.Keepalives, side.ZeroWindows, side.Truncated = e.keepalives, e.zeroWindows, e.truncated
		side.Missing = e.missing
		other := &f.Sides[s.dir(1-end)]
		for i := range e.holes {
			h := &e.holes[i]
			if h.maybe {
				continue
			}
			g := s.gap(end, h)
			side.Missing += g.Bytes
			if !h.counted {
				if h.followed {
					side.LostSegments++
				}
				other.AckedUnseen += int(h.acks)
			}
			if len(f.Gaps) < MaxGaps {
				f.Gaps = append(f.Gaps, g)
			}
		}
	}
}

// fillHandshake adds the SYN or SYN-ACK that was sent and not seen, by what only follows one: whoever acknowledges a peer
// whose SYN it answered, or that answered its own, has got that SYN. A SYN that went up before the capture began is not
// missing from it.
func (t *Tracker) fillHandshake(f *Flow, s *state) {
	if s.key.kind() != packet.TCP || s.flags&flagResumed != 0 || len(f.Gaps) >= MaxGaps {
		return
	}
	opened := s.flags & (flagSYN | flagSYNACK)
	for end := range s.sides {
		d, o := &s.sides[end], &s.sides[1-end]
		if d.flags&sideSYN != 0 || o.flags&sideSYN == 0 {
			continue
		}
		switch {
		case opened == flagSYN && (d.flags&sideSeen != 0 || o.flags&sideAck != 0):
			f.Gaps = append(f.Gaps, Gap{Kind: GapAcked, Dir: s.dir(end), From: s.start, To: s.start, Packets: 1})
		case opened == flagSYNACK && s.start-t.clock.first >= joinTime:
			f.Gaps = append(f.Gaps, Gap{Kind: GapAcked, Dir: s.dir(end), From: s.start - joinTime, To: s.start, Packets: 1})
		}
	}
}

// gap turns a hole that was never filled into a Gap.
func (s *state) gap(end int, h *hole) Gap {
	d := &s.sides[end]
	g := Gap{Kind: h.kind, Dir: s.dir(end), From: h.before, To: h.since, Bytes: uint64(h.to - h.from)}
	if g.Bytes == 1 && h.kind == GapAcked && h.to == d.next && d.flags&sideFIN == 0 {
		g.Bytes = 0 // a FIN is as likely
	}
	mss := uint64(s.sides[1-end].mss)
	if mss == 0 {
		mss = plainMSS
	}
	g.Packets = max(1, (g.Bytes+mss-1)/mss)
	return g
}

func (t *Tracker) fillClose(f *Flow, s *state) {
	f.Close, f.FirstClose, f.FinSeen, f.ClosedAt, f.CloseDoubt = NoClose, Up, false, 0, ""
	if s.key.kind() != packet.TCP {
		return
	}
	f.Close = s.close()
	a, b := s.sides[0].flags&sideFIN != 0, s.sides[1].flags&sideFIN != 0
	if f.FinSeen = a || b; f.FinSeen {
		f.FirstClose = s.firstClose()
	}
	if a && b {
		f.ClosedAt = max(s.sides[0].finTime, s.sides[1].finTime)
	}
}

// keep records a packet where packets are kept, and shows it to Seen.
func (t *Tracker) keep(s *state, end int, p *packet.Packet, phase Phase, mark Mark) {
	m := t.more(s)
	w := t.weight
	air := uint32(1 + w.airPackets)
	if air > 1 {
		mark |= Joined
	}
	if len(p.Pieces) > 0 {
		mark |= Fragmented
	}
	k := Packet{Number: p.Number, Time: p.Time, Dir: s.dir(end), Phase: phase, Flags: p.Flags, Mark: mark,
		Seq: p.Seq, Ack: p.Ack, Window: p.Window, IPID: p.IPID, Air: uint16(min(air, 1<<16-1)),
		Payload: uint32(p.PayloadLen), Wire: uint32(p.WireLen), AirWire: uint32(p.WireLen) + w.airBytes, ICMPType: p.ICMPType}
	if t.opt.KeepPackets {
		m.flow.Packets = append(m.flow.Packets, k)
		for _, piece := range p.Pieces {
			f := Packet{Number: piece.Number, Time: piece.Time, Dir: k.Dir, Phase: phase, Mark: Fragmented, IPID: p.IPID,
				Air: 1, Wire: uint32(piece.WireLen), AirWire: uint32(piece.WireLen)}
			m.flow.Packets = append(m.flow.Packets, f)
		}
	}
	if t.opt.Seen != nil {
		t.kept = k
		t.sum(m.flow, s, false)
		t.opt.Seen(m.flow, &t.kept)
	}
}
