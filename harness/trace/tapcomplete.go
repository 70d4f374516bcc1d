package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/merge"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// What one tap lost is not missing where another one at the same place has it. Three things prove that, each for another kind
// of loss:
//
//   - packets that a tap counted as lost, or that its mirror's numbers miss: as many packets that only others saw, and where
//     it is known when, at that time
//   - packets that a tap cut short: no packet of the record is
//   - a time in which a tap did not capture: another tap that has no loss of its own then, was proved to see by canaries, and
//     missed nothing that any other saw
//
// All else that a tap lost is a hole, as if it were alone.

// finishTaps completes the capture of a place with what its taps say.
func (a *analysis) finishTaps(m *merge.Merger, taps []TapPlace, cursors []*cursor) (*Capture, error) {
	c := a.out
	a.doubts, a.more = m.Doubts()
	for i, in := range cursors {
		own, tally := in.own, m.Tally(i)
		for t, n := range own.tunnels {
			a.tunnels[t] += n
		}
		for link, n := range own.links {
			a.links[link] += n
		}
		c.Frames = in.number
		c.Undecodable += own.out.Undecodable
		if c.Damage == "" {
			c.Damage = own.out.Damage
		}
		c.Disorder = max(c.Disorder, own.out.Disorder)
		c.Format, c.Cut = own.out.Format, c.Cut || own.out.Cut
		a.unfinished, a.bytes = a.unfinished || own.unfinished, a.bytes+own.bytes
		a.outages = append(a.outages, own.outages...)
		t := Tap{Name: taps[i].Name, Place: taps[i].Place, Frames: own.out.Frames, First: own.out.First, Last: own.out.Last,
			Packets: tally.Packets, Truncated: own.out.Truncated, Copies: tally.Copies, Missed: tally.Missed, Alone: tally.Alone,
			Dropped: max(own.reported, own.drops.total), Ahead: tally.Ahead}
		for _, s := range tally.Steps {
			t.Steps = append(t.Steps, ClockStep{Tap: t.Name, At: s.At, By: s.By})
		}
		a.numbers(&t, own, tally.Runs)
		c.Taps = append(c.Taps, t)
		a.span(t)
	}
	_, err := a.finish()
	for _, f := range c.Flows {
		a.order.restore(f)
	}
	return c, err
}

// span widens the capture's time by a tap's, on the first tap's clock.
func (a *analysis) span(t Tap) {
	if t.Frames == 0 {
		return
	}
	c := a.out
	first, last := t.First-int64(t.Ahead), t.Last-int64(t.Ahead)
	if c.First == 0 || first < c.First {
		c.First = first
	}
	c.Last = max(c.Last, last)
}

// nearRun is how far a time that was carried over from another tap's clock may be off.
const nearRun = int64(100 * time.Millisecond)

// numbers holds what a tap's mirror's numbers miss against what others saw meanwhile.
func (a *analysis) numbers(t *Tap, own *analysis, runs []merge.Run) {
	gaps, more := own.gre.gaps()
	var missing uint64
	for _, g := range gaps {
		missing += uint64(g.count)
		var filled uint64
		for _, r := range runs {
			if (r.To == 0 || r.To+nearRun >= g.since) && r.From-nearRun <= g.till {
				filled += r.Packets
			}
		}
		if filled < uint64(g.count) {
			t.lost = append(t.lost, lostRun{from: g.since - int64(t.Ahead), to: g.till - int64(t.Ahead), packets: uint64(g.count)})
		}
	}
	if more > 0 {
		t.lost = append(t.lost, lostRun{packets: more})
	}
	t.whole = own.gre.continuous(own.decoded) && len(t.lost) == 0 && missing == t.Missed
}

// continuous says whether every one of decoded packets carried a number, and no counter began anew.
func (g *greSequences) continuous(decoded uint64) bool {
	return g.packets > 0 && g.packets == decoded && !slices.ContainsFunc(g.tunnels, func(t *greTunnel) bool { return t.anew })
}

// tapWhole gives a tap whose mirror's numbers prove the record whole, nil where none does.
func tapWhole(taps []Tap) *Tap {
	if i := slices.IndexFunc(taps, func(t Tap) bool { return t.whole }); i >= 0 {
		return &taps[i]
	}
	return nil
}

// tapHoles gives what the taps lost by their own account in the file, and no other tap has.
func (a *analysis) tapHoles() []Hole {
	var out []Hole
	for _, t := range a.out.Taps {
		if t.Dropped > t.Missed {
			out = append(out, Hole{Kind: HoleDrops, From: a.out.First, Flow: -1, Packets: t.Dropped,
				Reason: fmt.Sprintf("%s dropped at tap %s, as the file says, of which other taps saw %s", packets(t.Dropped), t.Name, Thousands(t.Missed))})
		}
		if a.opt.Filtered {
			continue
		}
		for _, l := range t.lost {
			out = append(out, Hole{Kind: HoleGRE, From: l.from, To: l.to, Flow: -1, Packets: l.packets,
				Reason: fmt.Sprintf("%s missing at tap %s by the mirror's GRE sequence numbers, and not seen by other taps", packets(l.packets), t.Name)})
		}
	}
	for _, d := range a.doubts {
		out = append(out, a.doubtful(d))
	}
	if a.more > 0 {
		out = append(out, Hole{Kind: HoleTaps, Flow: -1, Packets: a.more, Reason: "the same of " + packets(a.more) + " more"})
	}
	return out
}

