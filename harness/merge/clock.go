package merge

import (
	"math"
	"slices"
	"time"
)

// tap is one source with its clock.
type tap struct {
	index  int
	source Source
	ended  bool
	ahead  queue // packets read and not yet taken, in the tap's order
	placed int   // how many of those have their place on the common clock

	begun  bool
	last   int64 // latest time by its clock
	shift  int64 // common time less its own
	epoch  int   // how often its clock was set
	jitter int64 // how far copies lie apart as a rule

	tally   Tally
	missing uint64 // packets missed since the last seen
	lastSaw int64
}

const (
	leastJitter = int64(time.Millisecond)
	mostJitter  = int64(12 * time.Millisecond)

	// A tap gives its packets times as it captures them, so that these go back by no more than what its host's processors
	// disagree: further back it is a clock that was set. A tap that is silent for so long while others see packets may
	// have had its clock set forward.
	leastStep = int64(50 * time.Millisecond)
	// longSilence is where a single time far ahead is looked at twice.
	longSilence = int64(time.Second)
	// confirm is how many packets tell a clock that was set from one packet with a mangled time.
	confirm = 8
	// probes is how many packets of a tap are looked for among the others' when its clock may have stepped, and search how
	// many of the others' are looked at.
	probes = 32
	search = 1 << 12
	// When the stream begins the clocks may differ by anything: so many packets of each tap are held against each other
	// first, and then ever more of them.
	firstSearch = 1 << 12
	lastSearch  = 1 << 17
)

// tolerance is how far apart packets may be that are told from others alike by their time alone.
func (t *tap) tolerance() int64 { return 8 * min(max(t.jitter, leastJitter), mostJitter) }

// fill reads ahead until so many packets wait, as far as there are any and they are not too large.
func (m *Merger) fill(t *tap, n int) {
	for !t.ended && t.ahead.len() < n && (t.ahead.bytes < mostBytes || t.ahead.len() == 0) {
		if !t.source.Next(&m.scratch) {
			t.ended = true
			return
		}
		t.ahead.push(m.hold(t, &m.scratch))
	}
}

// head gives a tap's next packet with its common time, nil where there is none.
func (m *Merger) head(t *tap) *held {
	m.fill(t, 1)
	h := t.ahead.front()
	if h != nil && t.placed == 0 {
		m.place(t, h)
		t.placed = 1
	}
	return h
}

func (t *tap) pop() *held {
	t.placed = 0
	return t.ahead.pop()
}

// place gives a tap's next packet its time on the common clock, and looks whether the tap's clock has stepped.
func (m *Merger) place(t *tap, h *held) {
	if !t.begun {
		t.begun, t.last = true, h.raw
	}
	switch passed := h.raw - t.last; {
	case passed < -leastStep:
		if m.mangled(t, h) {
			h.at, h.epoch = t.last+t.shift, -1
			return
		}
		was := t.shift
		t.shift -= passed // no time, until the others' packets tell how much
		m.fillOthers(t, search, math.MaxInt64)
		m.resynchronise(t, math.MinInt64, math.MaxInt64, 1)
		t.step(h.raw, was)
		t.last = h.raw
	case passed > leastStep:
		if passed > longSilence && m.mangled(t, h) {
			h.at, h.epoch = t.last+t.shift, -1
			return
		}
		m.leapt(t, h)
		t.last = h.raw
	case passed > 0:
		t.last = h.raw
	}
	h.at, h.epoch = h.raw+t.shift, t.epoch
}

// step notes a clock that was set.
func (t *tap) step(at, was int64) {
	t.epoch++
	if by := was - t.shift; distance(by, 0) > leastStep && len(t.tally.Steps) < maxListed {
		t.tally.Steps = append(t.tally.Steps, Step{At: at, By: time.Duration(by)})
	}
}

// mangled says whether a packet's odd time is its own alone: those after it go on as those before.
func (m *Merger) mangled(t *tap, h *held) bool {
	m.fill(t, 1+confirm)
	near, far := 0, 0
	for _, o := range t.ahead.waiting()[1:min(t.ahead.len(), 1+confirm)] {
		if distance(o.raw, t.last) < distance(o.raw, h.raw) {
			near++
		} else {
			far++
		}
	}
	return near > far
}

// leapt looks whether a tap's clock was set forward rather than silent: then what it shows next is what others saw during
// the time that seems to have passed.
func (m *Merger) leapt(t *tap, h *held) {
	was, from, to := t.shift, t.last+t.shift, h.raw+t.shift
	m.fillOthers(t, 1, to)
	if len(m.others(t, from, to)) == 0 {
		return
	}
	m.fillOthers(t, search, to)
	if m.resynchronise(t, from, to, 2) {
		t.step(h.raw, was)
	}
}

// fillOthers reads ahead at the other taps: so many packets, and none behind the first that passed after a time.
func (m *Merger) fillOthers(t *tap, n int, until int64) {
	for _, o := range m.taps {
		for k := 1; o != t && k <= n; k++ {
			m.fill(o, k)
			if o.ahead.len() < k || o.ahead.waiting()[k-1].raw+o.shift > until {
				break
			}
		}
	}
}

