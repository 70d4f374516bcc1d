package flow

import (
	"math"
	"time"
)

// clock is the tracker's sense of time. It never goes back and does not follow one frame's word: a step of more than
// an hour, either way, must be confirmed by the frames after it, so that a single mangled time does not make every
// flow look long gone.
type clock struct {
	high  int64 // latest credible time of a frame
	first int64 // time of the first frame
	ticks int64 // nanoseconds that passed since the first frame
	until int64 // ticks at which the next second begins
	odd   int   // frames in a row that disagree with high
	began bool
}

const (
	bigStep  = int64(time.Hour)
	stepVote = 16
)

// within takes a frame's time where it is as near to the one before as nearly all are, and in the same second of the clock.
func (c *clock) within(at int64) bool {
	step := at - c.high
	if step < 0 || step >= c.until-c.ticks || c.odd != 0 {
		return false
	}
	c.high, c.ticks = at, c.ticks+step
	return true
}

// see takes a frame's time and gives the second of the clock.
func (c *clock) see(at int64) uint32 {
	if !c.began {
		c.began, c.high, c.first = true, at, at
	}
	step := at - c.high
	switch {
	case step >= 0 && step <= bigStep:
		c.odd = 0
		c.high, c.ticks = at, c.ticks+step
	case step < 0 && step >= -bigStep:
		c.odd = 0
	default:
		c.jump(at, step)
	}
	second := c.ticks / int64(time.Second)
	c.until = (second + 1) * int64(time.Second)
	return uint32(second)
}

func (c *clock) jump(at, step int64) {
	if c.odd++; c.odd < stepVote {
		return
	}
	c.odd = 0
	if step > 0 && c.ticks < math.MaxInt64-step {
		c.ticks += step
	}
	c.high = at
}

// wheel lists the flows by the second at which they are to be looked at. A packet does not move its flow: a flow whose
// second has come but whose latest packet is younger is put further on.
type wheel struct {
	buckets [wheelSize]uint32
	now     uint32
}

const wheelSize = 1024

func (w *wheel) link(b *slab, h uint32, s *state, due uint32) {
	if ahead := due - w.now; ahead == 0 || int32(ahead) < 0 {
		due = w.now + 1
	} else if ahead >= wheelSize {
		due = w.now + wheelSize - 1
	}
	head := &w.buckets[due%wheelSize]
	s.due, s.prev, s.next = due, 0, *head
	if *head != 0 {
		b.at(*head).prev = h
	}
	*head = h
}

func (w *wheel) unlink(b *slab, s *state) {
	if s.next != 0 {
		b.at(s.next).prev = s.prev
	}
	if s.prev != 0 {
		b.at(s.prev).next = s.next
	} else {
		w.buckets[s.due%wheelSize] = s.next
	}
}

// hasten has the flow looked at no later than at due.
func (w *wheel) hasten(b *slab, h uint32, s *state, due uint32) {
	if int32(s.due-due) > 0 {
		w.unlink(b, s)
		w.link(b, h, s, due)
	}
}
