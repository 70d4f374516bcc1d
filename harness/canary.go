package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Load reads a run directory as it is judged: with its capture, and without the canaries, which are Tollgate's own
// packets and none of what the device did. What is said of completeness still rests on every packet.
func Load(dir string) (*trace.Trace, error) {
	t, err := trace.Load(dir)
	if err != nil {
		return nil, loadError(dir, err)
	}
	if c := t.Capture; c != nil {
		spans := canaries(t.Timeline)
		for _, other := range c.Others {
			other.Flows = withoutCanaries(other.Flows, shifted(spans, trace.Ahead(c.Flows, other.Flows)))
		}
		c.Flows = withoutCanaries(c.Flows, spans)
	}
	return t, nil
}

// Inspect reads a run directory for looking at: every packet of its capture is there, the canaries too, and the canaries are
// told by Canaries.
func Inspect(dir string) (*trace.Trace, error) {
	t, err := trace.Load(dir)
	if err != nil {
		return nil, loadError(dir, err)
	}
	if t.Capture != nil {
		t.Capture.File = filepath.Join(dir, trace.CaptureFile)
		t.Capture.Completeness = t.Completeness(trace.Scope{})
	}
	return t, nil
}

// Canaries counts the packets of each flow of a record that are the run's own canaries, at all its places.
func Canaries(t *trace.Trace) map[*flow.Flow]int {
	out := map[*flow.Flow]int{}
	if t.Capture == nil {
		return out
	}
	count := func(flows []*flow.Flow, spans []span) {
		for _, f := range flows {
			for _, p := range f.Packets {
				if pings(f) && within(spans, p.Time) {
					out[f]++
				}
			}
		}
	}
	spans := canaries(t.Timeline)
	count(t.Capture.Flows, spans)
	for _, other := range t.Capture.Others {
		count(other.Flows, shifted(spans, trace.Ahead(t.Capture.Flows, other.Flows)))
	}
	return out
}

// loadError says what can be done about a run directory that can't be read.
func loadError(dir string, err error) error {
	capture := filepath.Join(dir, trace.CaptureFile)
	_, none := os.Stat(capture)
	_, unrecorded := os.Stat(filepath.Join(dir, trace.TraceFile))
	switch {
	case errors.Is(unrecorded, fs.ErrNotExist) && none != nil:
		return fmt.Errorf("%s is not a run's directory: it has no %s", dir, trace.TraceFile)
	case errors.Is(unrecorded, fs.ErrNotExist):
		return fmt.Errorf("%s has no %s: the run was ended before it could be recorded; its capture can be read by itself (to judge it, name --expect): %s", dir, trace.TraceFile, capture)
	case none == nil:
		return fmt.Errorf("%w: the run's record is damaged; its capture can be read by itself (to judge it, name --expect): %s", err, capture)
	}
	return err
}

// span is a stretch of time, nanoseconds since the Unix epoch.
type span struct{ from, to int64 }

// canaries gives the stretches in which canaries were under way, from their being sent to their being seen or missed.
func canaries(timeline []trace.Event) []span {
	var out []span
	var sent time.Time
	for _, e := range timeline {
		switch {
		case e.Kind == trace.EventCarrier && e.Name == "canary" && e.State == "begin":
			sent = e.Time
		case e.Kind == trace.EventTap && strings.HasPrefix(e.State, "canary") && !sent.IsZero():
			out = append(out, span{sent.UnixNano(), e.Time.UnixNano()})
		}
	}
	return out
}

func within(spans []span, at int64) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return at >= s.from && at <= s.to })
}

// onTheWay is how long a packet may take from one place to another.
const onTheWay = int64(100 * time.Millisecond)

// shifted gives stretches as a clock shows them that is so far ahead, at another place.
func shifted(spans []span, ahead int64) []span {
	out := make([]span, len(spans))
	for i, s := range spans {
		out[i] = span{s.from + ahead - onTheWay, s.to + ahead + onTheWay}
	}
	return out
}

// pings says whether a flow is ICMP, of which a short capture may hold no more than the IP header that says so (IANA's
// protocol numbers 1 and 58).
func pings(f *flow.Flow) bool {
	const icmp, icmpv6 = 1, 58
	return f.Kind == packet.ICMP || f.Kind == packet.ICMPv6 || f.Kind == packet.Other && (f.Proto == icmp || f.Proto == icmpv6)
}

// withoutCanaries leaves out the pings of those stretches. Flows that are nothing else are gone; the others are copied.
func withoutCanaries(flows []*flow.Flow, spans []span) []*flow.Flow {
	if len(spans) == 0 {
		return flows
	}
	own := func(p flow.Packet) bool { return within(spans, p.Time) }
	var out []*flow.Flow
	for _, f := range flows {
		if !pings(f) || !slices.ContainsFunc(f.Packets, own) {
			out = append(out, f)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(f.Packets), own)
		if len(rest) == 0 {
			continue
		}
		c := *f
		c.Packets = rest
		out = append(out, &c)
	}
	return out
}
