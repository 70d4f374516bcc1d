package runner

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// deferredTap keeps what is pushed into a fake tap until it is flushed.
type deferredTap struct {
	*fakeTap
	sink    func(pcap.Record)
	kept    []pcap.Record
	flushes int
	lose    int // of the first so many nothing is kept
}

func (t *deferredTap) FlushTime() time.Duration { return time.Hour }

func (t *deferredTap) Start(ctx context.Context, sink func(pcap.Record)) error {
	t.sink = sink
	return t.fakeTap.Start(ctx, func(rec pcap.Record) {
		if t.lose--; t.lose < 0 {
			t.kept = append(t.kept, rec)
		}
	})
}

func (t *deferredTap) Flush(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flushes++
	for _, rec := range t.kept {
		t.sink(rec)
	}
	t.kept = nil
	return t.flushErr
}

func newDeferredRig(t *testing.T) (*rig, *deferredTap) {
	r := newRig(t)
	tap := &deferredTap{fakeTap: r.tap}
	r.bench.Taps = []bench.Tap{tap}
	return r, tap
}

// A tap that gives its packets at the end is flushed once, and proves what came through all the same.
func TestDeferredTap(t *testing.T) {
	r, tap := newDeferredRig(t)
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		r.tap.push(r.clock.Now(), datagram("hello"))
		return "", nil
	}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
	require.Empty(t, tr.Trouble+tr.Failed)
	require.Equal(t, 1, tap.flushes)
	e := tr.Evidence.Taps[0]
	require.True(t, e.CanaryBefore && e.CanaryAfter && e.Flushed, "%+v", e)
	require.Empty(t, e.Error)
	require.Equal(t, []string{"mirror ready", "mirror canary sent", "mirror canary sent", "mirror canary", "mirror canary", "mirror flushed"}, states(tr, trace.EventTap))
	require.NoError(t, tr.Save(r.dir))
	loaded, err := trace.Load(r.dir)
	require.NoError(t, err)
	require.EqualValues(t, 3, loaded.Capture.Frames, "two canaries and what the device sent")
}

// Each canary is looked for at its own time: one that came through does not stand for the other.
func TestDeferredTapMissesACanary(t *testing.T) {
	r, tap := newDeferredRig(t)
	tap.lose = 1
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{{Kind: plan.Wait, Wait: time.Minute, Text: "wait"}}, nil))
	e := tr.Evidence.Taps[0]
	require.False(t, e.CanaryBefore)
	require.True(t, e.CanaryAfter)
}

// A canary that has a live tap beside is awaited there alone.
func TestDeferredTapBesideALiveOne(t *testing.T) {
	r, tap := newDeferredRig(t)
	live := &fakeTap{}
	r.carrier.tap = live
	r.bench.Taps = []bench.Tap{tap, named{live, "live"}}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get"), awaiting(plan.Wanted{Quiet: time.Second})}, nil))
	require.Empty(t, tr.Trouble+tr.Failed)
	require.False(t, tr.Evidence.Taps[0].CanaryBefore, "nothing passed there")
	require.True(t, tr.Evidence.Taps[1].CanaryBefore)
	require.Equal(t, 1, tap.flushes)
}

// named is a tap under another name.
type named struct {
	*fakeTap
	name string
}

func (n named) Name() string { return n.name }

// A plan that was made without knowing it waits in vain: that is the bench's trouble, never the device's failure.
func TestNothingWaitsForADeferredTap(t *testing.T) {
	for _, w := range []plan.Wanted{{Quiet: time.Second}, {MQTT: "publish"}, {Packet: &scenario.PacketWant{Proto: "udp"}}} {
		r, _ := newDeferredRig(t)
		tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get"), awaiting(w)}, nil))
		require.Empty(t, tr.Failed)
		require.Contains(t, tr.Trouble, "tap mirror gives its packets when the run ends, and nothing can wait for them before")
	}
}

func TestDeferredTapThatFails(t *testing.T) {
	r, tap := newDeferredRig(t)
	tap.flushErr = errBench
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
	require.Equal(t, "flush: the port is gone", tr.Evidence.Taps[0].Error)
	require.False(t, tr.Evidence.Taps[0].Flushed)
}
