package trace_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// headers is the part of a record for which it is no matter what packets carried.
var headers = trace.Scope{Headers: true}

// snapped is traffic as a snap length leaves it: packets whose headers reach beyond it, and packets that fit, are among it.
func snapped(t *testing.T, mirror synth.Mirror, snap int) (whole, cut *trace.Capture) {
	all := traffic(mirror)
	read := func(frames []synth.Frame) *trace.Capture {
		return readAs(t, recorded(t, twoTaps[:1], by("a", frames, 0), nil), kept)
	}
	return read(all), read(synth.Cut(all, snap))
}

// unread takes off a record what is known by reading packets, and which of them were cut.
func unread(c *trace.Capture) *trace.Capture {
	for _, f := range c.Flows {
		f.Name = ""
		for i := range f.Packets {
			f.Packets[i].Mark &^= flow.Cut
		}
	}
	return c
}

// What a snap length leaves of the headers is counted as if the rest were there, and the mirror's numbers prove as much.
func TestCutBehindTheHeaders(t *testing.T) {
	for _, c := range []struct {
		mirror synth.Mirror
		snap   int
		want   trace.State
	}{{synth.Plain, 72, trace.Unproven}, {synth.GRE, 110, trace.Unproven}, {synth.GRESeq, 110, trace.Whole}, {synth.VXLAN, 122, trace.Unproven}} {
		whole, cut := snapped(t, c.mirror, c.snap)
		sameRecord(t, unread(whole), unread(cut))
		require.Positive(t, cut.Truncated)
		require.Zero(t, cut.HeadersCut)
		run := &trace.Trace{Capture: cut}
		all := run.Completeness(trace.Scope{})
		require.Equal(t, trace.Broken, all.State)
		require.Contains(t, fmt.Sprint(all.Reasons), "cut short in the capture, behind their headers")
		require.Equal(t, cut.Completeness, all)
		require.Equal(t, c.want, run.Completeness(headers).State, "%v", run.Completeness(headers).Reasons)
		require.Equal(t, whole.Completeness.Reasons, run.Completeness(headers).Reasons)
	}
}

// One packet that is cut inside its headers may be anything: it breaks the record for every claim, as a tap does that cut
// packets which the record does not show.
func TestCutInsideTheHeaders(t *testing.T) {
	_, cut := snapped(t, synth.GRE, 80)
	require.Positive(t, cut.HeadersCut)
	require.Equal(t, trace.Broken, (&trace.Trace{Capture: cut}).Completeness(headers).State)
}

func TestATapThatCutsPackets(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*trace.Trace)
		state  trace.State
		says   string
	}{
		"all in the record":           {func(*trace.Trace) {}, trace.Whole, "counted the same"},
		"more than are in the record": {func(t *trace.Trace) { t.Evidence.Taps[0].Truncated++ }, trace.Broken, "tap a cut"},
		"other devices', looked at": {func(t *trace.Trace) {
			t.Evidence.Taps[0].Truncated++
			t.Evidence.Mirror = &trace.MirrorEvidence{Truncated: t.Capture.Truncated + 1}
		}, trace.Whole, "counted the same"},
		"one that can't be read":        {func(t *trace.Trace) { t.Capture.Undecodable = 1 }, trace.Broken, "tap a cut"},
		"one cut inside of its headers": {func(t *trace.Trace) { t.Capture.HeadersCut = 1 }, trace.Broken, "tap a cut"},
	} {
		t.Run(name, func(t *testing.T) {
			_, cut := snapped(t, synth.GRE, 110)
			run := &trace.Trace{Capture: cut, Evidence: trace.Evidence{Carrier: countOf(cut), Taps: []trace.TapEvidence{
				{Name: "a", ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true, Truncated: cut.Truncated}}}}
			c.change(run)
			got := run.Completeness(headers)
			require.Equal(t, c.state, got.State, "%v", got.Reasons)
			require.Contains(t, fmt.Sprint(got.Reasons), c.says)
			require.Equal(t, trace.Broken, run.Completeness(trace.Scope{}).State)
		})
	}
}

// Two taps that both cut a packet short prove no loss; where nothing numbers the packets, what two of them carried is all that
// told them apart.
func TestTapsThatCutTheSame(t *testing.T) {
	all := synth.Cut(traffic(synth.GRE), 110)
	got := readAs(t, recorded(t, twoTaps, append(by("a", all, 0), by("b", all, 0)...), nil), kept)
	require.Positive(t, got.Truncated)
	require.Zero(t, got.HeadersCut)
	for i := range all {
		all[i].Data = bytes.Clone(all[i].Data)
		copy(all[i].Data[38+18:], []byte{0, 0}) // the identification
	}
	got = readAs(t, recorded(t, twoTaps, append(by("a", all, 0), by("b", all, 0)...), nil), kept)
	require.Equal(t, got.Truncated, got.HeadersCut)
}

// A mirror's packets are looked at whosever they are: those that are cut are counted.
func TestMirrorCountsWhatIsCut(t *testing.T) {
	var m trace.Mirror
	for _, p := range []packet.Packet{{Truncated: true}, {Truncated: true, HeadersCut: true}, {}} {
		m.Add(&p, packet.Decoded)
	}
	require.EqualValues(t, 1, m.Evidence(3, nil).Truncated)
}
