// Package runner carries a plan out on a bench and returns the run's record. It drives the device, calls the carrier,
// lets the taps capture, and notes everything on a timeline; it never judges what was captured.
//
// One run owns everything that it starts: when Run returns, no goroutine of the run is left, the device, the carrier
// and the taps are closed, and capture.pcapng and console.log in the run directory are complete.
//
// # What ends a run early
//
// Three things do, and the record keeps them apart: the device failed a step (Trace.Failed: a finding), the bench broke
// (Trace.Trouble: nothing can be concluded), or the context ended (Trace.Interrupted). The cleanup is carried out after
// each of them, with a deadline of its own.
//
// # What an await can see
//
// An await looks back to the begin of the verb before it (or to the moment at which the await before it came true), so
// that an answer that comes faster than the runner is never missed, and nothing older is ever taken for an answer.
package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// The files that a run writes while it goes on.
const (
	CaptureFile = "capture.pcapng"
	ConsoleFile = "console.log"
)

// Options are what a run needs beside its plan and its bench.
type Options struct {
	Dir     string            // an existing directory for capture.pcapng and console.log
	Secrets map[string]string // variables whose values are written nowhere
	Notify  func(trace.Event) // told of every event of the timeline as it happens, from several goroutines, one at a time
	// Settle is how long, on this machine's clock, the runner waits at least for a canary to come through; 0 means 2 s.
	Settle time.Duration
	// KeepMirror records every frame that the taps give. Without it other devices' frames are looked at and left out.
	KeepMirror bool
	// Create makes the recording's files; nil for this machine's.
	Create func(name string) (recording.File, error)
}

// run is one run under way.
type run struct {
	plan    *plan.Plan
	bench   *bench.Bench
	opts    Options
	record  *record
	wire    *wire
	console *console
	carrier *carrier
	vars    map[string]string
	windows *windows
	since   time.Time // how far an await looks back
}

// Run carries out the plan on the bench. The trace names its capture but holds none of its packets: trace.Save and
// trace.Load give it with them. The error is one of the record's own (a file that can't be created): whatever
// happens afterwards, on the bench and with the files, is in the trace. Run closes the bench's device, carrier and taps, not the bench itself.
func Run(ctx context.Context, p *plan.Plan, b *bench.Bench, o Options) (*trace.Trace, error) {
	if o.Settle == 0 {
		o.Settle = 2 * time.Second
	}
	r, err := newRun(p, b, o)
	if err != nil {
		return nil, errors.Join(err, b.CloseParts())
	}
	began := time.Now()
	r.record.trace.Begin = b.Clock.Now()
	r.record.note(trace.Event{Kind: trace.EventRun, Name: p.Scenario.Name, State: "begin"})
	r.proceed(ctx)
	r.finish(ctx)
	t := r.record.trace
	t.End, t.Wall = b.Clock.Now(), time.Since(began)
	r.record.note(trace.Event{Kind: trace.EventRun, Name: p.Scenario.Name, State: "end"})
	r.close()
	return t, nil
}

func newRun(p *plan.Plan, b *bench.Bench, o Options) (*run, error) {
	rec := newRecord(p, b, o)
	console, err := newConsole(o.Dir, rec)
	if err != nil {
		return nil, err
	}
	w, err := newWire(b, rec, o, awaitsPackets(p))
	if err != nil {
		console.close()
		return nil, err
	}
	vars := make(map[string]string, len(p.Vars)+len(o.Secrets))
	for _, m := range []map[string]string{p.Vars, o.Secrets} {
		for k, v := range m {
			vars[k] = v
		}
	}
	r := &run{plan: p, bench: b, opts: o, record: rec, console: console, wire: w, vars: vars, windows: newWindows(rec)}
	r.carrier = newCarrier(b.Carrier, rec, w)
	return r, nil
}

// proceed does everything that can go wrong on a bench, in order; what went wrong is noted, and the rest is left out.
func (r *run) proceed(ctx context.Context) {
	if err := r.wire.start(ctx); err != nil {
		r.ended(ctx, err)
		return
	}
	r.carrier.begin(ctx)
	if err := r.openDevice(ctx); err != nil {
		r.ended(ctx, err)
		return
	}
	defer r.cleanup(ctx)
	if err := r.carryOut(ctx); err != nil {
		r.ended(ctx, err)
	}
}

