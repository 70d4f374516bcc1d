package runner

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

var (
	deviceAddr = netip.MustParseAddr("10.0.0.2")
	serverAddr = netip.MustParseAddr("203.0.113.9")
)

// fastClock runs two hundred times as fast as the wall's.
type fastClock struct{ base, wall time.Time }

const speed = 200

func newFastClock() *fastClock {
	return &fastClock{base: time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC), wall: time.Now()}
}

func (c *fastClock) Now() time.Time { return c.base.Add(time.Since(c.wall) * speed) }

func (c *fastClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d / speed):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *fastClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d/speed, context.DeadlineExceeded)
}

// fakeDevice does what the test's script says for each verb.
type fakeDevice struct {
	clock   bench.Clock
	console chan<- bench.Line
	openErr error
	script  func(d *fakeDevice, ctx context.Context, verb string, args map[string]string) (string, error)

	mu     sync.Mutex
	done   []string
	closed bool
}

func (d *fakeDevice) Verbs() []plan.VerbSpec { return nil }

func (d *fakeDevice) Open(_ context.Context, console chan<- bench.Line) error {
	d.console = console
	return d.openErr
}

func (d *fakeDevice) Do(ctx context.Context, verb string, args map[string]string) (string, error) {
	d.mu.Lock()
	d.done = append(d.done, verb)
	d.mu.Unlock()
	if d.script == nil {
		return "", nil
	}
	return d.script(d, ctx, verb, args)
}

func (d *fakeDevice) print(text string) { d.console <- bench.Line{Time: d.clock.Now(), Text: text} }

func (d *fakeDevice) verbs() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.done...)
}

func (d *fakeDevice) Close() error {
	d.closed = true
	return nil
}

// fakeTap gives the run the frames that the test pushes.
type fakeTap struct {
	startErr, flushErr error
	flushing           func(context.Context) error // what Flush does first, nil for nothing
	stats              bench.TapStats

	mu     sync.Mutex
	sink   func(pcap.Record)
	err    error
	closed bool
}

func (t *fakeTap) Name() string { return "mirror" }

func (t *fakeTap) Start(_ context.Context, sink func(pcap.Record)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sink = sink
	return t.startErr
}

func (t *fakeTap) push(at time.Time, frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.sink == nil {
		return
	}
	t.stats.Received++
	t.sink(pcap.Record{Time: at.UnixNano(), Link: pcap.LinkEthernet, Data: frame, Length: len(frame)})
}

func (t *fakeTap) Flush(ctx context.Context) error {
	if t.flushing != nil {
		if err := t.flushing(ctx); err != nil {
			return err
		}
	}
	return t.flushErr
}

func (t *fakeTap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

func (t *fakeTap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *fakeTap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *fakeTap) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return nil
}

// fakeCarrier has one session, and pings through the tap.
type fakeCarrier struct {
	clock  bench.Clock
	tap    *fakeTap
	also   *fakeTap // another one that its ping reaches
	blind  bool     // its ping does not reach the tap
	doErr  error
	script func(verb string)

	mu     sync.Mutex
	addr   netip.Addr
	events []bench.Event
	count  bench.Count
	done   []string
}

func (c *fakeCarrier) Verbs() []plan.VerbSpec { return nil }

func (c *fakeCarrier) Do(_ context.Context, verb string, _ map[string]string) (string, error) {
	c.mu.Lock()
	c.done = append(c.done, verb)
	c.mu.Unlock()
	if c.script != nil {
		c.script(verb)
	}
	return "done", c.doErr
}

func (c *fakeCarrier) Address(context.Context) (netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr, nil
}