// others gives what other taps saw between two times, and this one has not shown.
func (m *Merger) others(t *tap, from, to int64) (out []*held) {
	inside := func(at int64) bool { return at > from && at < to && (to == math.MaxInt64 || at < to-t.tolerance()) }
	for _, h := range m.held.waiting() {
		if !h.seen.Has(t.index) && !h.gone && inside(h.at) {
			out = append(out, h)
		}
	}
	for _, o := range m.taps {
		if o == t {
			continue
		}
		for _, h := range o.ahead.waiting()[:min(o.ahead.len(), search)] {
			if h.at = h.raw + o.shift; inside(h.at) {
				out = append(out, h)
			}
		}
	}
	return out
}

// resynchronise looks for a tap's next packets among what the others saw between two times, and moves its clock to where
// they are. It wants so many of them to agree.
func (m *Merger) resynchronise(t *tap, from, to int64, agree int) bool {
	m.fill(t, probes)
	return m.align(t, t.ahead.waiting()[:min(t.ahead.len(), probes)], m.others(t, from, to), agree)
}

// synchronise learns how the taps' clocks differ when the stream begins.
func (m *Merger) synchronise() {
	for i, t := range m.taps[min(1, len(m.taps)):] {
		for n := firstSearch; n <= lastSearch; n *= 32 {
			m.fill(t, n)
			var theirs []*held
			full := t.ended
			for _, o := range m.taps[:i+1] {
				m.fill(o, n)
				full = full && o.ended
				for _, h := range o.ahead.waiting() {
					h.at = h.raw + o.shift
					theirs = append(theirs, h)
				}
			}
			if m.align(t, t.ahead.waiting(), theirs, 1) || full {
				break
			}
		}
	}
}

// align moves a tap's clock to where most of its packets that the others saw, too, lie beside theirs. Packets that are alike
// are looked at only where each side has one of them. It says whether so many agree.
func (m *Merger) align(t *tap, mine, theirs []*held, agree int) bool {
	pairs := pairsOf(mine, theirs)
	if len(pairs) == 0 {
		return false
	}
	shifts := make([]int64, min(len(pairs), 2*probes)) // later ones may lie behind another step
	for i := range shifts {
		shifts[i] = pairs[i].theirs.at - pairs[i].mine.raw
	}
	slices.Sort(shifts)
	from, n := densest(shifts, 2*leastJitter*8)
	sure := n >= agree || len(mine) < agree && pairs[0].mine.id.unique()
	if !sure || 2*n < len(shifts) && n < probes/2 {
		return false
	}
	t.shift = shifts[from+n/2]
	for _, x := range pairs {
		if distance(x.theirs.at, x.mine.raw+t.shift) <= t.tolerance() {
			m.learn(x.theirs, x.mine)
		}
	}
	return true
}

type pair struct{ mine, theirs *held }

// pairsOf gives the packets that are on both sides, once on each.
func pairsOf(mine, theirs []*held) []pair {
	type found struct {
		h    *held
		many bool
	}
	note := func(list []*held) map[identity]found {
		out := make(map[identity]found, len(list))
		for _, h := range list {
			first, again := out[h.id]
			if again && first.h.tap != h.tap {
				continue // a third tap's copy
			}
			out[h.id] = found{h, again}
		}
		return out
	}
	ours, others := note(mine), note(theirs)
	var out []pair
	for _, h := range mine {
		if a, b := ours[h.id], others[h.id]; !a.many && b.h != nil && !b.many && h.like(b.h) {
			out = append(out, pair{h, b.h})
		}
	}
	return out
}

// densest finds where in a sorted list most values lie within a width: the first of them, and how many.
func densest(sorted []int64, width int64) (from, n int) {
	for i, j := 0, 0; j < len(sorted); j++ {
		for sorted[j]-sorted[i] > width {
			i++
		}
		if j-i+1 > n {
			from, n = i, j-i+1
		}
	}
	return from, n
}

// adjust follows the drift of a tap's clock by a packet that another tap saw, too. The earlier tap's clock stays. What was
// held may have got its place before its tap's clock was known better.
func (m *Merger) adjust(o, h *held) {
	if o.tap > h.tap {
		o, h = h, o
	}
	t := m.taps[h.tap]
	if o.tap == h.tap || h.epoch != t.epoch || o.epoch != m.taps[o.tap].epoch {
		return
	}
	apart := h.raw + t.shift - o.raw - m.taps[o.tap].shift
	t.jitter += (distance(apart, 0) - t.jitter) / 16
	t.shift -= apart / 16
}

// miss counts a packet that the tap did not see.
func (t *tap) miss() {
	t.tally.Missed++
	t.missing++
}

// saw ends a run of missed packets; at is by the tap's own clock.
func (t *tap) saw(at int64) {
	if t.missing > 0 {
		t.run(at)
	}
	t.lastSaw = at
}

func (t *tap) run(to int64) {
	if len(t.tally.Runs) < maxListed {
		t.tally.Runs = append(t.tally.Runs, Run{From: t.lastSaw, To: to, Packets: t.missing})
	}
	t.missing = 0
}
