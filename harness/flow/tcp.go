package flow

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// LateTime is how late a busy mirror delivers a packet at the worst, in nanoseconds. A sender's own time-out is hardly ever
// shorter (RFC 6298, 2.4, asks for a second; Linux waits 200 ms and a round trip).
const LateTime = int64(250 * time.Millisecond)

// NeighbourTime is how far apart packets that a mirror or a capture may have in each other's place lie at most, in
// nanoseconds: phases come out the same either way.
const NeighbourTime = int64(10 * time.Millisecond)

// An end is silent before a keep-alive: what follows sooner is a reordered ACK, LateTime late at the worst, and no stack sends
// keep-alives that soon of itself (RFC 9293, 3.8.4, asks for two hours). Where the sender's IP identification shows that it
// was sent last, the silence need only be longer than neighbours are apart: but for an end of which something is still to
// come, which may be the number that a keep-alive would repeat.
const (
	quietTenths = int32(NeighbourTime / 100_000)
	lateTenths  = int32(LateTime / 100_000)
)

// silence is how long an end must have been silent before a packet of it can be a keep-alive, in the unit of side.lastAt.
func (d *side) silence(p *packet.Packet) int32 {
	if p.HasIPID && d.ipRun >= countingRun && int16(p.IPID-d.ipID) > 0 && d.flags&sideHoles == 0 {
		return quietTenths
	}
	return lateTenths
}

// maxRTT bounds, in microseconds, what is believed of a round trip.
const maxRTT = int64(2 * time.Second / time.Microsecond)

// expected says whether a segment is the next in its direction and acknowledges nothing that was not seen, in a flow of
// which nothing is missing: an ACK, with or without payload, as most are. Then tcp need not ask what it may be
// otherwise. (Van Jacobson's header prediction, on the tap's side.)
func (s *state) expected(end int, p *packet.Packet) bool {
	d, o := &s.sides[end], &s.sides[1-end]
	return p.Flags&^packet.PSH == packet.ACK && p.Seq == d.next && p.Window != 0 && s.rtt != 0 &&
		d.flags&o.flags&(sideSeen|sideAck) == sideSeen|sideAck && (d.flags|o.flags)&sideHoles == 0 &&
		int32(p.Ack-o.next) <= 0
}

// proceed takes an expected segment into account. It does what tcp does, and gives its phase.
func (t *Tracker) proceed(h uint32, s *state, end int, p *packet.Packet) (phase Phase) {
	d, o := &s.sides[end], &s.sides[1-end]
	d.payload += uint64(p.PayloadLen)
	d.next += uint32(p.PayloadLen)
	again := d.ack == p.Ack
	if after(p.Ack, d.ack) {
		d.ack = p.Ack
	}
	t.countIPID(d, p)
	d.lastAt = s.sinceStart(p.Time)
	if p.PayloadLen == 0 {
		phase = t.ackPhase(s, end, p, again)
	} else {
		phase = t.payloadPhase(h, s, end, p, inOrder)
		t.resolvePending(s)
	}
	if d.flags&o.flags&sideFIN != 0 && s.flags&flagClosed == 0 {
		t.checkClosed(h, s)
	}
	return phase
}

// tcp takes one TCP segment of a flow into account, whatever it is. It returns the segment's phase and marks.
func (t *Tracker) tcp(h uint32, s *state, end int, p *packet.Packet) (phase Phase, mark Mark) {
	if p.Flags&packet.SYN != 0 && s.trust < trustOpener {
		opener := end
		if p.Flags&packet.ACK != 0 {
			opener = 1 - end
		}
		t.correct(s, opener)
	}
	d := &s.sides[end]
	d.payload += uint64(p.PayloadLen)
	if p.Flags&packet.RST != 0 {
		t.reset(h, s, end, p)
		return Reset, 0
	}
	length := uint32(p.PayloadLen)
	anew := false
	if p.Flags&packet.SYN != 0 {
		anew = t.syn(s, end, p)
		length++
	}
	if p.Flags&packet.FIN != 0 {
		length++
	}
	if s.rtt == 0 && s.flags&(flagSYN|flagSYNACK) == flagSYN|flagSYNACK && end == int(s.device) && p.Flags&packet.SYN == 0 {
		t.measure(s, p)
	}
	probe := d.flags&sideSeen != 0 && p.Seq == d.next-1 && t.isProbe(s, end, p)
	f := inOrder
	if !probe {
		if f = t.place(s, end, p, length); anew {
			f = repeated
		}
		if p.Flags&packet.SYN != 0 {
			d.flags |= sideSYN // only now: a first SYN that comes late is no repeat
		}
		mark = t.markFate(s, end, f, length)
	}
	again := d.flags&sideAck != 0 && d.ack == p.Ack
	if p.Flags&packet.ACK != 0 && t.acknowledge(s, end, p) {
		mark |= AckedUnseen
	}
	t.countIPID(d, p)
	d.lastAt = s.sinceStart(p.Time)
	if p.Window == 0 && p.Flags&(packet.SYN|packet.FIN) == 0 {
		mark |= ZeroWindow
		t.more(s).sides[end].zeroWindows++
	}
	switch {
	case probe:
		t.more(s).sides[end].keepalives++
		t.probeSent(s, end, p)
		return Keepalive, mark | KeepaliveProbe
	case length == 0 && p.Flags&packet.ACK != 0:
		phase = t.ackPhase(s, end, p, again)
	case length == 0:
		return Other, mark
	default:
		phase = t.segmentPhase(h, s, end, p, f)
	}
	if p.Flags&packet.FIN != 0 {
		t.fin(s, end, p)
	}
	if s.flags&flagClosed == 0 {
		t.checkClosed(h, s)
	}
	return phase, mark
}

