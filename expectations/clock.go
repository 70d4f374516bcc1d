package expectations

import (
	"slices"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// clocked is a checker whose value hangs on the times of packets.
type clocked interface{ timed() bool }

func (d duration) timed() bool { return d.packets != nil || d.flow != nil }

func (gap) timed() bool { return true }

func (timeFrom) timed() bool { return true }

func (quiet) timed() bool { return true }

func (r reconnect) timed() bool { return !r.toSession }

// phased is a checker that may ask for phases that hang on the order of packets.
type phased interface{ phased() bool }

func (c phases) phased() bool {
	return slices.ContainsFunc(c.present, ordered) || slices.ContainsFunc(c.absent, ordered)
}

func (c timeFrom) phased() bool { return c.from.phased() || c.to.phased() }

func (q quiet) phased() bool {
	return q.from.phased() || q.to.phased() || slices.ContainsFunc(q.except, ordered)
}

func (m *moment) phased() bool { return m != nil && m.phase != nil && ordered(*m.phase) }

// ordered says whether a phase hangs on the order of packets; dns, reset, icmp and arp show in the packet itself.
func ordered(p flow.Phase) bool { return !shows(p) }

// byPhase says whether the claim is about packets of phases that hang on their order.
func (c *claim) byPhase() bool {
	p, may := c.checker.(phased)
	return c.scope.phase != nil && ordered(*c.scope.phase) || may && p.phased()
}

// untimely says why a claim can't be judged because a clock was set, or disagrees with the run's, "" where it can. A capture
// says of most claims the same whatever its clock said; how long something took it does not. Of a run's packets, the windows
// that they belong to are told by their times, and which of them were Tollgate's own canaries: nothing can be counted.
func (c *claim) untimely(t *trace.Trace) string {
	doubt := t.ClockDoubt()
	if doubt == "" {
		return ""
	}
	k, hangs := c.checker.(clocked)
	_, fromTimeline := c.checker.(timeline)
	switch {
	case hangs && k.timed():
		return doubt
	case fromTimeline, hangs: // the run's own clock and the carrier's
		return ""
	case !t.Begin.IsZero() || c.scope.window.name != "" && !c.scope.standsFor(t):
		return doubt
	}
	return ""
}
