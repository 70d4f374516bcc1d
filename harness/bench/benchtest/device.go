package benchtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
)

// DeviceFixture is a fresh device that is not open yet.
type DeviceFixture struct {
	Device bench.Device
	Clock  bench.Clock
	// Works is a verb that succeeds as the first after Open. Prints says whether the console shows something meanwhile.
	Works  Call
	Prints bool
	// Fails is a verb that the device itself answers with a failure, after Works. The zero value: there is none.
	Fails Call
	// Hang makes the device silent: it takes what it is told and answers nothing. Nil: it can't be made so.
	Hang func(t *testing.T)
}

// console keeps a device's lines, as a run does: it always reads.
type console struct {
	lines  chan bench.Line
	shutc  chan struct{} // a value: the device is closed
	stop   chan struct{}
	done   chan struct{}
	got    []bench.Line // of the reading goroutine, until done
	closed bool
	late   bool
}

func newConsole() *console {
	c := &console{lines: make(chan bench.Line), shutc: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{})}
	go c.read()
	return c
}

func (c *console) read() {
	defer close(c.done)
	for {
		select {
		case l := <-c.lines:
			c.late = c.late || c.closed
			c.got = append(c.got, l)
		case <-c.shutc:
			c.closed = true
		case <-c.stop:
			return
		}
	}
}

// shut says that the device is closed: no line may come any more. Those that came before have been noted.
func (c *console) shut() { c.shutc <- struct{}{} }

// end ends the reading and gives what came.
func (c *console) end(t *testing.T) []bench.Line {
	close(c.stop)
	<-c.done
	require.False(t, c.late, "a line came after Close")
	return c.got
}

// Device holds a device to the promises of bench.Device.
func Device(t *testing.T, fixture func(t *testing.T) DeviceFixture) {
	open := func(t *testing.T) (DeviceFixture, *console) {
		t.Helper()
		f, c := fixture(t), newConsole()
		require.NoError(t, returns(t, "Open", func() error { return f.Device.Open(limited(t), c.lines) }))
		return f, c
	}
	run(t, "its verbs are unique, documented and limited in time", func(t *testing.T) {
		f := fixture(t)
		verbs(t, f.Device.Verbs)
		require.NoError(t, f.Device.Close())
	})
	run(t, "a verb is carried out, and the console is shown", func(t *testing.T) {
		f, c := open(t)
		began := f.Clock.Now()
		_, err := f.do(limited(t), f.Works)
		require.NoError(t, err)
		require.NoError(t, f.Device.Close())
		c.shut()
		lines := c.end(t)
		require.True(t, !f.Prints || len(lines) > 0, "the console shows nothing")
		checkLines(t, lines, began.Add(-time.Minute), f.Clock.Now())
	})
	run(t, "a verb that it has not is the bench's error, not the device's", func(t *testing.T) {
		f, c := open(t)
		_, err := f.Device.Do(limited(t), unknownVerb, nil)
		require.Error(t, err)
		var device *bench.DeviceError
		require.False(t, errors.As(err, &device), "%v", err)
		require.NoError(t, f.Device.Close())
		c.end(t)
	})
	run(t, "a failure that the device reports is the device's", func(t *testing.T) {
		f, c := open(t)
		if !f.Fails.isZero() {
			_, err := f.do(limited(t), f.Works)
			require.NoError(t, err)
			_, err = f.do(limited(t), f.Fails)
			var device *bench.DeviceError
			require.ErrorAs(t, err, &device)
			require.NotEmpty(t, device.Op)
			require.NotEmpty(t, device.Reason)
		}
		require.NoError(t, f.Device.Close())
		c.end(t)
		if f.Fails.isZero() {
			t.Skip("it has no verb that is known to fail")
		}
	})
	run(t, "Open and Do return soon after their context ends", func(t *testing.T) { deviceObeys(t, fixture, open) })
	run(t, "Close may be called twice, before Open too, and verbs after it are errors", func(t *testing.T) {
		f := fixture(t)
		require.NoError(t, f.Device.Close())
		require.NoError(t, f.Device.Close())
		f, c := open(t)
		require.NoError(t, returns(t, "Close", f.Device.Close))
		c.shut()
		require.NoError(t, f.Device.Close())
		require.Error(t, returns(t, "Do", func() error { _, err := f.do(limited(t), f.Works); return err }))
		c.end(t)
	})
}

func (f DeviceFixture) do(ctx context.Context, c Call) (string, error) {
	return f.Device.Do(ctx, c.Verb, withDefaults(f.Device.Verbs(), c))
}

// checkLines holds console lines to come without line ends, in order, with times of the bench's clock.
func checkLines(t *testing.T, lines []bench.Line, from, to time.Time) {
	for i, l := range lines {
		require.False(t, strings.ContainsAny(l.Text, "\r\n"), "line %d holds a line end: %q", i, l.Text)
		require.False(t, l.Time.Before(from) || l.Time.After(to), "line %d has the time %s, not between %s and %s", i, l.Time, from, to)
		if i > 0 {
			require.False(t, l.Time.Before(lines[i-1].Time), "line %d is before the one before it", i)
		}
	}
}

func deviceObeys(t *testing.T, fixture func(*testing.T) DeviceFixture, open func(*testing.T) (DeviceFixture, *console)) {
	f, c := fixture(t), newConsole()
	require.Error(t, returns(t, "Open", func() error { return f.Device.Open(cancelled(), c.lines) }))
	require.NoError(t, returns(t, "Close", f.Device.Close))
	c.end(t)

	f, c = open(t)
	require.Error(t, returns(t, "Do", func() error { _, err := f.do(cancelled(), f.Works); return err }))
	if f.Hang != nil {
		f.Hang(t)
		ctx, cancel := f.Clock.WithTimeout(limited(t), time.Second)
		defer cancel()
		require.Error(t, returns(t, "Do", func() error { _, err := f.do(ctx, f.Works); return err }), "of a device that is silent")
	}
	require.NoError(t, returns(t, "Close", f.Device.Close))
	c.end(t)
}
