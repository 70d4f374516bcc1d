package trace_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// clocked is frames on interfaces, each with a time in seconds after the epoch of the fixtures.
func clocked(t *testing.T, interfaces int, times ...[2]float64) []byte {
	var b bytes.Buffer
	faces := make([]pcap.Interface, interfaces)
	for i := range faces {
		faces[i].Link = pcap.LinkEthernet
	}
	w, err := pcap.NewWriter(&b, pcap.Section{}, faces...)
	require.NoError(t, err)
	frame := traffic(synth.Plain)[0]
	for _, x := range times {
		at := synth.Epoch.Add(time.Duration(x[1] * float64(time.Second)))
		require.NoError(t, w.Write(pcap.Record{Time: at.UnixNano(), Interface: int(x[0]), Data: frame.Data}))
	}
	require.NoError(t, w.Flush())
	return b.Bytes()
}

// on gives times of one interface.
func on(times ...float64) (out [][2]float64) {
	for _, x := range times {
		out = append(out, [2]float64{0, x})
	}
	return out
}

func TestClocksThatAreSetBack(t *testing.T) {
	const year = 365 * 24 * 3600
	hour := on(0, 1, 2, 3-3600, 4-3600, 5-3600)
	for name, c := range map[string]struct {
		faces int
		times [][2]float64
		by    []time.Duration
	}{
		"none":                           {1, on(0, 1, 2, 3), nil},
		"an hour back":                   {1, hour, []time.Duration{1*time.Second - time.Hour}},
		"an hour back, and an hour on":   {1, append(hour, on(0, 1800-3600, 2700-3600, 3599-3600, 4, 5)...), []time.Duration{1*time.Second - time.Hour}},
		"reordered":                      {1, on(0, 1, 0.5, 2, 1.5, 3), nil},
		"one mangled, long ago":          {1, on(0, 1, -20*year, 2, 3, 4), nil},
		"one mangled, in the future":     {1, on(0, 1, 20*year, 2, 3, 4, 5, 6), nil},
		"held, and written late":         {1, on(0, 100, 101, 30, 31, 32, 33, 34, 102, 103), nil},
		"two interfaces, one far behind": {2, [][2]float64{{0, 0}, {1, -500}, {0, 1}, {1, -499}, {0, 2}, {1, -498}, {0, 3}, {1, -497}}, nil},
		"twice":                          {1, on(0, 100, 50, 51, 52, 80, 99, 101, 102, 60, 61, 62), []time.Duration{-50 * time.Second, -42 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, clocked(t, c.faces, c.times...), trace.Options{})
			var by []time.Duration
			for _, s := range got.Steps {
				by = append(by, s.By)
			}
			require.Equal(t, c.by, by)
			bare := &trace.Trace{Capture: got}
			if len(c.by) > 0 {
				require.Contains(t, bare.ClockDoubt(), "the clock of the capture was set back by")
				require.Contains(t, got.Completeness.Reasons, bare.ClockDoubt())
				require.Contains(t, bare.Completeness(trace.Scope{}).Reasons, bare.ClockDoubt())
			} else {
				require.Empty(t, bare.ClockDoubt())
			}
		})
	}
}

// Packets that lie behind later ones, by more than neighbours do and by less than a clock that was set, are told of.
func TestUnsorted(t *testing.T) {
	for name, c := range map[string]struct {
		times [][2]float64
		by    string
	}{
		"in order":                   {on(0, 1, 1, 2), ""},
		"neighbours":                 {on(0, 1, 0.991, 2), ""},
		"a packet":                   {on(0, 1, 1.2, 1.05, 2), "150ms"},
		"the most of several":        {on(0, 1, 0.95, 2, 1.4, 1.5, 3), "600ms"},
		"two interfaces":             {[][2]float64{{0, 1}, {1, 0.9}, {0, 2}, {1, 1.98}}, "100ms"},
		"a clock that was set back":  {on(0, 100, 50, 51, 52, 53), ""},
		"one mangled, in the future": {on(0, 1, 1e6, 2, 3, 4), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, clocked(t, 2, c.times...), trace.Options{})
			if c.by == "" {
				require.Empty(t, got.Unsorted())
				return
			}
			require.Equal(t, "packets lie up to "+c.by+" behind later ones in the capture: sort it by time (reordercap FILE SORTED, mergecap without -a)", got.Unsorted())
			require.Contains(t, got.Completeness.Reasons, got.Unsorted())
			require.Contains(t, (&trace.Trace{Capture: got}).Completeness(trace.Scope{}).Reasons, got.Unsorted())
		})
	}
	require.Empty(t, (*trace.Capture)(nil).Unsorted())
}

