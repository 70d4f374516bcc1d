package sim_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/device/trigger"
	"github.com/tollgate-iot/tollgate/harness/device/wiolte"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	website = "http://tollgate-test-bucket.s3-website-ap-northeast-1.amazonaws.com/hello.txt"
	objects = "https://tollgate-test-bucket.s3-ap-northeast-1.amazonaws.com/hello.txt"
	beam    = "http://beam.soracom.io:8888/"
	socket  = "beam.soracom.io:23080"
)

// rig is a world with its driver, its console and a capture of its mirror.
type rig struct {
	t      *testing.T
	world  *sim.World
	device bench.Device
	lines  chan bench.Line
	reader sync.WaitGroup

	mu      sync.Mutex
	console []string

	capture *trace.Capture
	readErr error
	done    chan struct{}
}

func newRig(t *testing.T, o sim.Options) *rig {
	t.Helper()
	w, err := sim.New(o)
	require.NoError(t, err)
	r := &rig{t: t, world: w, lines: make(chan bench.Line), done: make(chan struct{})}
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	stream := w.Mirror()
	go func() {
		defer close(r.done)
		r.capture, r.readErr = trace.Read(stream, "mirror", trace.Options{
			KeepFlows: true, KeepPackets: true, Devices: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		})
	}()
	port := func() (string, error) { return w.Port(), nil }
	r.device = wiolte.New(wiolte.Options{Port: port, Clock: w.Clock()})
	if w.Model() != "wio-lte" {
		r.device = trigger.New(trigger.Options{Port: port, Clock: w.Clock()})
	}
	r.reader.Go(func() {
		for l := range r.lines {
			r.mu.Lock()
			r.console = append(r.console, l.Text)
			r.mu.Unlock()
		}
	})
	require.NoError(t, r.device.Open(t.Context(), r.lines))
	t.Cleanup(func() {
		require.NoError(t, r.device.Close())
		close(r.lines)
		r.reader.Wait()
	})
	return r
}

// do carries out a verb with its defaults.
func (r *rig) do(verb string, args map[string]string) (string, error) {
	r.t.Helper()
	specs := r.device.Verbs()
	i := slices.IndexFunc(specs, func(v plan.VerbSpec) bool { return v.Name == verb })
	require.GreaterOrEqual(r.t, i, 0, verb)
	full := map[string]string{}
	for _, a := range specs[i].Args {
		full[a.Name] = a.Default
	}
	for k, v := range args {
		full[k] = v
	}
	ctx, cancel := r.world.Clock().WithTimeout(r.t.Context(), specs[i].Timeout)
	defer cancel()
	return r.device.Do(ctx, verb, full)
}

func (r *rig) must(verb string, args map[string]string) string {
	r.t.Helper()
	answer, err := r.do(verb, args)
	require.NoError(r.t, err, verb)
	return answer
}

func (r *rig) sleep(d time.Duration) {
	r.t.Helper()
	require.NoError(r.t, r.world.Clock().Sleep(r.t.Context(), d))
}

// sim is the world's one SIM.
func (r *rig) sim() api.SIM { return r.world.Carrier().SIMs()[0] }

// finish ends the world and gives what the mirror showed.
func (r *rig) finish() *trace.Capture {
	r.t.Helper()
	require.NoError(r.t, r.world.Close())
	<-r.done
	require.NoError(r.t, r.readErr)
	return r.capture
}

func (r *rig) shown() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.console)
}

// only gives the one TCP flow to a port.
func only(t *testing.T, c *trace.Capture, port uint16) *flow.Flow {
	t.Helper()
	var found []*flow.Flow
	for _, f := range c.Flows {
		if f.Peer.Port() == port {
			found = append(found, f)
		}
	}
	require.Len(t, found, 1, "flows to port %d", port)
	return found[0]
}

// payloads are transport payload bytes up and down: what scheduling can't change.
func payloads(f *flow.Flow) [2]uint64 {
	return [2]uint64{f.Sides[flow.Up].Payload, f.Sides[flow.Down].Payload}
}

func TestBeamHTTPEndsCleanly(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	address := r.must("activate", nil)
	require.Equal(t, "hello", r.must("http_get", map[string]string{"url": beam}))
	r.sleep(90 * time.Second)
	c := r.finish()

	f := only(t, c, 8888)
	require.Equal(t, address, f.Device.Addr().String())
	require.Equal(t, "beam.soracom.io", f.Name)
	require.Equal(t, flow.Clean, f.Close)
	require.Equal(t, flow.Down, f.FirstClose)
	require.Equal(t, [2]uint64{111, 379}, payloads(f))
	require.Zero(t, f.Sides[flow.Up].RST)
	require.Contains(t, r.shown(), "Connected.")
	require.Contains(t, r.shown(), "Send OK 5 hello")
	requireSound(t, c)
}