// doubtful is the packet that may be missing where two taps' packets were taken for one.
func (a *analysis) doubtful(d merge.Doubt) Hole {
	h := Hole{Kind: HoleTaps, From: d.At, To: d.At + int64(d.Apart), Flow: -1, Packets: 1,
		Reason: fmt.Sprintf("two taps saw packets alike from %s to %s, %s apart, each tap one of them: they count as one", d.Src.Netip(), d.Dst.Netip(), d.Apart.Round(time.Millisecond))}
	for _, end := range []packet.Addr{d.Src, d.Dst} {
		if slices.ContainsFunc(a.opt.Devices, func(p netip.Prefix) bool { return p.Contains(end.Netip()) }) {
			h.Device = end.Netip()
		}
	}
	return h
}

// tapsToJudge gives the evidence of the taps whose packets the record holds.
func (t *Trace) tapsToJudge() []TapEvidence {
	if len(t.Capture.Taps) == 0 {
		return t.Evidence.Taps
	}
	return slices.DeleteFunc(slices.Clone(t.Evidence.Taps), func(e TapEvidence) bool { return e.Place != t.Capture.Place })
}

// judgeTaps gives the holes that the taps' own accounts leave, what shows that they were not blind, and else why that is
// not known.
func (t *Trace) judgeTaps() (holes []Hole, account string, doubts []string) {
	taps := t.tapsToJudge()
	if len(t.Capture.Taps) > 1 && len(taps) > 1 {
		return t.judgeTogether(taps)
	}
	sure := len(taps) > 0
	for _, tap := range taps {
		h, why := tap.judge(t.cutBy(tap))
		holes = append(holes, h...)
		if why != "" {
			sure = false
			doubts = append(doubts, why)
		}
	}
	if sure {
		account = sighted(taps)
	}
	return holes, account, doubts
}

// account is a tap's own account with what it contributed.
type tapAccount struct {
	TapEvidence
	seen  Tap
	holes []Hole
	why   string
}

// sound says whether a tap by its own account missed nothing.
func (a *tapAccount) sound() bool { return len(a.holes) == 0 && a.why == "" }

// judgeTogether judges taps at one place, each of which may have what another one lost.
//
// What they have of each other's heals what one of them is known to have lost, and never proves the record whole: a packet
// that none of them shows was counted by none. Taps behind one mirror share what that mirror lost, the record can't tell
// those from taps of two mirrors, and two mirrors can lose the same packet where both are busy with the same burst. So even
// a tap that has all that an independent one saw shows only that neither was blind.
func (t *Trace) judgeTogether(taps []TapEvidence) (holes []Hole, account string, doubts []string) {
	all := make([]*tapAccount, len(taps))
	shared := uint64(0)
	for i, e := range taps {
		all[i] = &tapAccount{TapEvidence: e}
		all[i].holes, all[i].why = e.judge(t.cutBy(e))
		if k := slices.IndexFunc(t.Capture.Taps, func(s Tap) bool { return s.Name == e.Name }); k >= 0 {
			all[i].seen = t.Capture.Taps[k]
			shared += all[i].seen.Copies
		}
	}
	for _, a := range all {
		for _, h := range a.holes {
			if !t.healed(a, h, all) {
				holes = append(holes, h)
			}
		}
	}
	if i := slices.IndexFunc(all, func(a *tapAccount) bool { return a.sound() && a.seen.Missed == 0 }); i >= 0 {
		return holes, sighted(taps[i:i+1]) + missedBy(all), doubts
	}
	if shared == 0 && !slices.ContainsFunc(all, func(a *tapAccount) bool { return !a.sound() }) {
		return holes, sighted(taps) + ", and none saw a packet of another's", doubts
	}
	for _, a := range all {
		switch {
		case a.why != "":
			doubts = append(doubts, a.why)
		case a.seen.Missed > 0:
			doubts = append(doubts, fmt.Sprintf("tap %s missed %s that others saw: there may be some that all missed", a.Name, packets(a.seen.Missed)))
		}
	}
	return holes, "", doubts
}

// missedBy tells what single taps missed, where the record is whole all the same.
func missedBy(all []*tapAccount) (text string) {
	for _, a := range all {
		if a.seen.Missed > 0 {
			text += fmt.Sprintf("; it has %s that tap %s missed", packets(a.seen.Missed), a.Name)
		}
	}
	return text
}

// healed says whether other taps have what one lost.
func (t *Trace) healed(of *tapAccount, h Hole, all []*tapAccount) bool {
	switch h.Kind {
	case HoleDrops:
		return of.seen.Missed >= h.Packets
	case HoleCut, HolePayload:
		return t.Capture.Truncated == 0
	case HoleTap:
		return slices.ContainsFunc(all, func(a *tapAccount) bool {
			blind := slices.ContainsFunc(a.holes, func(o Hole) bool { return overlap(o, h) })
			return a != of && !blind && a.why == "" && a.seen.Missed == 0 && a.seen.Packets > 0 && of.seen.Alone == 0
		})
	}
	return false
}

// overlap says whether two holes have a time in common; one without times is everywhere.
func overlap(a, b Hole) bool {
	return (a.To == 0 || b.From == 0 || b.From <= a.To) && (b.To == 0 || a.From == 0 || a.From <= b.To)
}
