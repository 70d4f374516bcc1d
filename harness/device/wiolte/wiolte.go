package wiolte

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/line"
	"github.com/tollgate-iot/tollgate/harness/plan"
)

const (
	// backEvery and backWithin are for a board whose port vanished: how often it is looked for, and how long.
	backEvery  = time.Second
	backWithin = 20 * time.Second
)

// Options says where the board is.
type Options struct {
	// Port gives the path of the board's serial port, each time that it is opened: it may have another name by then.
	// An error or "" means that the board is not there at the moment.
	Port  func() (string, error)
	Clock bench.Clock
}

// Device is a Wio LTE; it implements bench.Device.
type Device struct {
	opts Options

	mu      sync.Mutex
	client  *line.Client
	model   string // as the board greets: "wio-lte stock"
	console chan<- bench.Line
	closed  bool
}

var _ bench.Device = (*Device)(nil)

// New gives a device that is not opened yet.
func New(o Options) *Device { return &Device{opts: o} }

// Verbs implements bench.Device.
func (*Device) Verbs() []plan.VerbSpec { return Verbs() }

// Open implements bench.Device: it opens the port and greets the board.
func (d *Device) Open(ctx context.Context, console chan<- bench.Line) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.New("open the Wio LTE: it was closed")
	}
	d.console = console
	return d.open(ctx)
}

// Model is how the board introduced itself: "wio-lte stock"; "" before Open.
func (d *Device) Model() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.model
}

// open opens the port and greets. d.mu is held.
func (d *Device) open(ctx context.Context) error {
	console := d.console
	c, model, err := line.Greet(ctx, "the Wio LTE", d.opts.Port, d.opts.Clock, func(l line.Line) { console <- bench.Line(l) })
	if err != nil {
		return err
	}
	d.client, d.model = c, model
	return nil
}

// Do implements bench.Device.
func (d *Device) Do(ctx context.Context, verb string, args map[string]string) (string, error) {
	if !slices.ContainsFunc(Verbs(), func(v plan.VerbSpec) bool { return v.Name == verb }) {
		return "", fmt.Errorf("%s: a Wio LTE has no such verb", verb)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.console == nil {
		return "", fmt.Errorf("%s: the Wio LTE is not open", verb)
	}
	if err := d.ready(ctx); err != nil {
		return "", fmt.Errorf("%s: %w", verb, err)
	}
	switch verb {
	case "send":
		return "", d.client.WriteLine(ctx, args["text"])
	case "reset":
		return "", d.reset(ctx)
	}
	answer, err := d.client.Do(ctx, verb, words(verb, args)...)
	if err != nil {
		return "", deviceError(err)
	}
	return answer, matches(verb, answer, args["reply"])
}

// words gives a verb's arguments in the order of the line protocol.
func words(verb string, args map[string]string) []string {
	var out []string
	for _, name := range map[string][]string{
		"activate": {"apn", "user", "password"},
		"http_get": {"url"},
		"tcp":      {"to", "send", "reply_within"},
		"udp":      {"to", "send", "reply_within"},
	}[verb] {
		out = append(out, args[name])
	}
	return out
}

// matches checks a reply against the pattern that it must match, "" for any.
func matches(verb, reply, pattern string) error {
	if pattern == "" {
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("%s: reply: %w", verb, err)
	}
	if !re.MatchString(reply) {
		return &bench.DeviceError{Op: verb, Reason: fmt.Sprintf("the reply is %q, which does not match %q", reply, pattern)}
	}
	return nil
}

// deviceError tells the device's own failures from the bench's.
func deviceError(err error) error {
	var failed *line.FailedError
	var silent *line.SilentError
	switch {
	case errors.As(err, &failed):
		return &bench.DeviceError{Op: failed.Verb, Reason: failed.Reason}
	case errors.As(err, &silent):
		return &bench.DeviceError{Op: silent.Verb, Reason: fmt.Sprintf("accepted, but no answer within %s", silent.After.Round(time.Second))}
	}
	return err
}

// ready sees to it that the board's port is open: one that vanished since is looked for under its new name. d.mu is
// held.
func (d *Device) ready(ctx context.Context) error {
	if d.client != nil && d.client.Err() == nil {
		return nil
	}
	var why error
	if d.client != nil {
		why = d.client.Err()
		_ = d.client.Close() // it is gone anyway
		d.client = nil
	}
	wait, cancel := d.opts.Clock.WithTimeout(ctx, backWithin)
	defer cancel()
	for {
		err := d.open(wait)
		if err == nil {
			return nil
		}
		if d.opts.Clock.Sleep(wait, backEvery) != nil {
			return errors.Join(err, why)
		}
	}
}

// reset resets the board and waits until its sketch answers again. d.mu is held.
func (d *Device) reset(ctx context.Context) error {
	if _, err := d.client.Do(ctx, "reset"); err != nil && d.client.Err() == nil {
		return deviceError(err)
	}
	if d.client.Err() == nil {
		if model, err := d.client.Hello(ctx); err == nil {
			d.model = model
			return nil
		}
	}
	return d.ready(ctx)
}

// Close implements bench.Device.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.client == nil {
		return nil
	}
	err := d.client.Close()
	d.client = nil
	return err
}
