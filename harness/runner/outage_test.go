package runner

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// restartingTap is a fake tap that tells of outages.
type restartingTap struct {
	*fakeTap
	outages []bench.Outage
}

func (t *restartingTap) Outages() []bench.Outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]bench.Outage(nil), t.outages...)
}

func (t *restartingTap) add(o bench.Outage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outages = append(t.outages, o)
}

func (t *restartingTap) end(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outages[len(t.outages)-1].To = at
}

func newRestartingRig(t *testing.T) (*rig, *restartingTap) {
	r := newRig(t)
	tap := &restartingTap{fakeTap: r.tap}
	r.bench.Taps = []bench.Tap{tap}
	return r, tap
}

// What a tap says of its outages is in the record, secrets apart, and survives saving.
func TestOutagesAreRecorded(t *testing.T) {
	r, tap := newRestartingRig(t)
	r.opts.Secrets = map[string]string{"key": "hunter22"}
	first := bench.Outage{From: r.clock.Now(), To: r.clock.Now().Add(time.Second), Cause: "ssh hunter22@h: broken pipe"}
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		tap.add(first)
		tap.add(bench.Outage{From: first.To.Add(time.Second), Cause: "again"})
		return "", nil
	}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
	want := []trace.Outage{
		{From: first.From, To: first.To, Cause: "ssh " + mask + "@h: broken pipe"},
		{From: first.To.Add(time.Second), Cause: "again"},
	}
	require.Equal(t, want, tr.Evidence.Taps[0].Outages)
	require.Subset(t, states(tr, trace.EventTap), []string{"mirror outage", "mirror restarted"})
	require.NoError(t, tr.Save(r.dir))
	loaded, err := trace.Load(r.dir)
	require.NoError(t, err)
	require.Equal(t, want, loaded.Evidence.Taps[0].Outages)
	got := loaded.Completeness(trace.Scope{})
	require.Equal(t, trace.Broken, got.State)
	require.Len(t, got.Holes, 2)
	require.Equal(t, trace.HoleTap, got.Holes[0].Kind)

	alone, err := trace.ReadFiles([]string{filepath.Join(r.dir, CaptureFile)}, CaptureFile, trace.Options{})
	require.NoError(t, err)
	require.Equal(t, trace.Broken, alone.Completeness.State, "the capture tells of them without the record")
	require.Len(t, alone.Completeness.Holes, 2)
	require.Contains(t, alone.Completeness.Reasons[0], "tap mirror did not capture for 1s")
	require.Contains(t, alone.Completeness.Reasons[0], "ssh "+mask+"@h: broken pipe")
}

// Nobody was heard to be quiet while no tap listened: quiet begins anew when the tap does, and a wait that never ends
// for that reason is the bench's trouble.
func TestQuietNeedsATapThatListens(t *testing.T) {
	r, tap := newRestartingRig(t)
	var back time.Time
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		back = r.clock.Now().Add(10 * time.Second)
		tap.add(bench.Outage{From: r.clock.Now(), Cause: "link down"})
		tap.end(back)
		return "", nil
	}
	s := awaiting(plan.Wanted{Quiet: 5 * time.Second})
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get"), s}, nil))
	require.Empty(t, tr.Trouble+tr.Failed)
	for _, e := range tr.Timeline {
		if e.Kind == trace.EventStep && e.Name == "await" && e.State == "ok" {
			require.False(t, e.Time.Before(back.Add(5*time.Second)), "quiet for 5 s after the tap was back")
		}
	}

	r, tap = newRestartingRig(t)
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		tap.add(bench.Outage{From: r.clock.Now(), Cause: "link down"})
		return "", nil
	}
	s.Within = 20 * time.Second
	tr = r.run(t.Context(), makePlan(nil, []plan.Step{do("get"), s}, nil))
	require.Empty(t, tr.Failed, "not the device's failure")
	require.Contains(t, tr.Trouble, "tap mirror did not capture for")
	require.Contains(t, tr.Trouble, "link down")
}
