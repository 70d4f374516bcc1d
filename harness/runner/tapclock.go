package runner

import "time"

// tapClock carries the times of a live tap's packets over to the bench's clock, for awaits. A tap's host may be ahead of the
// bench, its clock may be set while it captures, and single times may be mangled; what is judged later is read from the
// capture, with the times that the tap gave.
//
// No packet is seen before it passed, so a time ahead of the bench's is now. A clock that went back is believed when three
// packets in a row say so, and goes on from there: packets take as long from the tap as they took before.
type tapClock struct {
	high  int64 // latest time by the tap's clock
	shift int64 // bench clock less the tap's, where that was set back
	delay int64 // that packets take from the tap to the run
	odd   int   // packets in a row that lie far behind high
}

const (
	clockBack  = int64(time.Second) // further back is no reordering
	clockVotes = 3
)

// at gives the bench's time of a packet that arrives now.
func (c *tapClock) at(stamp, now int64) int64 {
	switch {
	case stamp >= c.high-clockBack:
		c.odd = 0
		c.high = max(c.high, stamp)
	case c.odd+1 >= clockVotes:
		c.odd, c.high = 0, stamp
		c.shift = now - c.delay - stamp
	default:
		c.odd++
	}
	at := min(stamp+c.shift, now)
	if c.odd == 0 {
		c.delay = now - at
	}
	return at
}
