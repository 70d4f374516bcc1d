package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

// goodTap is a tap that proves all it can.
func goodTap() TapEvidence {
	return TapEvidence{Name: "mirror", ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true, Received: 10}
}

// unproven is a capture by itself: ten packets up, seven down, no hole.
func unproven(holes ...Hole) *Capture {
	c := &Capture{Uncounted: []string{"payload only"}, Completeness: Completeness{Reasons: []string{"payload only"}, Holes: holes}}
	if len(holes) > 0 {
		c.Completeness.State = Broken
	}
	c.Total.Tally = flow.Both[flow.Tally]{{Packets: 10, AirPackets: 10, AirBytes: 774}, {Packets: 7, AirPackets: 8, AirBytes: 1220}}
	return c
}

func TestCompletenessOfARun(t *testing.T) {
	change := func(f func(*TapEvidence)) []TapEvidence {
		e := goodTap()
		f(&e)
		return []TapEvidence{e}
	}
	whole := &Capture{Counted: "GRE", Completeness: Completeness{State: Whole, Reasons: []string{"GRE"}}}
	for name, c := range map[string]struct {
		trace Trace
		state State
		says  string
	}{
		"no capture":                       {Trace{}, Broken, "no capture"},
		"bare capture":                     {Trace{Capture: unproven()}, Unproven, "payload only"},
		"bare, numbered":                   {Trace{Capture: whole}, Whole, "GRE"},
		"numbered, no canary":              {Trace{Capture: whole, Begin: time.Unix(1, 0), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.CanaryAfter = false })}}, Unproven, "no canary says that there was none before or after"},
		"numbered run":                     {Trace{Capture: whole, Begin: time.Unix(1, 0), Evidence: Evidence{Taps: []TapEvidence{goodTap()}}}, Whole, "GRE"},
		"good tap, and nobody counts":      {Trace{Capture: unproven(), Evidence: Evidence{Taps: []TapEvidence{goodTap()}}}, Unproven, "canary seen at both ends, 0 dropped: not blind, but nobody counted the packets; ask for"},
		"good tap, and the carrier agrees": {Trace{Capture: unproven(), Evidence: Evidence{Taps: []TapEvidence{goodTap()}, Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 8}}}}, Whole, "0 dropped\nthe carrier counted the same"},
		"one of two taps blind":            {Trace{Capture: unproven(), Evidence: Evidence{Taps: append(change(func(e *TapEvidence) { e.CanaryAfter, e.CanaryBefore = false, false }), goodTap())}}, Unproven, "payload only"},
		"no canary after":                  {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.CanaryAfter = false })}}, Unproven, "after the last step"},
		"no canary before":                 {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.CanaryBefore = false })}}, Unproven, "before the first step"},
		"losses not counted":               {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.Doubt = "nobody counts" })}}, Unproven, "what tap mirror lost is not all counted: nobody counts"},
		"drops":                            {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.Dropped = 3 })}}, Broken, "dropped 3 packets"},
		"cut short":                        {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.Truncated = 1 })}}, Broken, "cut 1 packet short"},
		"late":                             {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.ReadyBefore = false })}}, Broken, "not capturing before"},
		"not flushed":                      {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.Flushed = false })}}, Broken, "not flushed"},
		"failed":                           {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.Error = "pipe closed" })}}, Broken, "pipe closed"},
		"an outage": {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) {
			e.Outages = []Outage{{From: time.Unix(20, 0), To: time.Unix(24, 5e8), Cause: "ssh ended"}}
		})}}, Broken, "tap mirror did not capture for 4.5s, from 00:00:20.000 on: ssh ended"},
		"an outage that lasts":    {Trace{Capture: unproven(), Evidence: Evidence{Taps: change(func(e *TapEvidence) { e.Outages = []Outage{{From: time.Unix(20, 0), Cause: "ssh ended"}} })}}, Broken, "did not capture from 00:00:20.000 on, to the end of the run: ssh ended"},
		"a hole beats a good tap": {Trace{Capture: unproven(Hole{Flow: -1, Reason: "4 bytes"}), Evidence: Evidence{Taps: []TapEvidence{goodTap()}}}, Broken, "4 bytes"},
		"carrier agrees":          {Trace{Capture: unproven(), Evidence: Evidence{Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 8}}}}, Whole, "counted the same"},
		"carrier agrees on bytes": {Trace{Capture: unproven(), Account: Soracom, Evidence: Evidence{Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 8}, Bytes: flow.Both[uint64]{1134, 1220}}}}, Whole, "counted the same"},
		"carrier's bytes differ":  {Trace{Capture: unproven(), Account: Wire, Evidence: Evidence{Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 8}, Bytes: flow.Both[uint64]{1134, 1220}}}}, Unproven, "as many packets, and other bytes"},
		"carrier counts more":     {Trace{Capture: unproven(), Evidence: Evidence{Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 9}}}}, Broken, "9 packets down, the tap saw 8"},
		"carrier counts wide":     {Trace{Capture: unproven(), Evidence: Evidence{Taps: []TapEvidence{goodTap()}, Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 9}, Wide: true}}}, Unproven, "the tap saw 8, and the carrier's periods reach back before the run"},
		"wide, and the same":      {Trace{Capture: unproven(), Evidence: Evidence{Carrier: &CarrierCount{Packets: flow.Both[uint64]{10, 8}, Wide: true}}}, Whole, "counted the same"},
		"carrier counts less":     {Trace{Capture: unproven(), Evidence: Evidence{Taps: []TapEvidence{goodTap()}, Carrier: &CarrierCount{Packets: flow.Both[uint64]{9, 8}}}}, Unproven, "not blind, but the carrier counted 9 packets up and 8 down, fewer than the 10 and 8"},
		"carrier counts nothing":  {Trace{Capture: &Capture{}, Evidence: Evidence{Taps: []TapEvidence{goodTap()}, Carrier: &CarrierCount{}}}, Unproven, "the carrier counted no packet, and the tap saw none"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.trace.Completeness(Scope{})
			require.Equal(t, c.state, got.State, "%v", got.Reasons)
			require.Contains(t, strings.Join(got.Reasons, "\n"), c.says)
		})
	}
}