func (c *fakeCarrier) tell(e bench.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

func (c *fakeCarrier) Events(_ context.Context, since time.Time) ([]bench.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []bench.Event
	for _, e := range c.events {
		if !e.Time.Before(since) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (c *fakeCarrier) Stats(context.Context, time.Time, time.Time) (bench.Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, nil
}

func (c *fakeCarrier) Canary(context.Context) error {
	if !c.blind {
		at := c.clock.Now()
		c.tap.push(at, ping(serverAddr, deviceAddr))
		if c.also != nil {
			c.also.push(at, ping(serverAddr, deviceAddr))
		}
	}
	return nil
}

func (c *fakeCarrier) Account() string { return "soracom" }
func (c *fakeCarrier) Close() error    { return nil }

// rig is a fake bench with everything on it.
type rig struct {
	t       *testing.T
	clock   *fastClock
	device  *fakeDevice
	tap     *fakeTap
	carrier *fakeCarrier
	bench   *bench.Bench
	dir     string
	opts    Options
}

func newRig(t *testing.T) *rig {
	clock := newFastClock()
	tap := &fakeTap{}
	r := &rig{
		t: t, clock: clock, tap: tap, dir: t.TempDir(),
		device:  &fakeDevice{clock: clock},
		carrier: &fakeCarrier{clock: clock, tap: tap, addr: deviceAddr},
	}
	r.bench = &bench.Bench{Name: "fake", Clock: clock, Device: r.device, Model: "fake-model", DevName: "fake-1",
		Carrier: r.carrier, Taps: []bench.Tap{tap}}
	r.opts = Options{Dir: r.dir, Settle: time.Millisecond}
	return r
}

func (r *rig) run(ctx context.Context, p *plan.Plan) *trace.Trace {
	r.t.Helper()
	tr, err := Run(ctx, p, r.bench, r.opts)
	require.NoError(r.t, err)
	require.True(r.t, r.device.closed || r.bench.Device == nil, "the run closes the device")
	require.True(r.t, r.tap.closed, "the run closes the tap")
	return tr
}

func (r *rig) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	require.NoError(r.t, err)
	return string(b)
}

// makePlan numbers steps as package plan does, and gives each what a plan always has.
func makePlan(setup, steps, cleanup []plan.Step) *plan.Plan {
	line := 0
	var finish func(path string, steps []plan.Step)
	finish = func(path string, steps []plan.Step) {
		for i := range steps {
			s := &steps[i]
			line++
			s.Path = path + "[" + itoa(i) + "]"
			s.Pos = scenario.Pos{File: "fake.yaml", Line: line, Column: 1}
			s.Repeat = max(s.Repeat, 1)
			if s.Within == 0 && s.Kind != plan.Group && s.Kind != plan.Wait {
				s.Within = time.Hour
			}
			if s.Text == "" {
				s.Text = "device." + s.Verb
			}
			finish(s.Path+".steps", s.Steps)
		}
	}
	finish("setup", setup)
	finish("steps", steps)
	finish("cleanup", cleanup)
	return &plan.Plan{
		Scenario: &scenario.Scenario{Pos: scenario.Pos{File: "fake.yaml"}, Name: "fake/run"},
		Vars:     map[string]string{}, Setup: setup, Steps: steps, Cleanup: cleanup,
	}
}

func do(verb string) plan.Step { return plan.Step{Kind: plan.DeviceVerb, Verb: verb} }

func expecting(verb string, patterns ...string) plan.Step {
	s := do(verb)
	s.Expect = patternsOf(patterns...)
	return s
}

func patternsOf(patterns ...string) []plan.Match {
	var out []plan.Match
	for _, p := range patterns {
		m := plan.Match{Text: p}
		if !scenario.Variable.MatchString(p) {
			m.Re = regexp.MustCompile(p)
		}
		out = append(out, m)
	}
	return out
}

func awaiting(w plan.Wanted) plan.Step { return plan.Step{Kind: plan.Await, Await: &w, Text: "await"} }

// states lists the events of a kind as "name state".
func states(t *trace.Trace, kind trace.EventKind) []string {
	var out []string
	for _, e := range t.Timeline {
		if e.Kind == kind {
			out = append(out, strings.TrimSpace(e.Name+" "+e.State))
		}
	}
	return out
}

var errBench = errors.New("the port is gone")

// frame builds an Ethernet frame.
func frame(from, to netip.Addr, rest ...gopacket.SerializableLayer) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, SrcIP: net.IP(from.AsSlice()), DstIP: net.IP(to.AsSlice())}
	stack := []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}, ip}
	for _, l := range rest {
		switch l := l.(type) {
		case *layers.UDP:
			ip.Protocol = layers.IPProtocolUDP
			_ = l.SetNetworkLayerForChecksum(ip)
		case *layers.ICMPv4:
			ip.Protocol = layers.IPProtocolICMPv4
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(stack, rest...)...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func ping(from, to netip.Addr) []byte {
	return frame(from, to, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 1}, gopacket.Payload("canary"))
}

func datagram(payload string) []byte {
	return frame(deviceAddr, serverAddr, &layers.UDP{SrcPort: 40001, DstPort: 23080}, gopacket.Payload(payload))
}