// Whatever a clock does on the way, the same packets are there, in their order, and nothing took less than no time.
func TestFlowsWhoseClockIsSet(t *testing.T) {
	all := traffic(synth.GRE)
	want := read(t, pcapOf(t, all), kept)
	for _, by := range []time.Duration{-time.Hour, -10 * time.Second, 10 * time.Second} {
		for at := 1; at < len(all); at++ {
			frames := append([]synth.Frame{}, all...)
			for i := at; i < len(frames); i++ {
				frames[i].Time = frames[i].Time.Add(by)
			}
			got := read(t, pcapOf(t, frames), kept)
			require.Equal(t, want.Total.Tally, got.Total.Tally, "%v at frame %d", by, at)
			require.Equal(t, len(want.Flows), len(got.Flows), "%v at frame %d", by, at)
			for i, f := range got.Flows {
				require.LessOrEqual(t, f.Start, f.End)
				require.Equal(t, want.Flows[i].Close, f.Close, "%v at frame %d", by, at)
				require.Equal(t, numbers(want.Flows[i]), numbers(f))
			}
			require.LessOrEqual(t, got.First, got.Last)
		}
	}
}

func numbers(f *flow.Flow) (out []uint64) {
	for _, p := range f.Packets {
		out = append(out, p.Number)
	}
	return out
}

// A run knows when it was: packets of another time show a clock that is not the bench's.
func TestPacketsOfAnotherTimeThanTheRun(t *testing.T) {
	all := traffic(synth.GRE)
	c := read(t, pcapOf(t, all), kept)
	begin, end := all[0].Time, all[len(all)-1].Time
	for name, x := range map[string]struct {
		begin, end time.Time
		want       string
	}{
		"in the run":          {begin, end, ""},
		"a bare capture":      {time.Time{}, time.Time{}, ""},
		"a little off":        {begin.Add(time.Second), end.Add(-time.Second), ""},
		"before the run":      {begin.Add(time.Minute), end.Add(time.Hour), "before the run began"},
		"behind the run":      {begin, end.Add(-30 * time.Second), "after the run ended"},
		"a day from the run":  {begin.Add(-24 * time.Hour), begin.Add(-23 * time.Hour), "ahead of the bench's"},
		"a day after the run": {end.Add(24 * time.Hour), end.Add(25 * time.Hour), "behind the bench's"},
	} {
		run := &trace.Trace{Capture: c, Begin: x.begin, End: x.end}
		if x.want == "" {
			require.Empty(t, run.ClockDoubt(), name)
		} else {
			require.Contains(t, run.ClockDoubt(), x.want, name)
		}
	}
	require.Empty(t, (&trace.Trace{}).ClockDoubt())
}

// A hole over a clock that was set back concerns what lies on both sides.
func TestHolesOverAClockThatWasSetBack(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	c := &trace.Capture{Completeness: trace.Completeness{Holes: []trace.Hole{{Kind: trace.HoleSequence, From: at(100).UnixNano(), To: at(40).UnixNano(), Flow: -1}}}}
	run := &trace.Trace{Capture: c}
	require.Equal(t, trace.Broken, run.Completeness(trace.Scope{From: at(50), To: at(60)}).State)
	require.NotEqual(t, trace.Broken, run.Completeness(trace.Scope{From: at(110), To: at(120)}).State)
}
