package trigger

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/line"
	"github.com/tollgate-iot/tollgate/harness/plan"
)

// Options says where the actuator is.
type Options struct {
	// Port gives the path of the actuator's serial port when it is opened. An error or "" means that it is not there.
	Port  func() (string, error)
	Clock bench.Clock
}

// Device is a device behind an actuator; it implements bench.Device. Its console is the actuator's.
type Device struct {
	opts Options

	mu     sync.Mutex
	client *line.Client
	model  string
	closed bool
}

var _ bench.Device = (*Device)(nil)

// New gives a device that is not opened yet.
func New(o Options) *Device { return &Device{opts: o} }

// Verbs implements bench.Device.
func (*Device) Verbs() []plan.VerbSpec { return Verbs() }

// Open implements bench.Device: it opens the actuator's port and greets it.
func (d *Device) Open(ctx context.Context, console chan<- bench.Line) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.New("open the actuator: it was closed")
	}
	c, model, err := line.Greet(ctx, "the actuator", d.opts.Port, d.opts.Clock, func(l line.Line) { console <- bench.Line(l) })
	if err != nil {
		return err
	}
	d.client, d.model = c, model
	return nil
}

// Model is how the actuator introduced itself; "" before Open.
func (d *Device) Model() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.model
}

// Do implements bench.Device. What the actuator refuses is the bench's trouble, not the device's: it says nothing of
// the device at all.
func (d *Device) Do(ctx context.Context, verb string, args map[string]string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return "", fmt.Errorf("%s: the actuator is not open", verb)
	}
	var words []string
	if verb == "click" {
		words = append(words, args["kind"])
	}
	answer, err := d.client.Do(ctx, verb, words...)
	if err != nil {
		return "", fmt.Errorf("the actuator: %w", err)
	}
	return answer, nil
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
