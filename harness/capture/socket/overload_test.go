package socket_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/socket"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/runner"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// wall is this machine's clock.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func (wall) Sleep(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
	return nil
}

func (wall) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// held is a tap that hands nothing over before it is released.
type held struct {
	*socket.Tap
	release chan struct{}
}

func (h held) Start(ctx context.Context, sink func(pcap.Record)) error {
	return h.Tap.Start(ctx, func(r pcap.Record) {
		<-h.release
		sink(r)
	})
}

// burst is a device whose one verb has everything mirrored at once, and only then lets the tap hand over.
type burst struct {
	t         *testing.T
	tap       held
	datagrams [][]byte
}

func (b *burst) Verbs() []plan.VerbSpec { return nil }

func (b *burst) Open(context.Context, chan<- bench.Line) error { return nil }

func (b *burst) Do(context.Context, string, map[string]string) (string, error) {
	socket.SendAll(socket.NewFar(b.t, b.tap.Listening()), b.t, b.datagrams...)
	close(b.tap.release)
	return "", nil
}

func (b *burst) Close() error { return nil }

// conversation is a device's connection as a mirror sends it by VXLAN: in its first packets it looks its server up and
// opens, and its last is a reset.
func conversation(exchanges int) [][]byte {
	w := synth.New(synth.Options{Mirror: synth.VXLAN, VNI: 42})
	device, server, resolver := synth.NewHost("10.213.7.42", 1), synth.NewHost("203.0.113.9", 1), synth.NewHost("100.127.0.53", 1)
	w.Lookup(device, 50001, resolver, 7, "example.com", synth.Answer{Addrs: []*synth.Host{server}})
	c := w.TCP(device, 40001, server, 80).Open()
	for range exchanges {
		c.Exchange(synth.Up, make([]byte, 400))
	}
	c.Rst(synth.Up)
	var out [][]byte
	for _, f := range w.Frames {
		out = append(out, f.Data[14+20+8:])
	}
	return out
}

// run carries out the burst as a run does, and gives the record as it was saved.
func run(t *testing.T, tap *socket.Tap, datagrams [][]byte) *trace.Trace {
	t.Helper()
	h := held{tap, make(chan struct{})}
	step := plan.Step{Kind: plan.DeviceVerb, Verb: "go", Text: "device.go", Path: "steps[0]", Repeat: 1, Within: time.Minute}
	p := &plan.Plan{Scenario: &scenario.Scenario{Name: "burst"}, Vars: map[string]string{}, Steps: []plan.Step{step}}
	b := &bench.Bench{Name: "b", Clock: wall{}, Device: &burst{t: t, tap: h, datagrams: datagrams}, DevName: "d", Taps: []bench.Tap{h}}
	dir := t.TempDir()
	tr, err := runner.Run(t.Context(), p, b, runner.Options{Dir: dir, Settle: time.Millisecond})
	require.NoError(t, err)
	require.Empty(t, tr.Trouble)
	require.NoError(t, tr.Save(dir))
	loaded, err := trace.Load(dir)
	require.NoError(t, err)
	return loaded
}

// TestBeyondWhatItCan drives a tap with a small buffer far beyond what that holds. Every packet is given or counted as
// lost, the record says so, and nothing is concluded from what is not there.
func TestBeyondWhatItCan(t *testing.T) {
	tap, err := socket.NewVXLAN(socket.Options{Name: "mirror", Listen: "127.0.0.1:0", IDs: []uint32{42}, Buffer: 64 << 10})
	require.NoError(t, err)
	if runtime.GOOS != "linux" {
		t.Skip("losses are counted on Linux only")
	}
	sent := conversation(2000)
	tr := run(t, tap, sent)

	e := tr.Evidence.Taps[0]
	require.True(t, e.Flushed)
	require.EqualValues(t, len(sent), e.Received+e.Dropped, "sent − received = dropped, exactly")
	require.Greater(t, e.Received, uint64(6), "the buffer holds the first packets at least")
	require.Greater(t, e.Dropped, uint64(1000))
	whole := tr.Completeness(trace.Scope{})
	require.Equal(t, trace.Broken, whole.State)
	require.Contains(t, strings.Join(whole.Reasons, "\n"), "tap mirror dropped "+trace.Thousands(e.Dropped)+" packets")

	for claim, want := range map[string]verdict.Verdict{
		"packets: {up: <= 2}":           verdict.Fail,         // at most, and more was seen
		"destinations: [dns]":           verdict.Fail,         // another was seen
		"resets: none":                  verdict.Inconclusive, // there was one, and it was lost
		"packets: {up: <= 100000}":      verdict.Inconclusive,
		"packets: {up: '>= 3'}":         verdict.Pass, // at least, and seen
		"dns: {names: [example.com]}":   verdict.Inconclusive,
		"dns: {count: '>= 1'}":          verdict.Pass,
		"packets: {up: '>= 100000'}":    verdict.Inconclusive, // not seen proves nothing
		"dns: {names: [a.example.com]}": verdict.Fail,         // another name was asked for
		"teardown: clean":               verdict.Inconclusive,
	} {
		set, err := expectations.Parse("claims.yaml", 1, []byte("expect:\n  - "+claim+"\n"))
		require.NoError(t, err, claim)
		require.Equal(t, want, verdict.Of(set.Judge(tr, expectations.Options{})), claim)
	}
}

// TestWithinWhatItCan: the same conversation with room for it is whole as far as the tap can tell, and the reset is seen.
func TestWithinWhatItCan(t *testing.T) {
	tap, err := socket.NewVXLAN(socket.Options{Name: "mirror", Listen: "127.0.0.1:0", IDs: []uint32{42}})
	require.NoError(t, err)
	sent := conversation(20)
	tr := run(t, tap, sent)
	e := tr.Evidence.Taps[0]
	e.Doubt = "" // there are systems that do not count
	require.Equal(t, trace.TapEvidence{Name: "mirror", ReadyBefore: true, Flushed: true, Received: uint64(len(sent))}, e)
	require.Equal(t, trace.Unproven, tr.Completeness(trace.Scope{}).State, "there is no carrier to send a canary")
	set, err := expectations.Parse("claims.yaml", 1, []byte("expect:\n  - resets: none\n"))
	require.NoError(t, err)
	require.Equal(t, verdict.Fail, verdict.Of(set.Judge(tr, expectations.Options{})))
}
