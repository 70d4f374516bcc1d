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

// onward takes a number where it is the next of a counter that skipped none, as nearly every one is; see takes any. That a
// counter is unfit need not be asked: nothing of it is counted.
func (c *ipCounter) onward(id uint16, at int64) bool {
	if id != c.high+1 || c.run < idRun || c.waiting {
		return false
	}
	c.advance(id, at)
	return true
}

// advance takes the next number.
func (c *ipCounter) advance(id uint16, at int64) {
	c.window = c.window<<1 | 1
	c.high, c.last = id, at
}

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
	c.advance(id, at)
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
	d := &t.devices.all[s.counter-1]
	if d.counter.onward(p.IPID, p.Time) {
		return
	}
	if lost := d.counter.see(p.IPID, p.Time); lost > 0 {
		t.ipHoles = addHole(t.ipHoles, IDHole{Device: d.address.addr().Netip(), Path: d.path, From: d.counter.from, To: d.counter.to, Packets: uint64(lost)})
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