func TestCompletenessOfAScope(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	device, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	hole := Hole{Kind: HoleAcked, From: at(20).UnixNano(), To: at(25).UnixNano(), Device: device, Flow: 3, Dir: flow.Down, Bytes: 4096, Reason: "4,096 bytes"}
	end := Hole{Kind: HoleCut, From: at(90).UnixNano(), Flow: -1, Reason: "the file ends inside a record"}
	run := &Trace{Capture: unproven(hole, end), Evidence: Evidence{Taps: []TapEvidence{goodTap()}}}
	for name, c := range map[string]struct {
		scope Scope
		holes int
		bytes uint64
	}{
		"the whole run":        {Scope{}, 2, 4096},
		"before both":          {Scope{From: at(1), To: at(20)}, 0, 0},
		"the first":            {Scope{From: at(10), To: at(21)}, 1, 4096},
		"inside the first":     {Scope{From: at(21), To: at(22)}, 1, 4096},
		"just after the first": {Scope{From: at(26), To: at(50)}, 0, 0},
		"to the end":           {Scope{From: at(26)}, 1, 0},
		"its flow":             {Scope{Flows: []int{1, 3}}, 2, 4096},
		"another flow":         {Scope{Flows: []int{1}}, 1, 0},
		"another flow, early":  {Scope{Flows: []int{1}, To: at(50)}, 0, 0},
		"its device":           {Scope{Device: device, To: at(50)}, 1, 4096},
		"another device":       {Scope{Device: other, To: at(50)}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := run.Completeness(c.scope)
			require.Len(t, got.Holes, c.holes)
			require.Equal(t, c.bytes, got.Missing[flow.Down])
			if c.holes > 0 {
				require.Equal(t, Broken, got.State)
				return
			}
			require.Equal(t, Unproven, got.State, "a mirror that loses packets elsewhere proves nothing here")
			require.Contains(t, got.Reasons[0], "holes elsewhere")
		})
	}
}

// An outage breaks what it overlaps, and takes the proof from the rest.
func TestCompletenessBesideAnOutage(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	over, lasting := Outage{From: at(20), To: at(25), Cause: "c"}, Outage{From: at(60), Cause: "c"}
	tap := goodTap()
	tap.Outages = []Outage{over, lasting}
	run := &Trace{Capture: unproven(), Evidence: Evidence{Taps: []TapEvidence{tap}}}
	for name, c := range map[string]struct {
		from, to int64
		state    State
	}{
		"before": {1, 20, Unproven}, "into the first": {1, 21, Broken}, "within": {21, 22, Broken}, "between": {26, 60, Unproven},
		"into the last": {26, 61, Broken}, "long after": {1000, 2000, Broken},
	} {
		got := run.Completeness(Scope{From: at(c.from), To: at(c.to)})
		require.Equal(t, c.state, got.State, name)
	}
}

func TestReasonsAreBounded(t *testing.T) {
	var l holeList
	for i := range 3 * maxHoles {
		l.add(Hole{Kind: HoleSequence, From: int64(i), To: int64(i + 1), Bytes: 10, Reason: "10 bytes"})
	}
	all := l.all()
	require.Len(t, all, maxHoles+1)
	require.EqualValues(t, 30*maxHoles, l.missing[flow.Up])
	var sum uint64
	for _, h := range all {
		sum += h.Bytes
	}
	require.EqualValues(t, 30*maxHoles, sum)
	reasons := holeReasons(all)
	require.Len(t, reasons, maxReasons+1)
	require.Equal(t, "and 993 more of the like", reasons[maxReasons])
}

func TestSpansJoinWhatIsClose(t *testing.T) {
	var s spans
	for _, at := range []int64{0, 1e8, 2e8, 5e9, 5e9 + 1e9} {
		s.add(at, at, 1)
	}
	require.Equal(t, []span{{0, 2e8, 3}, {5e9, 6e9, 2}}, s.list)
	require.EqualValues(t, 5, s.total)
}

func TestThousands(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 100000: "100,000"} {
		require.Equal(t, want, Thousands(n))
	}
}
