package flow

import (
	"math/bits"
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// maxIDHoles bounds each list of holes; what is found beyond it is added to the last one.
const maxIDHoles = 1024

// ipCounter follows the IP identification of a device that gives each packet the next number. Where it counted up by
// one for a while, skips a few numbers that never arrive, and counts up again, packets of it are missing. Devices that
// count per connection, or not at all, never count up for long or jump about, and prove nothing.
type ipCounter struct {
	began, waiting, unfit bool
	high                  uint16
	base                  uint16 // the number before the first skip that waits
	run, since            uint8  // numbers in a row, before and after the skip
	window                uint64 // bit i: high-i was seen
	last                  int64  // time of high
	from, to              int64  // of the skip that waits
}

const (
	idRun       = 8 // numbers in a row that show a counter, and that confirm a skip
	idWindow    = 64
	idReordered = int64(50 * time.Millisecond) // a number later than this shows that several counters are at work
)

// see takes a number. It gives how many were lost once that is certain.
func (c *ipCounter) see(id uint16, at int64) (lost int) {
	if c.unfit {
		return 0
	}
	step := int(int16(id - c.high))
	switch {
	case !c.began, step >= idWindow, step <= -idWindow:
		*c = ipCounter{began: true, high: id, window: 1, last: at}
	case step == 1:
		lost = c.next(id, at)
	case step > 1 && c.run < idRun:
		*c = ipCounter{began: true, high: id, window: 1, last: at}
	case step > 1:
		if !c.waiting {
			c.waiting, c.base, c.from, c.to = true, c.high, c.last, at
		}
		c.window = c.window<<step | 1
		c.high, c.last, c.since = id, at, 0
		if int(c.high-c.base) >= idWindow {
			c.waiting, c.run = false, 0 // too much is missing to be sure
		}
	case step < 0:
		c.late(-step, at)
	}
	return lost
}

func (c *ipCounter) next(id uint16, at int64) (lost int) {
	c.window = c.window<<1 | 1
	c.high, c.last = id, at
	if c.run < idRun {
		c.run++
	}
	if !c.waiting {
		return 0
	}
	span := int(c.high - c.base)
	if span >= idWindow {
		c.waiting = false
		return 0
	}
	if c.since++; c.since >= idRun {
		c.waiting = false
		return c.missing(span)
	}
	return 0
}

func (c *ipCounter) late(back int, at int64) {
	if c.window&(1<<back) != 0 {
		return
	}
	c.window |= 1 << back
	if at-c.last > idReordered {
		c.unfit = true
		return
	}
	if c.waiting && c.missing(int(c.high-c.base)) == 0 {
		c.waiting = false
	}
}

// missing counts the numbers not seen among the latest span.
func (c *ipCounter) missing(span int) int {
	return span - bits.OnesCount64(c.window&(1<<span-1))
}

// countID feeds a device's counter with a packet that it sent.
func (t *Tracker) countID(s *state, p *packet.Packet) {
	d := &t.devices[s.counter-1]
	if lost := d.counter.see(p.IPID, p.Time); lost > 0 {
		t.ipHoles = addHole(t.ipHoles, IDHole{Device: d.addr.Netip(), Path: d.path, From: d.counter.from, To: d.counter.to, Packets: uint64(lost)})
	}
}

func addHole(list []IDHole, h IDHole) []IDHole {
	if len(list) < maxIDHoles {
		return append(list, h)
	}
	last := &list[len(list)-1]
	last.Packets += h.Packets
	last.To = max(last.To, h.To)
	last.Device = netip.Addr{}
	return list
}

// IPIDHoles gives the packets known to be missing because their sender's IP identification counts up and skips
// them. It holds at most 1,024; the last stands for all further ones then.
func (t *Tracker) IPIDHoles() []IDHole { return t.ipHoles }

// greCounter follows the sequence numbers of a GRE tunnel in one direction (RFC 2890, 2.2).
type greCounter struct {
	began bool
	high  uint32
	last  int64
	holes []greHole // not yet certain
}

type greHole struct {
	first, count uint32
	seen         uint64 // bit i: first+i arrived late; beyond 64 numbers late ones are not looked for
	from, to     int64
}

const (
	greFar     = 1 << 16 // further apart it is another counter
	greSettled = 1 << 10 // so far behind nothing arrives any more
	maxGREHole = 64
	maxPaths   = 1 << 16
)

// grePath has a counter for each direction of a tunnel: which of them a packet belongs to is told by its number.
type grePath [2]greCounter

func (t *Tracker) countGRE(p *packet.Packet) {
	if p.Path >= maxPaths {
		return
	}
	for int(p.Path) >= len(t.gre) {
		t.gre = append(t.gre, nil)
	}
	if t.gre[p.Path] == nil {
		t.gre[p.Path] = &grePath{}
	}
	both := t.gre[p.Path]
	c := &both[0]
	if c.began && c.distance(p.GRESeq) > greFar && (!both[1].began || both[1].distance(p.GRESeq) < c.distance(p.GRESeq)) {
		c = &both[1]
	}
	c.see(t, p)
}

func (c *greCounter) distance(n uint32) uint32 {
	if d := int32(n - c.high); d < 0 {
		return uint32(-d)
	} else {
		return uint32(d)
	}
}

func (c *greCounter) see(t *Tracker, p *packet.Packet) {
	step := int32(p.GRESeq - c.high)
	switch {
	case !c.began || c.distance(p.GRESeq) > greFar:
		c.settle(t, p.Path, true)
		c.began, c.high, c.last = true, p.GRESeq, p.Time
		return
	case step <= 0:
		c.late(p.GRESeq)
		return
	case step > 1:
		if len(c.holes) >= maxGREHole {
			c.settle(t, p.Path, true)
		}
		c.holes = append(c.holes, greHole{first: c.high + 1, count: uint32(step) - 1, from: c.last, to: p.Time})
	}
	c.high, c.last = p.GRESeq, p.Time
	if len(c.holes) > 0 {
		c.settle(t, p.Path, false)
	}
}

func (c *greCounter) late(n uint32) {
	for i := range c.holes {
		if off := n - c.holes[i].first; off < min(c.holes[i].count, 64) {
			c.holes[i].seen |= 1 << off
		}
	}
}

// settle makes holes certain: those far behind, or all.
func (c *greCounter) settle(t *Tracker, path uint32, all bool) {
	left := c.holes[:0]
	for _, h := range c.holes {
		if !all && c.high-h.first < greSettled {
			left = append(left, h)
			continue
		}
		if n := uint64(h.count) - uint64(bits.OnesCount64(h.seen)); n > 0 {
			t.greHoles = addHole(t.greHoles, IDHole{Path: path, From: h.from, To: h.to, Packets: n})
		}
	}
	c.holes = left
}

// GREHoles gives the mirrored packets known to be missing because their tunnel's sequence numbers skip them. The
// latest are certain only after Flush.
func (t *Tracker) GREHoles() []IDHole { return t.greHoles }
