package flow

import (
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// hole is a stretch of sequence numbers known to have been sent and not seen. Between them, the holes and what was
// seen cover a side's numbers from base to next, whatever order the packets came in.
type hole struct {
	from, to uint32
	kind     GapKind // by what it was known first
	maybe    bool    // there may be nothing missing: it only waits for what was reordered
	followed bool    // segments beyond it were seen
	counted  bool    // in lost and ackedUnseen
	acks     uint16  // acknowledgements that reached into it
	ipID     uint16  // of the packet that opened it, where kind is GapSequence
	since    int64   // when it opened
	before   int64   // the packet before that
}

const (
	maxHoles = 32
	// maxWindow is the most that can be in flight (RFC 7323, 2.3). A number further ahead is nonsense, not a loss.
	maxWindow = 1 << 30
	// reorderTime is how late a mirror or the network may deliver a packet behind its successor.
	reorderTime = int64(3 * time.Millisecond)
	// joinTime is how long what passed the tap before the capture may take to be acknowledged.
	joinTime = int64(3 * time.Second)
	// countingRun is how many packets in a row must raise the IP identification before it tells their order.
	countingRun = 4
)

// fate is what sequence numbers say of a segment.
type fate uint8

const (
	inOrder fate = iota
	ahead        // beyond the next expected number
	reordered
	resent   // sent again, and some of it not seen before: it fills a hole too late to be reordering, or reaches further
	repeated // seen before
	old      // without payload or flags, behind the newest
)

// place takes a segment's sequence numbers, [p.Seq, p.Seq+length), into account.
func (t *Tracker) place(s *state, end int, p *packet.Packet, length uint32) fate {
	d := &s.sides[end]
	if d.flags&sideSeen == 0 {
		return t.placeFirst(s, end, p, length)
	}
	if p.Seq == d.next {
		if d.flags&sideHoles != 0 && length > 0 {
			t.followHole(s, end, p)
		}
		d.next += length
		return inOrder
	}
	off := int32(p.Seq - d.next)
	if off > maxWindow || off < -maxWindow {
		return t.placeFar(s, end, p, length)
	}
	d.flags &^= sideFar
	if off > 0 {
		t.openHole(s, end, hole{from: d.next, to: p.Seq, kind: GapSequence, followed: true, ipID: p.IPID, since: p.Time, before: s.last})
		d.next = p.Seq + length
		return ahead
	}
	if length == 0 {
		if d.flags&sideSYN == 0 && after(d.base, p.Seq) {
			d.base = p.Seq // a flow joined in the middle may begin with reordering
		}
		return old
	}
	return t.placeLate(s, end, p, length)
}

// placeFar places a segment that is nowhere near the others. One such is ignored; after two in a row the stream is
// held to go on there.
func (t *Tracker) placeFar(s *state, end int, p *packet.Packet, length uint32) fate {
	d := &s.sides[end]
	if d.flags&sideFar == 0 {
		d.flags |= sideFar
		return old
	}
	t.rebase(s, end, p.Seq)
	d.next = p.Seq + length
	return inOrder
}

// rebase begins an end's numbers anew: nothing before is missing any more.
func (t *Tracker) rebase(s *state, end int, seq uint32) {
	d := &s.sides[end]
	d.base, d.next, d.ranges = seq, seq, 0
	d.flags &^= sideHoles | sideFar
	if m := t.hasMore(s); m != nil {
		m.sides[end].holes = m.sides[end].holes[:0]
		m.queue.began[end] = false
	}
}

// followHole notes that a segment was seen right behind a hole that only an acknowledgement had shown so far.
func (t *Tracker) followHole(s *state, end int, p *packet.Packet) {
	holes := t.more(s).sides[end].holes
	if last := &holes[len(holes)-1]; last.to == p.Seq && !last.followed {
		last.followed, last.ipID = true, p.IPID
	}
}

// placeFirst places the first segment that is seen of an end. The other end may have acknowledged something of it.
func (t *Tracker) placeFirst(s *state, end int, p *packet.Packet, length uint32) fate {
	d := &s.sides[end]
	guessed := d.flags&sideGuess != 0
	d.flags |= sideSeen
	to := p.Seq + length
	off := int32(p.Seq - d.base)
	if !guessed || off > maxWindow || off < -maxWindow {
		d.base, d.next = p.Seq, to
		return inOrder
	}
	switch {
	case p.Seq == d.next:
		d.next = to
		return inOrder
	case off < 0 && !after(to, d.base):
		// Acknowledged before it was seen, and nothing else: they changed places.
		d.base = p.Seq
		return inOrder
	case after(p.Seq, d.next) && t.justJoined(s, p.Time):
		d.base, d.next = p.Seq, to
		return inOrder
	case after(p.Seq, d.next):
		t.openHole(s, end, hole{from: d.next, to: p.Seq, kind: GapSequence, followed: true, ipID: p.IPID, since: p.Time, before: s.last})
		d.next = to
		return ahead
	}
	if off < 0 {
		d.base = p.Seq
	}
	t.fill(s, end, p, p.Seq, to)
	if after(to, d.next) {
		d.next = to
	}
	return reordered
}

// placeLate places a segment that begins behind the newest number: it fills holes, extends a flow joined in the
// middle to the front, or repeats what was seen.
func (t *Tracker) placeLate(s *state, end int, p *packet.Packet, length uint32) fate {
	d := &s.sides[end]
	to := p.Seq + length
	f := repeated
	if d.flags&sideSYN == 0 && after(d.base, p.Seq) && d.next-p.Seq < maxWindow {
		if !after(to, d.base) && (p.Flags&packet.SYN != 0 || int64(s.silent(end, p.Time)) <= t.patience(s)/100_000) {
			f = reordered
		} else {
			f = resent
		}
		d.base = p.Seq
	}
	if d.flags&sideHoles != 0 {
		if g, filled := t.fill(s, end, p, p.Seq, to); filled {
			f = g
		}
	}
	if after(to, d.next) {
		d.next = to
		if f == repeated {
			f = resent
		}
	}
	return f
}

// patience is how long after a hole opened a segment may fill it and count as merely out of order.
func (t *Tracker) patience(s *state) int64 {
	return max(reorderTime, int64(s.rtt)*int64(time.Microsecond))
}

func (t *Tracker) openHole(s *state, end int, h hole) {
	m := t.more(s)
	e := &m.sides[end]
	s.sides[end].flags |= sideHoles
	if len(e.holes) >= maxHoles {
		m.forget(end)
	}
	e.holes = append(e.holes, h)
}

// forget makes the oldest hole a mere number: it can't be filled any more.
func (m *more) forget(end int) {
	e := &m.sides[end]
	m.settle(end, &e.holes[0])
	if h := &e.holes[0]; !h.maybe {
		e.missing += uint64(h.to - h.from)
	}
	e.holes = slices.Delete(e.holes, 0, 1)
}

// justJoined says whether a flow that began before the capture is so young in it that bytes may have passed the tap
// before the capture began and are acknowledged only now: nothing was lost then.
func (t *Tracker) justJoined(s *state, now int64) bool {
	return s.flags&(flagSYN|flagSYNACK) == 0 && now-s.start < joinTime
}

// settle counts what a hole that was not mere reordering stands for.
func (m *more) settle(end int, h *hole) {
	if h.counted || h.maybe {
		return
	}
	h.counted = true
	if h.followed {
		m.sides[end].lost++
	}
	m.sides[1-end].ackedUnseen += int(h.acks)
}

// fill takes [from, to) out of the holes, and says what that makes of the segment.
func (t *Tracker) fill(s *state, end int, p *packet.Packet, from, to uint32) (fate, bool) {
	m := t.more(s)
	e := &m.sides[end]
	f, filled := reordered, false
	for i := 0; i < len(e.holes); i++ {
		h := e.holes[i]
		if !after(h.to, from) || !after(to, h.from) {
			continue
		}
		filled = true
		if t.tooLate(s, end, p, &h) {
			f = resent
			m.settle(end, &h)
		}
		left, right := h, h
		left.to, right.from = from, to
		keep := make([]hole, 0, 2)
		if after(left.to, left.from) {
			keep = append(keep, left)
		}
		if after(right.to, right.from) {
			keep = append(keep, right)
		}
		if len(keep) == 0 && !h.counted && h.followed {
			e.reordered++
		}
		e.holes = slices.Replace(e.holes, i, i+1, keep...)
		i += len(keep) - 1
	}
	if len(e.holes) > maxHoles {
		m.forget(end)
	}
	if len(e.holes) == 0 {
		s.sides[end].flags &^= sideHoles
	}
	return f, filled
}

// tooLate says whether a segment that fills a hole was sent again, rather than overtaken. Where the sender's IP
// identification counts up it shows the order of sending; else the time since the hole opened decides.
func (t *Tracker) tooLate(s *state, end int, p *packet.Packet, h *hole) bool {
	d := &s.sides[end]
	if h.followed && p.HasIPID && d.ipRun >= countingRun {
		if off := int16(p.IPID - h.ipID); off > -512 && off < 512 && off != 0 {
			return off > 0
		}
	}
	return p.Time-h.since > t.patience(s)
}

// unseen says whether the byte at a sequence number was sent and not seen.
func (t *Tracker) unseen(s *state, end int, seq uint32) bool {
	d := &s.sides[end]
	if d.flags&sideSeen == 0 || !after(d.next, seq) {
		return true
	}
	if d.flags&sideHoles == 0 {
		return false
	}
	for i := range t.mores.all[s.more-1].sides[end].holes {
		h := &t.mores.all[s.more-1].sides[end].holes[i]
		if !after(h.from, seq) && after(h.to, seq) {
			return true
		}
	}
	return false
}

// acknowledge takes an acknowledgement number sent by an end into account. It says whether the number covers
// something of the other end that was not seen, which is news to it.
func (t *Tracker) acknowledge(s *state, end int, p *packet.Packet) bool {
	d, o := &s.sides[end], &s.sides[1-end]
	before := d.ack
	fresh := d.flags&sideAck == 0 || after(p.Ack, before)
	if fresh {
		d.ack = p.Ack
		d.flags |= sideAck
	}
	if o.flags&(sideSeen|sideGuess) == 0 {
		o.base, o.next = p.Ack, p.Ack
		o.flags |= sideGuess
		return false
	}
	beyond := int32(p.Ack - o.next)
	if beyond <= 0 || beyond > maxWindow {
		return beyond <= 0 && fresh && o.flags&sideHoles != 0 && t.intoHole(s, 1-end, before, p.Ack)
	}
	// Bytes may have passed the tap before the capture began. And all that was seen of the other end may be
	// keep-alive probes, which are one number behind.
	maybe := o.flags&sideSeen == 0 && t.justJoined(s, p.Time) || beyond == 1 && o.base == o.next && o.flags&sideSYN == 0
	if o.flags&sideHoles != 0 {
		holes := t.more(s).sides[1-end].holes
		if last := &holes[len(holes)-1]; last.to == o.next && last.kind == GapAcked && last.maybe == maybe {
			last.to, o.next = p.Ack, p.Ack
			last.acks++
			return true
		}
	}
	t.openHole(s, 1-end, hole{from: o.next, to: p.Ack, kind: GapAcked, maybe: maybe, acks: 1, since: p.Time, before: s.last})
	o.next = p.Ack
	return true
}

// intoHole counts an acknowledgement that goes on, from before to ack, over holes of an end. It says whether there
// are any.
func (t *Tracker) intoHole(s *state, end int, before, ack uint32) (any bool) {
	holes := t.more(s).sides[end].holes
	for i := range holes {
		if h := &holes[i]; after(ack, h.from) && !after(before, h.from) {
			h.acks++
			any = true
		}
	}
	return any
}