// requireSound holds a capture to show nothing that only a busy machine could have caused, and nothing missing.
func requireSound(t *testing.T, c *trace.Capture) {
	t.Helper()
	require.Zero(t, c.Undecodable)
	require.Zero(t, c.Duplicates)
	require.NotEqual(t, trace.Broken, c.Completeness.State, "%v", c.Completeness.Reasons)
	for _, f := range c.Flows {
		require.Zero(t, f.Sides[flow.Up].Missing+f.Sides[flow.Down].Missing)
	}
}

func TestWebsiteIsResetAMinuteAfterTheClose(t *testing.T) {
	t.Parallel()
	for _, firmware := range []string{"stock", "patched"} {
		t.Run(firmware, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sim.Options{Firmware: firmware})
			r.must("activate", nil)
			r.must("http_get", map[string]string{"url": website})
			r.sleep(90 * time.Second)
			c := r.finish()

			f := only(t, c, 80)
			require.Equal(t, flow.Up, f.FirstClose)
			require.Equal(t, [2]uint64{160, 338}, payloads(f))
			if firmware == "patched" {
				require.Equal(t, flow.Clean, f.Close)
				return
			}
			require.Equal(t, flow.ResetAfterClose, f.Close)
			require.Equal(t, 1, f.Sides[flow.Up].RST)
			last := f.Packets[len(f.Packets)-1]
			require.Equal(t, flow.Reset, last.Phase)
			require.InDelta(t, 60, time.Duration(last.Time-f.ClosedAt).Seconds(), 1)
			requireSound(t, c)
		})
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Mirror: sim.MirrorOptions{Join: true}})
	r.must("activate", nil)
	require.Equal(t, "hello", r.must("http_get", map[string]string{"url": objects}))
	r.sleep(90 * time.Second)
	c := r.finish()

	f := only(t, c, 443)
	require.Equal(t, uint16(0x0303), f.TLS.Version)
	require.Greater(t, f.TLS.Certificate, 3000)
	require.Equal(t, flow.ResetAfterClose, f.Close)
	require.Equal(t, uint64(3781+418+31), payloads(f)[1], "handshake, response and alert, as in the table")
	joined := 0
	for _, p := range f.Packets {
		if p.Mark&flow.Joined != 0 {
			joined++
			require.Equal(t, uint32(2768), p.Wire)
		}
	}
	require.Equal(t, 1, joined)
	requireSound(t, c)
}

func TestSocketIsResetAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	require.Equal(t, "200 hello\n", r.must("tcp", map[string]string{"to": socket, "send": "hello", "reply": `^2\d\d`}))
	r.sleep(5 * time.Second)
	c := r.finish()

	f := only(t, c, 23080)
	require.Equal(t, flow.ResetAfterClose, f.Close)
	last := f.Packets[len(f.Packets)-1]
	require.Less(t, time.Duration(last.Time-f.ClosedAt), time.Second)
	require.Contains(t, r.shown(), "### Close ERROR! ###")
	require.Equal(t, [2]uint64{5, 10}, payloads(f))
}

func TestDatagramsAndOneLookupForEachSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	for range 3 {
		require.Equal(t, "200 hello", r.must("udp", map[string]string{"to": socket, "send": "hello"}))
	}
	r.must("deactivate", nil)
	require.Equal(t, "inactive", r.must("status", nil))
	r.must("activate", nil)
	r.must("udp", map[string]string{"to": socket, "send": "hello"})
	c := r.finish()

	queries := 0
	for _, f := range c.Flows {
		queries += len(f.Queries)
	}
	require.Equal(t, 2, queries, "one look-up for each session")
	require.Len(t, c.Devices, 2, "an address for each session")
}

