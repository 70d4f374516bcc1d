package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// provenPayload counts what TCP sequence numbers say of the flows.
type provenPayload struct {
	tcp, unseen uint64 // TCP flows; those that began before the capture
	other       uint64 // flows without sequence numbers
}

func (p *provenPayload) add(f *flow.Flow) {
	switch {
	case f.Kind != packet.TCP:
		p.other++
	default:
		p.tcp++
		if f.BeganBeforeCapture {
			p.unseen++
		}
	}
}

// completeness judges the packets by themselves: what a bare capture can say. The run's own evidence comes on top
// (Trace.Completeness).
func (a *analysis) completeness() Completeness {
	c := a.out
	holes := a.fileHoles(a.reported)
	switch {
	case len(c.Taps) > 0:
		holes = append(holes, a.tapHoles()...)
	case !a.opt.Filtered:
		holes = append(holes, a.gre.holes()...)
	}
	holes = append(holes, idHoles(a.ownIDs(a.follow.tracker.IPIDHoles()))...)
	holes = append(holes, a.holes.all()...)
	out := Completeness{Holes: holes, Missing: a.holes.missing}
	if c.Counted = a.counted(); c.Counted == "" {
		c.Uncounted = a.whyUnproven()
	}
	switch {
	case len(holes) > 0:
		out.State, out.Reasons = Broken, holeReasons(holes)
	case c.Counted != "":
		out.State, out.Reasons = Whole, []string{c.Counted}
	default:
		out.Reasons = slices.Clone(c.Uncounted)
	}
	if len(c.Steps) > 0 {
		out.Reasons = append(out.Reasons, c.Steps[0].reason())
	}
	if doubt := c.Unsorted(); doubt != "" {
		out.Reasons = append(out.Reasons, doubt)
	}
	return out
}

// counted says how the mirror's numbers prove that nothing is missing, "" where they don't.
func (a *analysis) counted() string {
	switch tap := tapWhole(a.out.Taps); {
	case tap != nil:
		return greProof(a.decoded) + ", at tap " + tap.Name
	case a.out.Frames > 0 && !a.opt.Filtered && a.gre.whole(a.decoded):
		return greProof(a.decoded)
	}
	return ""
}

// ownIDs leaves out, where other devices' packets are not all in the capture, the holes that this makes in theirs.
func (a *analysis) ownIDs(gaps []flow.IDHole) []flow.IDHole {
	if !a.opt.Filtered {
		return gaps
	}
	return slices.DeleteFunc(gaps, func(g flow.IDHole) bool {
		return g.Device.IsValid() && !slices.ContainsFunc(a.opt.Devices, func(p netip.Prefix) bool { return p.Contains(g.Device) })
	})
}

// fileHoles gives what the file itself says was lost.
func (a *analysis) fileHoles(drops uint64) []Hole {
	c := a.out
	out := a.drops.holes(HoleDrops, func(n uint64) string { return packets(n) + " dropped while capturing, as the file's records say" })
	if drops > a.drops.total {
		n := drops - a.drops.total
		out = append(out, Hole{Kind: HoleDrops, From: c.First, Flow: -1, Packets: n, Reason: packets(n) + " dropped while capturing, as " + c.counter() + " say"})
	}
	out = append(out, a.cuts.holes(HoleCut, func(n uint64) string { return packets(n) + " cut short in the capture" })...)
	out = append(out, a.shorn.holes(HolePayload, func(n uint64) string { return packets(n) + " cut short in the capture, behind their headers" })...)
	out = append(out, a.outages...)
	switch {
	case a.unfinished:
		out = append(out, Hole{Kind: HoleCut, From: c.Last, Flow: -1, Reason: "the recording was not written to its end: its writer was killed, or still writes"})
	case c.Cut:
		out = append(out, Hole{Kind: HoleCut, From: c.Last, Flow: -1, Reason: "the file ends inside a record"})
	}
	if c.Damage != "" {
		out = append(out, Hole{Kind: HoleCut, From: c.Last, Flow: -1, Reason: "the file can't be read to its end: " + c.Damage})
	}
	if len(a.links) > 0 {
		out = append(out, Hole{Kind: HoleCut, From: c.First, Flow: -1, Reason: "frames of link types that are not read: " + a.linkNames()})
	}
	return out
}

// counter names who counted what was dropped all in all.
func (c *Capture) counter() string {
	if c.Format == formatLive {
		return "the tap's counters"
	}
	return "the file's statistics"
}

// linkNames lists the link types that were not read: "3 frames of 105 (IEEE 802.11)".
func (a *analysis) linkNames() string {
	var out []string
	for link, n := range a.links {
		name, _ := packet.LinkName(link)
		out = append(out, fmt.Sprintf("%s of link type %s", frames(n), strings.TrimPrefix(name, "link type ")))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func frames(n uint64) string {
	if n == 1 {
		return "1 frame"
	}
	return Thousands(n) + " frames"
}

// whyUnproven says what was proved and what was not, where nothing is known to be missing.
func (a *analysis) whyUnproven() []string {
	if a.decoded == 0 {
		return []string{"the capture holds no packet of a device"}
	}
	var out []string
	if a.proven.tcp > 0 {
		text := fmt.Sprintf("payload only: the sequence numbers of %s show no byte missing", tcpFlows(a.proven.tcp))
		if a.proven.unseen > 0 {
			text += fmt.Sprintf(", from where the capture begins in %s of them", Thousands(a.proven.unseen))
		}
		out = append(out, text)
	}
	why := "the mirror's packets carry no sequence numbers"
	switch {
	case a.opt.Filtered:
		why = "other devices' packets were left out of the capture"
	case a.gre.packets > 0 && a.gre.packets < a.decoded:
		why = fmt.Sprintf("only %s of %s carry the mirror's GRE sequence numbers", Thousands(a.gre.packets), packets(a.decoded))
	case a.gre.packets > 0:
		why = "the mirror's GRE sequence numbers began anew on the way"
	}
	return append(out, "nothing accounts for pure ACKs, datagrams and whole flows: "+why)
}

func tcpFlows(n uint64) string {
	if n == 1 {
		return "1 TCP flow"
	}
	return Thousands(n) + " TCP flows"
}