// markFate turns a segment's fate into marks and counts.
func (t *Tracker) markFate(s *state, end int, f fate, length uint32) Mark {
	switch f {
	case ahead:
		return AfterGap
	case reordered:
		t.more(s).sides[end].outOfOrder++
		return OutOfOrder
	case resent, repeated:
		if length > 0 {
			t.more(s).sides[end].retransmissions++
			return Retransmission
		}
	}
	return 0
}

// syn notes a SYN. It says whether it repeats an earlier one with another first number.
func (t *Tracker) syn(s *state, end int, p *packet.Packet) (anew bool) {
	d := &s.sides[end]
	d.syn++
	if p.MSS != 0 {
		d.mss = p.MSS
	}
	o := &s.sides[1-end]
	if d.flags&sideSYN != 0 && p.Seq != d.base && d.next-d.base <= 1 && !(o.flags&sideAck != 0 && o.ack == d.next) {
		t.rebase(s, end, p.Seq) // the other end has not taken up the number before
		anew = true
	}
	if p.Flags&packet.ACK != 0 {
		s.flags |= flagSYNACK
	} else {
		s.flags |= flagSYN
		s.synAt = uint32(max(0, p.Time-s.start) / int64(time.Microsecond))
	}
	return anew
}

// measure takes the round trip's time from the handshake: from the SYN to the ACK that its sender gave the SYN-ACK.
func (t *Tracker) measure(s *state, p *packet.Packet) {
	took := (p.Time-s.start)/int64(time.Microsecond) - int64(s.synAt)
	s.rtt = uint32(min(max(took, 1), maxRTT))
}

// segmentPhase gives the phase of a segment that takes up sequence numbers.
func (t *Tracker) segmentPhase(h uint32, s *state, end int, p *packet.Packet, f fate) (phase Phase) {
	d := &s.sides[end]
	from := p.Seq
	switch {
	case p.Flags&packet.SYN != 0:
		phase = TCPHandshake
		if d.base == from || f != repeated {
			d.note(from, from+1+uint32(p.PayloadLen), phase)
		}
		if p.PayloadLen > 0 {
			t.payloadPhase(h, s, end, p, f)
		}
	case p.PayloadLen > 0:
		phase = t.payloadPhase(h, s, end, p, f)
	default:
		phase = TeardownPhase
	}
	if p.Flags&packet.FIN != 0 {
		to := from + uint32(p.PayloadLen)
		d.note(to, to+1, TeardownPhase)
	}
	t.resolvePending(s)
	return phase
}

// isProbe recognises a keep-alive probe (RFC 9293, 3.8.4) as tshark does: no more than one byte, at the last number
// sent. Where that number is a FIN's, or was only just sent, it is a reordered ACK instead; a byte that was
// not acknowledged some time ago is sent again.
func (t *Tracker) isProbe(s *state, end int, p *packet.Packet) bool {
	d, o := &s.sides[end], &s.sides[1-end]
	silence := d.silence(p)
	if p.PayloadLen > 1 || p.Flags&(packet.SYN|packet.FIN) != 0 || s.silent(end, p.Time) < silence {
		return false
	}
	if d.flags&sideFIN != 0 && d.finEnd == d.next {
		return false
	}
	return p.PayloadLen == 0 || o.flags&sideAck != 0 && o.ack == d.next && s.silent(1-end, p.Time) >= silence
}

// countIPID follows whether an end's IP identification counts up in this flow.
func (t *Tracker) countIPID(d *side, p *packet.Packet) {
	if !p.HasIPID {
		return
	}
	switch step := int16(p.IPID - d.ipID); {
	case step > 0 && step <= 64:
		if d.ipRun < 255 {
			d.ipRun++
		}
	case step < 0 && step > -64 && d.ipRun >= countingRun:
		return // a reordered packet
	default:
		d.ipRun = 0
	}
	d.ipID = p.IPID
}
