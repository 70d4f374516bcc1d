package flow

import (
	"fmt"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// reset notes an RST. A SYN or FIN beside it is counted and means nothing.
func (t *Tracker) reset(h uint32, s *state, end int, p *packet.Packet) {
	d := &s.sides[end]
	d.rst++
	if p.Flags&packet.SYN != 0 {
		d.syn++
	}
	if p.Flags&packet.FIN != 0 {
		d.fin++
	}
	if s.flags&flagRST == 0 {
		s.flags |= flagRST
		s.rstTime, s.rstSeq, s.rstAck = p.Time, p.Seq, p.Ack
		if end == 1 {
			s.flags |= flagRSTByB
		}
		if p.Flags&packet.ACK != 0 && p.Ack != 0 {
			s.flags |= flagRSTHasAck
		}
	}
	t.closed(h, s)
}

// fin notes a FIN, which takes up one sequence number behind the segment's payload.
func (t *Tracker) fin(s *state, end int, p *packet.Packet) {
	d := &s.sides[end]
	d.fin++
	if d.flags&sideFIN == 0 {
		d.flags |= sideFIN
		d.finTime = p.Time
		d.finEnd = p.Seq + uint32(p.PayloadLen) + 1
		d.finAck = p.Ack
	}
}

func (t *Tracker) checkClosed(h uint32, s *state) {
	if s.finAcked(0) && s.finAcked(1) {
		t.closed(h, s)
	}
}

// closed has the flow let go after Linger.
func (t *Tracker) closed(h uint32, s *state) {
	if s.flags&flagClosed == 0 {
		s.flags |= flagClosed
		t.wheel.hasten(&t.slab, h, s, t.wheel.now+t.timeout(s)+1)
	}
}

func (s *state) finAcked(end int) bool {
	d, o := &s.sides[end], &s.sides[1-end]
	return d.flags&sideFIN != 0 && o.flags&sideAck != 0 && !after(d.finEnd, o.ack)
}

// swapTime is how far apart two packets must be for their times to tell their order: a mirror reorders neighbours.
// Nearer ones are ordered by what their numbers say.
const swapTime = int64(5 * time.Millisecond)

// rstAfterFIN says whether the first RST came after an end's FIN.
func (s *state) rstAfterFIN(end int) bool {
	d := &s.sides[end]
	if d.flags&sideFIN == 0 {
		return false
	}
	own := (s.flags&flagRSTByB != 0) == (end == 1)
	if own && s.rstSeq == d.finEnd || !own && s.flags&flagRSTHasAck != 0 && !after(d.finEnd, s.rstAck) {
		return true // it is numbered behind the FIN, or acknowledges it: no clock can say otherwise
	}
	if apart := s.rstTime - d.finTime; apart > swapTime || apart < -swapTime {
		return apart > 0
	}
	if own {
		return true // its own: whoever sent an RST has nothing left to send a FIN for, whatever number the RST carries
	}
	if s.flags&flagRSTHasAck != 0 {
		return false
	}
	return s.rstTime >= d.finTime // it says nothing of the other's FIN, which may have been on its way already
}

// close says how a TCP flow ended, from what is known of both ends: nothing here depends on the order of arrival.
func (s *state) close() Close {
	a, b := &s.sides[0], &s.sides[1]
	finA, finB := a.flags&sideFIN != 0, b.flags&sideFIN != 0
	opener := int(s.device)
	switch {
	case s.flags&flagRST != 0 && finA && finB && s.rstAfterFIN(0) && s.rstAfterFIN(1):
		return ResetAfterClose
	case s.flags&flagRST != 0 && s.refused():
		return Refused
	case s.flags&flagRST != 0:
		return ResetBefore
	case s.finAcked(0) && s.finAcked(1):
		return Clean
	case finA || finB:
		return HalfClosed
	case s.sides[opener].syn > 0 && s.flags&flagSYNACK == 0 && s.sides[1-opener].flags&sideSeen == 0 && s.sides[opener].flags&sideAck == 0:
		return Unanswered // an opener that acknowledges had an answer, seen or not
	}
	return Open
}

// refused says whether a SYN was answered by RST: nothing but SYNs one way and RSTs the other.
func (s *state) refused() bool {
	by := 0
	if s.flags&flagRSTByB != 0 {
		by = 1
	}
	return s.sides[1-by].syn > 0 && s.sides[by].flags&sideSeen == 0 && s.flags&flagSYNACK == 0
}

// firstClose says which end sent the first FIN. A FIN that acknowledges the other's came second; else the times tell,
// and of two that crossed within swapTime the device's counts as first.
func (s *state) firstClose() Direction {
	up, down := &s.sides[s.device], &s.sides[1-s.device]
	switch {
	case down.flags&sideFIN == 0:
		return Up
	case up.flags&sideFIN == 0:
		return Down
	case !after(down.finEnd, up.finAck):
		return Down
	case !after(up.finEnd, down.finAck):
		return Up
	case up.finTime-down.finTime > swapTime:
		return Down
	}
	return Up
}

// closeDoubt says why missing packets could make the close another one; "" where they could not.
func (t *Tracker) closeDoubt(s *state, f *Flow) string {
	up, down := f.Sides[Up].Missing, f.Sides[Down].Missing
	switch {
	case up+down > 0:
		return fmt.Sprintf("%d payload bytes up and %d down were sent and not seen: a FIN or RST may be missing as well", up, down)
	case len(f.Gaps) > 0:
		return fmt.Sprintf("the %s side's last acknowledged byte was not seen: it may be a FIN", f.Gaps[0].Dir)
	case f.Close == Unanswered || f.Close == Refused || f.Close == NoClose:
		return ""
	case s.sides[s.device].flags&sideSeen == 0 || s.sides[1-s.device].flags&sideSeen == 0:
		return "only one direction of the flow was seen"
	case f.Close == HalfClosed && s.sides[0].flags&s.sides[1].flags&sideFIN != 0:
		return "both sides sent a FIN, but the last acknowledgement was not seen"
	case f.Close == HalfClosed && t.clock.high-s.last < joinTime:
		return fmt.Sprintf("the capture ends %s after the last packet", time.Duration(t.clock.high-s.last).Round(time.Millisecond))
	}
	return ""
}