// carryOut does setup and steps with a canary before and after. The first canary is sent as soon as the device has a
// session, at the latest after the setup, which is where most devices get one.
func (r *run) carryOut(ctx context.Context) error {
	early := r.canary(ctx, beforeSteps)
	if err := r.steps(ctx, r.plan.Setup); err != nil {
		return err
	}
	if !early {
		r.canary(ctx, beforeSteps)
	}
	err := r.steps(ctx, r.plan.Steps)
	r.windows.closeAll()
	r.wire.flush(context.WithoutCancel(ctx))
	if err == nil || ctx.Err() == nil {
		r.canary(ctx, afterSteps)
	}
	return err
}

func (r *run) openDevice(ctx context.Context) error {
	if r.bench.Device == nil {
		return nil
	}
	if err := r.bench.Device.Open(ctx, r.console.lines); err != nil {
		return fmt.Errorf("open device %s: %w", r.bench.DevName, err)
	}
	return nil
}

// ended notes why the run can't go on: the user's interruption, the device's failure, or the bench's trouble.
func (r *run) ended(ctx context.Context, err error) {
	var fault *deviceFault
	t := r.record.trace
	switch {
	case ctx.Err() != nil:
		t.Interrupted = true
		r.record.note(trace.Event{Kind: trace.EventRun, Name: t.Scenario, State: "interrupted"})
	case errors.As(err, &fault):
		if t.Failed == "" {
			t.Failed, t.Unseen = r.record.mask(fault.Error()), fault.unseen
		}
	case t.Trouble == "":
		t.Trouble = r.record.mask(err.Error())
		r.record.note(trace.Event{Kind: trace.EventRun, Name: t.Scenario, State: "trouble", Text: err.Error()})
	}
}

// cleanup carries out every cleanup step, whatever became of the others, within a time of its own.
func (r *run) cleanup(ctx context.Context) {
	own, cancel := r.bench.Clock.WithTimeout(context.WithoutCancel(ctx), cleanupTime(r.plan.Cleanup))
	defer cancel()
	for i := range r.plan.Cleanup {
		if err := r.step(own, &r.plan.Cleanup[i]); err != nil && r.record.trace.Failed == "" && !r.record.trace.Interrupted && r.record.trace.Trouble == "" {
			// After a failure of the device it is no news that it can't be tidied up, and after the bench's trouble or the
			// user's interruption in the middle of a command it is not the device's fault: the timeline has it.
			r.ended(context.WithoutCancel(ctx), fmt.Errorf("cleanup: %w", err))
		}
	}
	r.windows.closeAll()
}

// cleanupTime is what the steps are allowed, and half a minute.
func cleanupTime(steps []plan.Step) time.Duration {
	total := 30 * time.Second
	var sum func([]plan.Step) time.Duration
	sum = func(steps []plan.Step) (d time.Duration) {
		for i := range steps {
			s := &steps[i]
			d += time.Duration(max(1, s.Repeat)) * (time.Duration(1+s.Retry)*s.Within + s.Wait + s.Every + sum(s.Steps))
		}
		return d
	}
	return total + sum(steps)
}

// finish collects the evidence of completeness after the last packet has come through.
func (r *run) finish(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	r.wire.finish(ctx)
	r.carrier.finish(ctx, r.record.trace)
	t := r.record.trace
	t.DeviceAddrs = r.wire.addresses()
	for _, a := range t.DeviceAddrs {
		t.Analysis.Devices = append(t.Analysis.Devices, netip.PrefixFrom(a, a.BitLen()))
	}
	t.Analysis.VXLANPorts = vxlanPorts(r.bench.Taps)
	t.Capture = &trace.Capture{File: CaptureFile}
}

// close takes everything down in the order in which it depends on each other, and completes the files.
func (r *run) close() {
	if r.bench.Device != nil {
		r.bench.Device.Close() // its last words are in the console already
	}
	r.wire.close() // it makes room on a disk that is full
	r.console.close()
	if r.bench.Carrier != nil {
		r.bench.Carrier.Close()
	}
}
