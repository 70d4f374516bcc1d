package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

// maxHoles is how many holes of one origin are listed; the rest are counted in one more, so that a capture of a bad mirror
// costs no more memory than a good one's.
const maxHoles = 1000

// holeList keeps holes up to maxHoles and sums up what comes after.
type holeList struct {
	list    []Hole
	missing flow.Both[uint64]
	rest    Hole
	more    uint64
}

func (l *holeList) add(h Hole) {
	l.missing[h.Dir] += h.Bytes
	if len(l.list) < maxHoles {
		l.list = append(l.list, h)
		return
	}
	if l.more == 0 {
		l.rest = Hole{Kind: h.Kind, From: h.From, To: h.To, Flow: -1}
	}
	l.more++
	l.rest.From, l.rest.To = min(l.rest.From, h.From), max(l.rest.To, h.To)
	l.rest.Packets += h.Packets
	l.rest.Bytes += h.Bytes
}

// all gives the holes in the order of their times.
func (l *holeList) all() []Hole {
	out := slices.Clone(l.list)
	if l.more > 0 {
		l.rest.Reason = fmt.Sprintf("%s more holes, %s bytes", Thousands(l.more), Thousands(l.rest.Bytes))
		out = append(out, l.rest)
	}
	slices.SortStableFunc(out, func(a, b Hole) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.Dir, b.Dir))
	})
	return out
}

// flowHoles gives what a flow's sequence numbers prove missing: its gaps, and in one more for each direction the bytes of
// those beyond flow.MaxGaps.
func flowHoles(f *flow.Flow) []Hole {
	if len(f.Gaps) == 0 {
		return nil
	}
	out := make([]Hole, 0, len(f.Gaps))
	var listed flow.Both[uint64]
	for _, g := range f.Gaps {
		listed[g.Dir] += g.Bytes
		h := Hole{Kind: HoleSequence, From: g.From, To: g.To, Device: f.Device.Addr(), Flow: f.ID, Dir: g.Dir, Packets: g.Packets, Bytes: g.Bytes}
		how := "never seen, by the sequence numbers"
		if g.Kind == flow.GapAcked {
			h.Kind, how = HoleAcked, "acknowledged but never seen"
		}
		what := Thousands(g.Bytes) + " bytes"
		if g.Bytes == 0 {
			what = "a SYN or FIN"
		}
		h.Reason = fmt.Sprintf("%s %s %s (%s)", what, g.Dir, how, endpoints(f))
		out = append(out, h)
	}
	for d := range f.Sides {
		if rest := f.Sides[d].Missing - min(listed[d], f.Sides[d].Missing); rest > 0 {
			out = append(out, Hole{Kind: HoleSequence, From: f.Start, To: f.End, Device: f.Device.Addr(), Flow: f.ID, Dir: flow.Direction(d), Bytes: rest,
				Reason: fmt.Sprintf("%s more bytes %s never seen (%s)", Thousands(rest), flow.Direction(d), endpoints(f))})
		}
	}
	return out
}

func endpoints(f *flow.Flow) string { return f.Device.String() + " ↔ " + f.Peer.String() }

// spans are stretches of time in which something was counted; close ones are joined, and there are never many.
type spans struct {
	list  []span
	total uint64
}

type span struct {
	from, to int64
	count    uint64
}

func (s *spans) add(from, to int64, n uint64) {
	s.total += n
	from, to = min(from, to), max(from, to) // a clock may have been set back in between
	if i := len(s.list) - 1; i >= 0 && (from-s.list[i].to <= int64(time.Second) || i >= maxHoles) {
		s.list[i].from = min(s.list[i].from, from)
		s.list[i].to = max(s.list[i].to, to)
		s.list[i].count += n
		return
	}
	s.list = append(s.list, span{from: from, to: to, count: n})
}

// holes turns the spans into holes of a kind, with a sentence for each.
func (s *spans) holes(kind HoleKind, reason func(n uint64) string) []Hole {
	out := make([]Hole, 0, len(s.list))
	for _, x := range s.list {
		out = append(out, Hole{Kind: kind, From: x.from, To: x.to, Flow: -1, Packets: x.count, Reason: reason(x.count)})
	}
	return out
}

// holes gives the gaps as holes that may concern any device.
func (g *greSequences) holes() []Hole {
	var out []Hole
	list, more := g.gaps()
	for _, x := range list {
		out = append(out, Hole{Kind: HoleGRE, From: x.since, To: x.till, Flow: -1, Packets: uint64(x.count),
			Reason: fmt.Sprintf("%s missing by the mirror's GRE sequence numbers (%d to %d)", packets(uint64(x.count)), x.from, x.from+x.count-1)})
	}
	if more > 0 {
		out = append(out, Hole{Kind: HoleGRE, Flow: -1, Packets: more, Reason: packets(more) + " more missing by the mirror's GRE sequence numbers"})
	}
	return out
}

// idHoles turns the tracker's gaps in devices' IP identifications into holes.
func idHoles(gaps []flow.IDHole) []Hole {
	out := make([]Hole, 0, len(gaps))
	for _, x := range gaps {
		whose := "devices"
		if x.Device.IsValid() {
			whose = x.Device.String()
		}
		out = append(out, Hole{Kind: HoleIPID, From: x.From, To: x.To, Device: x.Device, Flow: -1, Dir: flow.Up, Packets: x.Packets,
			Reason: fmt.Sprintf("%s of %s missing by its IP identifications, which count up", packets(x.Packets), whose)})
	}
	return out
}

// packets writes a number of packets as a person does.
func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return Thousands(n) + " packets"
}

// Thousands writes a number as reports do: 1234567 is "1,234,567".
func Thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
