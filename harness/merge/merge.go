// Package merge makes one stream of what several taps saw of the same traffic: each packet once, however many taps saw
// it, in the order in which the packets passed.
//
// # What is the same packet
//
// A copy has the addresses, ports, lengths and numbers of its original; what belongs to the way to the tap (tunnels,
// Ethernet addresses, time to live, checksums that a network card fills in) may differ. Packets can be alike without being
// copies: a device that gives no IP identification sends the same bytes again when it retransmits, and pure ACKs repeat. So
// copies are counted as in a multiset: a tap's second packet is never a copy of what that tap has shown already, and n alike
// at one tap and m at another are as many packets as the larger of both.
//
// # Clocks
//
// Every tap has its own clock. How far they differ is learnt from the packets that they share, when the stream begins and
// whenever a tap's clock is seen to step; drift in between is followed. The first tap's clock is the stream's: a packet that
// it missed gets the time that it would have shown.
//
// # Doubt
//
// Two packets alike without an IP identification, one at one tap only and a little later one at another tap only, may be one
// packet that came late to the second tap, or two of which each tap lost one. They are counted once, and told as a Doubt:
// one more packet may have passed than the stream holds.
package merge

import (
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// MaxTaps is how many taps can be merged.
const MaxTaps = 64

// Source gives the packets that one tap captured, in the order of its capture.
type Source interface {
	// Next decodes the next packet into p and says whether there was one. What p points to is valid until the call after.
	Next(p *packet.Packet) bool
}

// Taps is a set of taps, a bit for each by its index.
type Taps uint64

// Has says whether a tap is in the set.
func (s Taps) Has(tap int) bool { return s>>tap&1 != 0 }

func only(tap int) Taps { return 1 << tap }

// Step is a tap's clock that was set anew while it captured.
type Step struct {
	At int64         // by the clock as it was set, nanoseconds since the Unix epoch
	By time.Duration // more than went by: negative where it was set back
}

// Doubt is a packet that may have passed without being in the stream; see the package's doc.
type Doubt struct {
	At       int64         // of the packet that is in the stream
	Apart    time.Duration // between the two taps' packets, on one clock
	Src, Dst packet.Addr
}

// Run is a stretch in which a tap missed packets that others saw, between two that it did see.
type Run struct {
	From, To int64 // on the tap's own clock; From 0 where it had seen nothing before, To 0 where it saw nothing after
	Packets  uint64
}

// Tally is what one tap contributed.
type Tally struct {
	Packets uint64        // that it gave
	Copies  uint64        // of those, that stand in the stream by another tap's copy
	Missed  uint64        // packets of the stream that it did not see
	Alone   uint64        // packets of the stream that no other tap saw
	Ahead   time.Duration // how far its clock is ahead of the first tap's, as learnt last
	Steps   []Step        // at most maxListed
	Runs    []Run         // at most maxListed; where there are more, the last ones are left out
}

// maxListed bounds what is listed of each tap, and the doubts.
const maxListed = 1 << 12

const (
	// copyTime is how far apart copies of a packet may be, the clocks' difference taken off: a mirror's congested way can
	// hold packets back for so long, and no IP identification is used again so soon.
	copyTime = int64(2 * time.Second)
	// mostHeld and mostBytes bound what waits for copies: at a rate so high that they are reached, copies come sooner.
	mostHeld  = 1 << 17
	mostBytes = 64 << 20
)

// Merger merges. It is not safe for concurrent use.
type Merger struct {
	taps   []*tap
	all    Taps
	held   queue
	alike  map[identity]*held // the latest of each identity among the held, linked by older
	paths  map[uint16]uint16  // paths known to be another tap's name for an earlier one
	free   *held
	last   *held // given out by Next last
	doubts []Doubt
	more   uint64 // doubts beyond maxListed
	begun  bool

	scratch packet.Packet
}

// New merges sources, the first of which has the clock that counts. It panics where there are more than MaxTaps.
func New(sources ...Source) *Merger {
	if len(sources) > MaxTaps {
		panic("merge: more taps than MaxTaps")
	}
	m := &Merger{alike: map[identity]*held{}, paths: map[uint16]uint16{}}
	for i, s := range sources {
		m.taps = append(m.taps, &tap{index: i, source: s, jitter: leastJitter})
		m.all |= only(i)
	}
	return m
}

// Next gives the stream's next packet and the taps that saw it, and says whether there was one. What p points to is valid
// until the call after.
func (m *Merger) Next(p *packet.Packet) (Taps, bool) {
	if !m.begun {
		m.begun = true
		m.synchronise()
	}
	m.recycle()
	for {
		if h := m.ripe(); h != nil {
			m.give(h, p)
			return h.seen, true
		}
		t := m.earliest()
		if t == nil {
			return 0, false
		}
		m.take(t, t.pop())
	}
}

// Tally gives what a tap contributed up to now.
func (m *Merger) Tally(tap int) Tally {
	t := m.taps[tap]
	out := t.tally
	out.Ahead = time.Duration(m.taps[0].shift - t.shift)
	out.Steps, out.Runs = slices.Clone(t.tally.Steps), slices.Clone(t.tally.Runs)
	if t.missing > 0 && len(out.Runs) < maxListed {
		out.Runs = append(out.Runs, Run{From: t.lastSaw, Packets: t.missing})
	}
	return out
}

// Doubts gives the doubts up to now, the first 4,096 of them, and how many more there were.
func (m *Merger) Doubts() (list []Doubt, more uint64) { return m.doubts, m.more }

// earliest gives the tap whose next packet passed first, nil where none has one.
func (m *Merger) earliest() *tap {
	var first *tap
	for _, t := range m.taps {
		if h := m.head(t); h != nil && (first == nil || h.at < first.ahead.front().at) {
			first = t
		}
	}
	return first
}

// frontier is the time before which no tap has anything left, and whether any tap has.
func (m *Merger) frontier() (int64, bool) {
	if t := m.earliest(); t != nil {
		return t.ahead.front().at, true
	}
	return 0, false
}

// ripe takes the oldest of the held packets out where nothing is to be waited for.
func (m *Merger) ripe() *held {
	for {
		h := m.held.front()
		if h == nil {
			return nil
		}
		if h.seen != m.all && m.held.len() < mostHeld && m.held.bytes < mostBytes {
			now, more := m.frontier()
			if more && now-h.at <= copyTime {
				return nil
			}
			m.settle(h)
		}
		m.held.pop()
		m.forget(h)
		if !h.gone {
			return h
		}
		h.next, m.free = m.free, h
	}
}

// take counts a tap's packet as a copy of one that is held, or holds it.
func (m *Merger) take(t *tap, h *held) {
	t.tally.Packets++
	h.path(m)
	original := m.original(t, h)
	if original == nil {
		h.older = m.alike[h.id]
		m.alike[h.id] = h
		m.held.insert(h)
		return
	}
	m.learn(original, h)
	m.adjust(original, h)
	m.join(original, h)
	h.older, h.next, m.free = nil, m.free, h
}

// original finds the held packet that a tap's packet is a copy of: alike, not seen by the tap yet, and nearest in time.
func (m *Merger) original(t *tap, h *held) *held {
	limit := copyTime
	if !h.id.unique() {
		limit = t.tolerance()
	}
	var best *held
	for o := m.alike[h.id]; o != nil; o = o.older {
		apart := distance(o.at, h.at)
		if apart <= limit && !o.gone && !o.seen.Has(t.index) && o.like(h) && (best == nil || apart < distance(best.at, h.at)) {
			best = o
		}
	}
	return best
}

// join counts a packet as a copy of another. The better of both stands in the stream: the one that was captured in full,
// or else that of the earlier tap, whose clock is the nearer to the stream's.
func (m *Merger) join(o, h *held) {
	o.seen |= h.seen
	stays, goes := o.tap, h.tap
	if better(h, o) {
		stays, goes = goes, stays
		o.p, h.p = h.p, o.p
		o.buffer, h.buffer = h.buffer, o.buffer
		o.tap, o.raw, o.epoch = h.tap, h.raw, h.epoch
	}
	m.taps[goes].tally.Copies++
}

func better(a, b *held) bool {
	if a.p.Truncated != b.p.Truncated {
		return b.p.Truncated
	}
	return a.tap < b.tap
}

// forget takes a packet out of those that copies are looked for among.
func (m *Merger) forget(h *held) {
	at := m.alike[h.id]
	if at == h {
		if h.older == nil {
			delete(m.alike, h.id)
		} else {
			m.alike[h.id] = h.older
		}
		h.older = nil
		return
	}
	for ; at != nil; at = at.older {
		if at.older == h {
			at.older, h.older = h.older, nil
			return
		}
	}
}

// give hands a packet out, on the first tap's clock.
func (m *Merger) give(h *held, p *packet.Packet) {
	h.path(m)
	*p = h.p
	if h.tap != 0 {
		p.Time = h.at - m.taps[0].shift
	}
	for i, t := range m.taps {
		switch {
		case !h.seen.Has(i):
			t.miss()
		case h.seen == only(i):
			t.tally.Alone++
			fallthrough
		default:
			t.saw(h.at - t.shift)
		}
	}
	m.last = h
}

// recycle keeps the memory of the packet given last for another.
func (m *Merger) recycle() {
	if m.last != nil {
		m.last.next, m.free, m.last = m.free, m.last, nil
	}
}

func distance(a, b int64) int64 {
	if a < b {
		return b - a
	}
	return a - b
}