func TestDeviceFailures(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	for _, c := range []struct{ verb, key, value, want string }{
		{"udp", "to", socket, "no data session"},
		{"http_get", "url", beam, "no data session"},
	} {
		_, err := r.do(c.verb, map[string]string{c.key: c.value, "send": "x"})
		var device *bench.DeviceError
		require.ErrorAs(t, err, &device)
		require.Contains(t, device.Reason, c.want)
	}
	r.must("activate", nil)
	for _, c := range []struct{ verb, key, value, want string }{
		{"http_get", "url", "http://no-such-name.example/", "look up no-such-name.example"},
		{"http_get", "url", "http://tollgate-test-bucket.s3-website-ap-northeast-1.amazonaws.com/none", "404"},
		{"http_get", "url", "ftp://x/", "no http or https URL"},
		{"tcp", "to", "beam.soracom.io:9", "refused"},
		{"udp", "to", "beam.soracom.io:9", "no reply within 5s"},
	} {
		_, err := r.do(c.verb, map[string]string{c.key: c.value, "send": "x"})
		var device *bench.DeviceError
		require.ErrorAs(t, err, &device, c.value)
		require.Contains(t, device.Reason, c.want)
	}
	_, err := r.do("udp", map[string]string{"to": socket, "send": "hello", "reply": "^5"})
	require.ErrorContains(t, err, `does not match "^5"`)
	require.Contains(t, r.shown(), "Send NG")
	require.Contains(t, r.shown(), "### Connect ERROR! ###")
	require.Contains(t, r.shown(), "### RECEIVE TIMEOUT! ###")
}

// What the carrier counted is what the mirror copied, in SORACOM's account, to the byte.
func TestCarrierCountsWhatTheMirrorShows(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	r.must("http_get", map[string]string{"url": website})
	r.must("udp", map[string]string{"to": socket, "send": "hello"})
	res, err := r.sim().Ping(t.Context(), 2, time.Second)
	require.NoError(t, err)
	require.Equal(t, 2, res.Received)
	require.Positive(t, res.RTT)
	r.sleep(5 * time.Second)
	var up, down api.Usage
	for _, s := range r.sim().Traffic(time.Time{}, time.Time{}) {
		up.Packets, up.Bytes = up.Packets+s.Up.Packets, up.Bytes+s.Up.Bytes
		down.Packets, down.Bytes = down.Packets+s.Down.Packets, down.Bytes+s.Down.Bytes
	}
	c := r.finish()
	total := c.Total.Tally
	require.Equal(t, api.Usage{Packets: total[flow.Up].Packets, Bytes: trace.Soracom.Bytes(flow.Up, total[flow.Up])}, up)
	require.Equal(t, api.Usage{Packets: total[flow.Down].Packets, Bytes: trace.Soracom.Bytes(flow.Down, total[flow.Down])}, down)
}

func TestDeviceComesBack(t *testing.T) {
	t.Parallel()
	for _, lag := range []time.Duration{0, 30 * time.Second} {
		t.Run(lag.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sim.Options{Carrier: sim.CarrierOptions{DeletedLag: lag}})
			first := r.must("activate", nil)
			r.must("udp", map[string]string{"to": socket, "send": "hello"})
			cut := r.world.Clock().Now()
			require.NoError(t, r.sim().DeleteSession())
			r.sleep(60 * time.Second)
			status := r.must("status", nil)
			require.NotEqual(t, "active "+first, status)
			require.Contains(t, status, "active 10.")
			checkEvents(t, r.sim().Events(cut.Add(-time.Hour), time.Time{}), lag)
			c := r.finish()

			require.Len(t, c.Devices, 2)
			back := c.Devices[1]
			require.Equal(t, status, "active "+back.Address.String())
			f := c.Flows[back.Flows[0]]
			require.Less(t, time.Unix(0, f.Start).Sub(cut), 30*time.Second)
			require.Len(t, f.Queries, 1, "what was known of names went with the session")
			require.Contains(t, r.shown(), "### Disconnected. ###")
		})
	}
}

// checkEvents holds session events to pair by session, and a Deleted that lags to be later than the next Created.
func checkEvents(t *testing.T, events []api.Event, lag time.Duration) {
	t.Helper()
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, string(e.Kind))
	}
	want := []string{"Created", "Deleted", "Created"}
	if lag > 0 {
		want = []string{"Created", "Created", "Deleted"}
	}
	require.Equal(t, want, kinds)
	deleted, created := slices.Index(kinds, "Deleted"), 1+slices.Index(kinds[1:], "Created")
	require.Equal(t, events[0].Session.ID, events[deleted].Session.ID)
	require.NotEqual(t, events[0].Session.ID, events[created].Session.ID)
	require.Equal(t, lag > 0, events[deleted].Time.After(events[created].Time))
}

func TestDeviceStaysAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Firmware: "no-reconnect"})
	r.must("activate", nil)
	require.NoError(t, r.sim().DeleteSession())
	r.sleep(5 * time.Minute)
	require.Equal(t, "inactive", r.must("status", nil))
	require.ErrorIs(t, r.sim().DeleteSession(), api.ErrOffline)
	_, err := r.sim().Ping(t.Context(), 1, time.Second)
	require.ErrorIs(t, err, api.ErrOffline)
}

func TestKeptAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Carrier: sim.CarrierOptions{KeepAddress: true}})
	first := r.must("activate", nil)
	require.NoError(t, r.sim().DeleteSession())
	r.sleep(60 * time.Second)
	require.Equal(t, "active "+first, r.must("status", nil))
}

func TestSuspendedSIMHasNoSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	require.NoError(t, r.sim().SetStatus(api.StatusSuspended))
	r.sleep(30 * time.Second)
	require.Nil(t, r.sim().Info().Session)
	require.NoError(t, r.sim().SetStatus(api.StatusActive))
	r.sleep(60 * time.Second)
	require.NotNil(t, r.sim().Info().Session, "the sketch tries again and again")
}

func TestSpeedClassSlowsTheAir(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	require.ErrorIs(t, r.sim().SetSpeedClass("s1.light"), api.ErrUnsupported)
	took := map[string]time.Duration{}
	for _, class := range []string{"s1.4xfast", "s1.minimum"} {
		require.NoError(t, r.sim().SetSpeedClass(class))
		begin := r.world.Clock().Now()
		r.must("http_get", map[string]string{"url": objects})
		took[class] = r.world.Clock().Now().Sub(begin)
	}
	// 5.7 kB take a second and a half at 32 kbit/s
	require.Greater(t, took["s1.minimum"], took["s1.4xfast"]+time.Second)
	classes := map[string]bool{}
	for _, s := range r.sim().Traffic(time.Time{}, time.Time{}) {
		classes[s.SpeedClass] = true
	}
	require.Contains(t, classes, "s1.minimum")
}

func TestMultiunitNeverAnswersTheFIN(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Personality: "gps-multiunit"})
	r.must("power_on", nil)
	_, err := r.do("power_on", nil)
	require.ErrorContains(t, err, "on already")
	r.sleep(4 * time.Minute)
	r.must("power_off", nil)
	c := r.finish()

	upload := only(t, c, 23080)
	require.Equal(t, [2]uint64{98, 3}, payloads(upload))
	f := only(t, c, 80)
	require.Equal(t, "metadata.soracom.io", f.Name)
	require.Equal(t, flow.HalfClosed, f.Close)
	require.Equal(t, 9, f.Sides[flow.Down].FIN)
	require.Zero(t, f.Sides[flow.Up].FIN+f.Sides[flow.Up].RST+f.Sides[flow.Down].RST)
	require.Equal(t, [2]uint64{247, 898}, payloads(f))
}

func TestButtonIsFourPackets(t *testing.T) {
	t.Parallel()
	for kind, payload := range map[string]string{"single": "M\x01\x03Q", "double": "M\x02\x03Q", "long": "M\x03\x03Q"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			require.Len(t, payload, 4)
			r := newRig(t, sim.Options{Personality: "button"})
			r.must("click", map[string]string{"kind": kind})
			r.sleep(30 * time.Second)
			r.must("click", map[string]string{"kind": kind})
			r.sleep(30 * time.Second)
			c := r.finish()
			require.Len(t, c.Devices, 1, "the address stays")
			tally := c.Devices[0].Tally
			require.Equal(t, flow.Tally{Packets: 4, Bytes: 2 * (195 - 72), AirPackets: 4, AirBytes: 2 * (195 - 72)}, tally[flow.Up])
			require.Equal(t, flow.Tally{Packets: 4, Bytes: 2 * 138, AirPackets: 4, AirBytes: 2 * 138}, tally[flow.Down])
		})
	}
}

func TestUnknownClick(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Personality: "button"})
	_, err := r.do("click", map[string]string{"kind": "triple"})
	require.ErrorContains(t, err, "single, double and long")
	_, err = r.do("power_on", nil)
	require.ErrorContains(t, err, "unknown verb")
}

func TestNoSuchWorld(t *testing.T) {
	t.Parallel()
	_, err := sim.New(sim.Options{Personality: "toaster"})
	require.ErrorContains(t, err, "button, gps-multiunit, wio-lte")
	_, err = sim.New(sim.Options{Firmware: "0.1"})
	require.ErrorContains(t, err, "stock, patched, no-reconnect")
}

func TestManyWorlds(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			w, err := sim.New(sim.Options{Seed: uint64(i)})
			if err != nil {
				t.Error(err)
				return
			}
			if err := w.Clock().Sleep(context.Background(), 10*time.Second); err != nil {
				t.Error(fmt.Errorf("world %d: %w", i, err))
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
