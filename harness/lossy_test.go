package harness

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// lossyMirror is what a mirror, its network and its tap do to the copies of a run's packets.
type lossyMirror struct {
	loss    float64 // share of the copies that are lost
	burst   int     // copies lost in a row, on average; 1 is each by itself
	way     way     // whose copies
	double  float64 // share of the copies that come twice, the second up to late behind the first
	late    time.Duration
	reorder float64 // share of the copies that are held up, for up to jitter
	jitter  time.Duration
	stamped bool // each copy has the time at which it came, else that at which the packet passed
	snap    int  // bytes captured of a frame, 0 for all
	ragged  bool // of some frames less
}

type way uint8

const (
	bothWays way = iota
	onlyUp
	onlyDown
)

// snapLengths are those that tcpdump is given: its old defaults, up to the TCP header inside the tunnel, round numbers.
var snapLengths = []int{64, 68, 92, 96, 108, 128, 200, 256}

// drawMirror makes a mirror that loses the share given, and has other failings by chance.
func drawMirror(rng *rand.Rand, loss float64) lossyMirror {
	m := lossyMirror{loss: loss, burst: 1, way: way(rng.IntN(4) % 3), late: time.Millisecond, jitter: time.Millisecond, stamped: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		m.burst = 2 + rng.IntN(6)
	}
	if rng.IntN(3) == 0 {
		m.double = 0.2 * rng.Float64()
		m.late = []time.Duration{0, 2 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond}[rng.IntN(4)]
	}
	if rng.IntN(3) == 0 {
		m.reorder = 0.5 * rng.Float64()
		m.jitter = time.Duration(1+rng.IntN(8)) * time.Millisecond
		if rng.IntN(2) == 0 {
			m.jitter = time.Duration(1+rng.IntN(200)) * time.Millisecond
		}
	}
	switch rng.IntN(8) {
	case 0:
		m.snap = snapLengths[rng.IntN(len(snapLengths))]
	case 1:
		m.snap, m.ragged = 40+rng.IntN(400), true
	}
	return m
}

func (m lossyMirror) String() string {
	return fmt.Sprintf("loss %.0f %% in bursts of %d (%s), doubles %.0f %% up to %s late, reorders %.0f %% by up to %s, stamped on arrival %t, snap length %d, ragged %t",
		100*m.loss, m.burst, [...]string{"both ways", "up", "down"}[m.way], 100*m.double, m.late, 100*m.reorder, m.jitter, m.stamped, m.snap, m.ragged)
}

// mirrored is what came of it.
type mirrored struct {
	frames []pcap.Record
	lost   []bool // by frame of the run
	losses int
	cut    int
}

// copied is a copy on its way.
type copied struct {
	rec pcap.Record
	at  int64
}

// mirror copies a run's frames once more.
func (m lossyMirror) mirror(rng *rand.Rand, r *recorded) mirrored {
	out := mirrored{lost: m.losses(rng, r)}
	var copies []copied
	for i, rec := range r.frames {
		if out.lost[i] {
			out.losses++
			continue
		}
		c := copied{rec, rec.Time}
		if rng.Float64() < m.reorder {
			c.at += rng.Int64N(int64(m.jitter) + 1)
		}
		copies = append(copies, c)
		if rng.Float64() < m.double {
			copies = append(copies, copied{rec, c.at + rng.Int64N(int64(m.late)+1)})
		}
	}
	slices.SortStableFunc(copies, func(a, b copied) int { return cmp.Compare(a.at, b.at) })
	for _, c := range copies {
		if m.stamped {
			c.rec.Time = c.at
		}
		if n := m.captured(rng); n < len(c.rec.Data) {
			c.rec.Data = c.rec.Data[:n]
			out.cut++
		}
		out.frames = append(out.frames, c.rec)
	}
	return out
}

// captured is how much is captured of the next frame.
func (m lossyMirror) captured(rng *rand.Rand) int {
	switch {
	case m.snap == 0 || m.ragged && rng.IntN(4) > 0:
		return 1 << 20
	case m.ragged:
		return rng.IntN(m.snap + 1)
	}
	return m.snap
}

// losses says which frames are lost. In bursts it is Gilbert's channel: good until it turns bad, bad for some frames.
func (m lossyMirror) losses(rng *rand.Rand, r *recorded) []bool {
	lost := make([]bool, len(r.frames))
	if m.loss == 0 {
		return lost
	}
	stay := 1 - 1/float64(m.burst)
	turn := m.loss * (1 - stay) / (1 - m.loss)
	bad := rng.Float64() < m.loss
	for i := range lost {
		if m.way == onlyUp && !r.up[i] || m.way == onlyDown && r.up[i] {
			continue
		}
		lost[i] = bad
		bad = rng.Float64() < turn || bad && rng.Float64() < stay
		if m.burst == 1 {
			bad = rng.Float64() < m.loss
		}
	}
	return lost
}
