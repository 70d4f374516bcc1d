package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// deviceFault is what the device did wrong in a step: a finding, where every other error is the bench's trouble.
type deviceFault struct {
	step   *plan.Step
	reason string
	unseen bool // the fault is that a packet was not seen
}

func (f *deviceFault) Error() string {
	return fmt.Sprintf("%s: %s (%s:%d)", f.step.Text, f.reason, f.step.Pos.File, f.step.Pos.Line)
}

// steps carries out steps in order until one fails.
func (r *run) steps(ctx context.Context, steps []plan.Step) error {
	for i := range steps {
		if err := r.step(ctx, &steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// step carries out one step as often as it says, in its window, where its condition holds.
func (r *run) step(ctx context.Context, s *plan.Step) error {
	holds, err := plan.Holds(s.When, r.vars)
	if err != nil {
		return err
	}
	if !holds {
		r.stepEvent(s, "skipped", s.When)
		return nil
	}
	if s.Cycles || s.Repeat > 1 {
		return r.repeat(ctx, s)
	}
	return r.windowed(ctx, s, r.repeating())
}

// repeat carries a step out again and again; plan.Cycle counts from 1.
func (r *run) repeat(ctx context.Context, s *plan.Step) error {
	outer, nested := r.vars[plan.Cycle]
	defer func() {
		if nested {
			r.vars[plan.Cycle] = outer
		} else {
			delete(r.vars, plan.Cycle)
		}
	}()
	begin := r.bench.Clock.Now()
	for cycle := 1; cycle <= s.Repeat; cycle++ {
		r.vars[plan.Cycle] = itoa(cycle)
		if err := r.windowed(ctx, s, true); err != nil {
			return err
		}
		if s.Every == 0 || cycle == s.Repeat {
			continue
		}
		// From one begin to the next; a cycle that took longer is followed at once.
		next := begin.Add(time.Duration(cycle) * s.Every)
		if err := r.bench.Clock.Sleep(ctx, next.Sub(r.bench.Clock.Now())); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) repeating() bool {
	_, ok := r.vars[plan.Cycle]
	return ok
}

func (r *run) windowed(ctx context.Context, s *plan.Step, repeats bool) error {
	if s.Window == "" {
		return r.attempts(ctx, s)
	}
	r.windows.begin(s.Window, repeats)
	defer r.windows.end()
	return r.attempts(ctx, s)
}

// attempts carries a step out until it succeeds, as often as its retry allows. Only the device's failures are tried
// again: the bench's drivers retry what can be retried themselves.
func (r *run) attempts(ctx context.Context, s *plan.Step) error {
	for attempt := 0; ; attempt++ {
		err := r.once(ctx, s)
		var fault *deviceFault
		if err == nil || attempt >= s.Retry || !errors.As(err, &fault) || ctx.Err() != nil {
			return err
		}
		r.stepEvent(s, "retry", fmt.Sprintf("attempt %d of %d failed: %s", attempt+1, s.Retry+1, fault.reason))
	}
}

// once carries a step out, once, and tells how it went.
func (r *run) once(ctx context.Context, s *plan.Step) error {
	if s.Kind == plan.Group {
		return r.steps(ctx, s.Steps)
	}
	begin := r.stepEvent(s, "begin", "")
	err := r.do(ctx, s, begin.Time)
	var fault *deviceFault
	var device *bench.DeviceError
	switch {
	case err == nil:
		r.stepEvent(s, "ok", "")
		return nil
	case ctx.Err() != nil:
		r.stepEvent(s, "interrupted", "")
		return context.Cause(ctx)
	case errors.As(err, &device):
		err = &deviceFault{step: s, reason: device.Error()}
	case !errors.As(err, &fault):
		err = fmt.Errorf("%s (%s:%d): %w", s.Text, s.Pos.File, s.Pos.Line, err)
	}
	r.stepEvent(s, "failed", err.Error())
	return err
}

func (r *run) stepEvent(s *plan.Step, state, text string) trace.Event {
	return r.record.note(trace.Event{Kind: trace.EventStep, Name: s.Text, State: state, Step: s.Path, Line: s.Pos.Line, Text: text})
}

func (r *run) do(ctx context.Context, s *plan.Step, begin time.Time) error {
	switch s.Kind {
	case plan.Wait:
		return r.bench.Clock.Sleep(ctx, s.Wait)
	case plan.Await:
		at, err := r.await(ctx, s, begin)
		if err == nil {
			r.lookBackTo(at)
		}
		return err
	case plan.CarrierVerb:
		r.lookBackTo(begin)
		return r.carrierVerb(ctx, s)
	}
	r.lookBackTo(begin)
	return r.deviceVerb(ctx, s, begin)
}

// lookBackTo sets how far the next await may look back.
func (r *run) lookBackTo(at time.Time) {
	r.since = at
	r.wire.forgetBefore(at)
	r.console.forgetBefore(at)
}

// carrierVerb makes a call to the carrier, bounded by the step's deadline. Whatever goes wrong is the bench's trouble.
func (r *run) carrierVerb(ctx context.Context, s *plan.Step) error {
	args, err := r.args(s)
	if err != nil {
		return err
	}
	if r.bench.Carrier == nil {
		return errors.New("the bench has no carrier")
	}
	limit, cancel := r.bench.Clock.WithTimeout(ctx, s.Within)
	defer cancel()
	r.record.note(r.callEvent(s, "begin", ""))
	answer, err := r.bench.Carrier.Do(limit, s.Verb, args)
	if err != nil {
		r.record.note(r.callEvent(s, "failed", err.Error()))
		return err
	}
	r.record.note(r.callEvent(s, "ok", answer))
	r.keep(s, answer, nil)
	return nil
}

func (r *run) callEvent(s *plan.Step, state, text string) trace.Event {
	return trace.Event{Kind: trace.EventCarrier, Name: s.Verb, State: state, Step: s.Path, Line: s.Pos.Line, Text: text}
}

// deviceVerb operates the device and holds its console against what the step expects, within one deadline for both.
func (r *run) deviceVerb(ctx context.Context, s *plan.Step, begin time.Time) error {
	args, err := r.args(s)
	if err != nil {
		return err
	}
	expect, err := r.patterns(s.Expect)
	if err != nil {
		return err
	}
	never, err := r.patterns(s.Never)
	if err != nil {
		return err
	}
	limit, cancel := r.bench.Clock.WithTimeout(ctx, s.Within)
	defer cancel()
	w := newWatch(begin, r.bench.Clock.Now().Add(s.Within), expect, never)
	r.console.begin(w)
	defer r.console.end()
	answer, err := r.operate(limit, s.Verb, args, w)
	r.console.settle()
	if fault := w.faultOf(&r.console.mu); fault != "" {
		return &deviceFault{step: s, reason: fault}
	}
	if err != nil {
		return err
	}
	if err := r.seen(limit, s, w); err != nil {
		return err
	}
	r.keep(s, answer, w.groups)
	return nil
}

// operate calls the device's driver, and takes the call back as soon as a forbidden line is seen.
func (r *run) operate(ctx context.Context, verb string, args map[string]string, w *watch) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-w.bad:
			cancel()
		case <-ctx.Done():
		}
	}()
	answer, err := r.bench.Device.Do(ctx, verb, args)
	cancel()
	<-watching
	return answer, err
}

// seen waits for the console lines that the step still expects after the device's answer.
func (r *run) seen(ctx context.Context, s *plan.Step, w *watch) error {
	select {
	case <-w.done:
		return nil
	case <-w.bad:
		return &deviceFault{step: s, reason: w.faultOf(&r.console.mu)}
	case <-ctx.Done():
	}
	r.console.settle()
	r.console.mu.Lock()
	defer r.console.mu.Unlock()
	select {
	case <-w.done: // at the last moment
		return nil
	default:
	}
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return &deviceFault{step: s, reason: w.missing(s.Within)}
}

// args puts in what only the run knows.
func (r *run) args(s *plan.Step) (map[string]string, error) {
	out := maps.Clone(s.Args)
	for name, text := range s.Args {
		v, err := plan.Expand(text, r.vars)
		if err != nil {
			return nil, fmt.Errorf("argument %s: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}
