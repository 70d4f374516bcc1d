package peek

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const imsi = "001010123456789"

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// leapClock is a clock on which sleeping takes no time.
type leapClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *leapClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *leapClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

func (c *leapClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, context.DeadlineExceeded)
}

// network is a simulated carrier with one SIM and its client. Its methods go before the client's own.
type network struct {
	*soracom.Carrier
	clock  *leapClock
	sim    *api.MemorySIM
	server *api.Server

	read func(io.ReadCloser, error) (io.ReadCloser, error) // what becomes of downloads
}

func (n *network) ReadCapture(ctx context.Context, session string) (io.ReadCloser, error) {
	file, err := n.Carrier.ReadCapture(ctx, session)
	if n.read != nil {
		return n.read(file, err)
	}
	return file, err
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{clock: &leapClock{now: time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC)}}
	memory := api.NewMemory(n.clock.Now)
	n.sim = memory.Add(api.Info{ID: "8981100000000000001", IMSI: imsi}, api.Hooks{})
	n.sim.Connect(api.Session{Address: netip.MustParseAddr("10.213.7.42")})
	var err error
	n.server, err = api.Serve(memory, api.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.server.Close()) })
	c := n.server.Credentials()
	n.Carrier, err = soracom.New(soracom.Options{SIM: imsi, Endpoint: n.server.URL(), Clock: n.clock, Credentials: soracom.Credentials{AuthKeyID: c.AuthKeyID, AuthKey: c.AuthKey}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Carrier.Close()) })
	return n
}

func (n *network) send(t *testing.T, texts ...string) {
	for _, text := range texts {
		n.sim.Pass([]byte("text " + text))
		require.NoError(t, n.clock.Sleep(context.Background(), time.Second))
	}
}

func (n *network) tap(t *testing.T, o Options) *Tap {
	o.Name, o.Carrier, o.Clock = "session", n, n.clock
	tap, err := New(o)
	require.NoError(t, err)
	return tap
}

// started gives a tap that captures, and what it gives.
func (n *network) started(t *testing.T, o Options) (*Tap, *[]string) {
	tap, got := n.tap(t, o), &[]string{}
	require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { *got = append(*got, textOf(r.Data)) }))
	return tap, got
}

func (n *network) calls(text string) (count int) {
	for _, c := range n.server.Calls() {
		if strings.Contains(c, text) {
			count++
		}
	}
	return count
}

func textOf(data []byte) string {
	text, _ := bytes.CutPrefix(data, []byte("text "))
	return string(text)
}

func TestPromises(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		n := newNetwork(t)
		return benchtest.TapFixture{Tap: n.tap(t, Options{}), Text: textOf, Send: n.send, Break: func(t *testing.T) {
			n.read = func(file io.ReadCloser, err error) (io.ReadCloser, error) {
				require.NoError(t, errors.Join(err, file.Close()))
				return io.NopCloser(strings.NewReader("<html><title>not here</title></html>")), nil
			}
		}}
	})
}

// TestNothingIsLeftBehind: whatever becomes of a tap, the carrier has no session of it afterwards.
func TestNothingIsLeftBehind(t *testing.T) {
	for name, use := range map[string]func(n *network, tap *Tap) error{
		"flushed": func(n *network, tap *Tap) error { return tap.Flush(limited(t)) },
		"not":     func(*network, *Tap) error { return nil },
		"over":    func(n *network, tap *Tap) error { return n.clock.Sleep(context.Background(), 3*time.Hour) },
	} {
		n := newNetwork(t)
		tap, _ := n.started(t, Options{})
		require.Equal(t, 1, n.server.Captures())
		require.NoError(t, use(n, tap), name)
		require.NoError(t, tap.Close())
		require.Zero(t, n.server.Captures(), name)
	}
	n := newNetwork(t)
	tap, _ := n.started(t, Options{Keep: true})
	require.NoError(t, tap.Flush(limited(t)))
	require.NoError(t, tap.Close())
	require.Equal(t, 1, n.server.Captures(), "kept")
}

func TestSessionsThatDoNotBegin(t *testing.T) {
	n := newNetwork(t)
	n.server.SetCaptureFaults(api.CaptureFaults{Fail: "the VPG has none"})
	err := n.tap(t, Options{}).Start(limited(t), func(pcap.Record) {})
	require.EqualError(t, err, "start tap session: the carrier's packet capture session failed: the VPG has none (it needs the SIM to be in a VPG of type E or F)")
	require.Zero(t, n.server.Captures())

	n = newNetwork(t)
	n.server.Inject(api.Fault{Method: "GET", Path: "/sims/*/packet_capture_sessions/*", Status: 403, Times: 1})
	require.ErrorContains(t, n.tap(t, Options{}).Start(limited(t), func(pcap.Record) {}), "lacks the permission")
	require.Zero(t, n.server.Captures(), "what was begun is ended")

	n = newNetwork(t)
	tap := n.tap(t, Options{})
	ctx, cancel := context.WithCancelCause(context.Background())
	n.server.Inject(api.Fault{Method: "GET", Path: "/sims/*/packet_capture_sessions/*", Status: 429, Times: 1})
	cancel(errors.New("interrupted"))
	require.ErrorContains(t, tap.Start(ctx, func(pcap.Record) {}), "interrupted")
	require.Zero(t, n.server.Captures())
}

