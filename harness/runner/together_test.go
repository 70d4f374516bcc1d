package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// namedTap is a fake tap with a name of its own.
type namedTap struct {
	*fakeTap
	name string
}

func (t *namedTap) Name() string { return t.name }

// newTwinRig has two taps at one mirror, of which the second shows the canary only where it sees.
func newTwinRig(t *testing.T, sees bool) (*rig, *fakeTap) {
	r := newRig(t)
	second := &fakeTap{}
	r.bench.Taps = []bench.Tap{&namedTap{r.tap, "first"}, &namedTap{second, "second"}}
	r.carrier.tap = r.tap
	if sees {
		r.carrier.also = second
	}
	return r, second
}

// Two taps at one mirror make one record: what both saw counts once, and each must have seen the canary itself.
func TestTwoTapsAreMerged(t *testing.T) {
	for name, sees := range map[string]bool{"both see the canary": true, "one is blind": false} {
		t.Run(name, func(t *testing.T) {
			r, second := newTwinRig(t, sees)
			r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
				for i := range 3 {
					at, frame := r.clock.Now(), datagram(fmt.Sprintf("click %d", i))
					r.tap.push(at, frame)
					if sees {
						second.push(at, frame)
					}
				}
				return "", nil
			}
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("click")}, nil))
			require.Equal(t, []bool{true, sees}, []bool{tr.Evidence.Taps[0].CanaryBefore, tr.Evidence.Taps[1].CanaryBefore})
			require.Equal(t, []bool{true, sees}, []bool{tr.Evidence.Taps[0].CanaryAfter, tr.Evidence.Taps[1].CanaryAfter})

			require.NoError(t, tr.Save(r.dir))
			loaded, err := trace.Load(r.dir)
			require.NoError(t, err)
			require.EqualValues(t, 3, loaded.Capture.Total.Tally[0].Packets)
			complete := loaded.Completeness(trace.Scope{})
			require.Equal(t, trace.Unproven, complete.State, "nobody counted")
			require.Contains(t, complete.Reasons[0], "not blind, but nobody counted the packets")
			require.Len(t, loaded.Capture.Taps, 2)

			f, err := os.Open(filepath.Join(r.dir, CaptureFile))
			require.NoError(t, err)
			defer f.Close()
			bare, err := trace.Read(f, CaptureFile, loaded.Analysis)
			require.NoError(t, err)
			require.Equal(t, loaded.Capture.Total, bare.Total, "the file alone tells the taps apart")
			require.Equal(t, loaded.Capture.Taps, bare.Taps)
		})
	}
}

// An awaited packet that came with a time of long ago is the bench's trouble: the clock of the tap's host, not the device.
func TestAPacketWithAnOldTimeIsNotTheDevicesFault(t *testing.T) {
	for name, c := range map[string]struct {
		back    time.Duration
		trouble string
		failed  string
	}{
		"an hour back": {time.Hour, "the clock of the tap's host was set", ""},
		"no packet":    {0, "", "no such packet was seen"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
				if c.back > 0 {
					r.tap.push(r.clock.Now().Add(-c.back), datagram("click"))
				}
				return "", nil
			}
			seen := awaiting(plan.Wanted{Packet: &scenario.PacketWant{Proto: "udp"}})
			seen.Within = 20 * time.Second
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("click"), seen}, nil))
			require.Contains(t, tr.Trouble, c.trouble)
			require.Contains(t, tr.Failed, c.failed)
			require.Equal(t, c.back > 0, tr.Trouble != "")
		})
	}
}

// A tap whose clock is ahead hides nothing from awaits, whatever it is set to on the way.
func TestAwaitsOnATapAhead(t *testing.T) {
	r := newRig(t)
	r.carrier.blind = true
	r.device.script = func(_ *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		r.tap.push(r.clock.Now().Add(24*time.Hour), datagram(verb))
		return "", nil
	}
	seen := awaiting(plan.Wanted{Packet: &scenario.PacketWant{Proto: "udp"}})
	quiet := awaiting(plan.Wanted{Quiet: 30 * time.Second})
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("one"), seen, do("two"), seen, quiet}, nil))
	require.Empty(t, tr.Failed)
	require.Empty(t, tr.Trouble)
	require.Less(t, tr.End.Sub(tr.Begin), time.Hour, "a day ahead is no day of silence to wait for")
}

func TestTapClock(t *testing.T) {
	const s = int64(time.Second)
	base := 1_000_000 * s
	for name, c := range map[string]struct{ stamps, came, want []int64 }{
		"right":           {[]int64{0, 1, 2}, []int64{1, 2, 3}, []int64{0, 1, 2}},
		"ahead":           {[]int64{50, 51, 52}, []int64{1, 2, 3}, []int64{1, 2, 3}},
		"one mangled":     {[]int64{0, 9_000_000, 2, 3, 4, 5}, []int64{1, 2, 3, 4, 5, 6}, []int64{0, 2, 2, 3, 5, 6}},
		"set back":        {[]int64{3600, 3601, 1, 2, 3, 4}, []int64{3600, 3601, 3602, 3603, 3604, 3605}, []int64{3600, 3601, 1, 2, 3604, 3605}},
		"set forward":     {[]int64{0, 1, 5000, 5001}, []int64{0, 1, 2, 3}, []int64{0, 1, 2, 3}},
		"a late fragment": {[]int64{100, 20, 101}, []int64{100, 101, 102}, []int64{100, 20, 101}},
	} {
		t.Run(name, func(t *testing.T) {
			var clock tapClock
			for i := range c.stamps {
				require.Equal(t, c.want[i], (clock.at(base+c.stamps[i]*s, base+c.came[i]*s)-base)/s, "packet %d", i)
			}
		})
	}
}
