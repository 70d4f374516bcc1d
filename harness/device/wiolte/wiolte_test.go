package wiolte_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/device/wiolte"
	"github.com/tollgate-iot/tollgate/harness/sim"
)

// simulated gives a world to drive, where this machine can have one.
func simulated(t *testing.T, o sim.Options) *sim.World {
	t.Helper()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("the simulated bench needs a pseudo terminal, which Tollgate can't make on " + runtime.GOOS)
	}
	w, err := sim.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

func open(w *sim.World) *wiolte.Device {
	return wiolte.New(wiolte.Options{Port: func() (string, error) { return w.Port(), nil }, Clock: w.Clock()})
}

func TestContract(t *testing.T) {
	benchtest.Device(t, func(t *testing.T) benchtest.DeviceFixture {
		w := simulated(t, sim.Options{})
		return benchtest.DeviceFixture{
			Device: open(w),
			Clock:  w.Clock(),
			Works:  benchtest.Call{Verb: "activate"},
			Prints: true,
			Fails:  benchtest.Call{Verb: "http_get", Args: map[string]string{"url": "http://no-such-name.example/"}},
			Hang:   func(*testing.T) { w.Hang() },
		}
	})
}

// drain reads a console until the test ends.
func drain(t *testing.T) chan<- bench.Line {
	lines := make(chan bench.Line)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range lines { // what they say is told elsewhere
		}
	}()
	t.Cleanup(func() {
		close(lines)
		<-done
	})
	return lines
}

func TestModelIsTheBoardsGreeting(t *testing.T) {
	w := simulated(t, sim.Options{Firmware: "patched"})
	lines := drain(t)
	d := open(w)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	require.Empty(t, d.Model())
	require.NoError(t, d.Open(t.Context(), lines))
	require.Equal(t, "wio-lte patched", d.Model())
}

func TestPortThatIsNotThere(t *testing.T) {
	w := simulated(t, sim.Options{})
	for want, port := range map[string]func() (string, error){
		"is it plugged in and powered?": func() (string, error) { return "", nil },
		"no board 1-2":                  func() (string, error) { return "", errors.New("no board 1-2") },
		"there is no such port":         func() (string, error) { return "/dev/tollgate-none", nil },
	} {
		d := wiolte.New(wiolte.Options{Port: port, Clock: w.Clock()})
		err := d.Open(t.Context(), drain(t))
		require.ErrorContains(t, err, "open the Wio LTE: ")
		require.ErrorContains(t, err, want)
		require.NoError(t, d.Close())
	}
}

func TestPortComesBack(t *testing.T) {
	w := simulated(t, sim.Options{})
	lines := drain(t)
	d := open(w)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	require.NoError(t, d.Open(t.Context(), lines))
	before := w.Port()
	w.Vanish()
	answer, err := d.Do(t.Context(), "status", nil)
	if err != nil { // it was told before it was seen that the port had gone
		answer, err = d.Do(t.Context(), "status", nil)
	}
	require.NoError(t, err)
	require.Equal(t, "inactive", answer)
	require.NotEqual(t, before, w.Port())
}

func TestReplyPattern(t *testing.T) {
	w := simulated(t, sim.Options{})
	lines := drain(t)
	d := open(w)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	require.NoError(t, d.Open(t.Context(), lines))
	_, err := d.Do(t.Context(), "activate", nil)
	require.NoError(t, err)
	udp := func(reply string) (string, error) {
		return d.Do(t.Context(), "udp", map[string]string{
			"to": "beam.soracom.io:23080", "send": "hello", "reply_within": "5s", "reply": reply,
		})
	}
	answer, err := udp(`^2\d\d`)
	require.NoError(t, err)
	require.Equal(t, "200 hello", answer)
	_, err = udp(`^4\d\d`)
	var device *bench.DeviceError
	require.ErrorAs(t, err, &device)
	require.Equal(t, &bench.DeviceError{Op: "udp", Reason: `the reply is "200 hello", which does not match "^4\\d\\d"`}, device)
	_, err = udp(`(`)
	require.ErrorContains(t, err, "reply: error parsing regexp")
	require.NotErrorAs(t, err, &device)
}