// TestTheCarrierCantBeStopped: a session that could not be ended is told of: it costs.
func TestTheCarrierCantBeStopped(t *testing.T) {
	n := newNetwork(t)
	tap, _ := n.started(t, Options{})
	n.server.Inject(api.Fault{Method: "POST", Path: "/sims/*/packet_capture_sessions/*/stop", Status: 403, Times: -1})
	require.ErrorContains(t, tap.Flush(limited(t)), "flush tap session: stop packet capture session ")
	require.NoError(t, tap.Err(), "it may be tried again")
	err := tap.Close()
	require.ErrorContains(t, err, "may go on, and cost, until its end in 2h0m0s")
}

// TestItsOwnEnd: a session that reached its limit gives what it has, and the rest of the run is an outage.
func TestItsOwnEnd(t *testing.T) {
	n := newNetwork(t)
	tap, got := n.started(t, Options{Most: time.Minute})
	began := n.clock.Now()
	n.send(t, "in time")
	require.NoError(t, n.clock.Sleep(context.Background(), time.Hour))
	n.send(t, "after its end")
	require.NoError(t, tap.Flush(limited(t)))
	require.Equal(t, []string{"in time"}, *got)
	out := tap.Outages()
	require.Len(t, out, 1)
	require.True(t, out[0].To.IsZero(), "to the end of the run")
	require.WithinDuration(t, began.Add(time.Minute), out[0].From, 3*time.Second)
	require.Contains(t, out[0].Cause, "had ended by itself; it is asked for 1m0s at most")
	require.NoError(t, tap.Close())
}

// cutAfter is a download that breaks.
type cutAfter struct {
	io.ReadCloser
	left int
}

func (c *cutAfter) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("connection reset by peer")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestDownloadsThatBreak are begun again, and each packet is given once.
func TestDownloadsThatBreak(t *testing.T) {
	n := newNetwork(t)
	tap, got := n.started(t, Options{})
	texts := []string{"one", "two", "three", "four"}
	n.send(t, texts...)
	tries := 0
	n.read = func(file io.ReadCloser, err error) (io.ReadCloser, error) {
		if tries++; tries == downloads {
			return file, err
		}
		return &cutAfter{file, 24 + 40*tries}, err
	}
	require.NoError(t, tap.Flush(limited(t)))
	require.Equal(t, texts, *got)
	require.Equal(t, downloads, tries)
	require.NoError(t, tap.Close())

	n = newNetwork(t)
	tap, _ = n.started(t, Options{})
	n.read = func(file io.ReadCloser, err error) (io.ReadCloser, error) { return &cutAfter{file, 30}, err }
	n.send(t, texts...)
	require.ErrorContains(t, tap.Flush(limited(t)), "tried 3 times: read capture: connection reset by peer")
	n.read = nil
	require.NoError(t, tap.Flush(limited(t)), "it may be tried again")
	require.NoError(t, tap.Close())
	require.Equal(t, 1, n.calls("/stop"))
}

// TestClosedWhileItWaits: Close ends a Flush that waits for the file.
func TestClosedWhileItWaits(t *testing.T) {
	n := newNetwork(t)
	tap, _ := n.started(t, Options{})
	waiting := make(chan struct{})
	block := make(chan struct{})
	n.read = func(file io.ReadCloser, err error) (io.ReadCloser, error) {
		close(waiting)
		<-block
		return file, err
	}
	flushed := make(chan error, 1)
	go func() { flushed <- tap.Flush(limited(t)) }()
	<-waiting
	closed := make(chan error, 1)
	go func() { closed <- tap.Close() }()
	<-tap.quit.Done()
	close(block)
	require.ErrorContains(t, <-flushed, "it was closed")
	require.NoError(t, <-closed)
	require.Zero(t, n.server.Captures())
}

func TestNew(t *testing.T) {
	n := newNetwork(t)
	_, err := New(Options{Clock: n.clock})
	require.EqualError(t, err, "make tap peek: no carrier was given")
	_, err = New(Options{Carrier: n})
	require.EqualError(t, err, "make tap peek: no clock was given")
	tap := n.tap(t, Options{})
	require.Contains(t, tap.Doubt(), "does not tell what a packet capture session lost")
	require.NoError(t, tap.Close())
}
