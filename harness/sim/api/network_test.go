package api_test

import (
	"context"
	"maps"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/capture/pipe"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/device/wiolte"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
	"github.com/tollgate-iot/tollgate/harness/sim/api/apitest"
)

// whole is the simulated bench with its device on the network: driver, client and tap as a run has them.
type whole struct {
	*testing.T
	world   *sim.World
	device  *wiolte.Device
	carrier *soracom.Carrier
	tap     *pipe.Tap
	address netip.Addr

	mu      sync.Mutex
	decoder *packet.Decoder
	counts  flow.Both[api.Usage] // of the mirror's packets, as billed
	pings   int                  // echo requests to the device
	devices map[netip.Addr]bool  // every address that the device had
}

// serve is api.Serve, or the same with the definition between client and API where it is to be had.
func serve(t *testing.T, w *sim.World, d *apitest.Definition) (url string, c api.Credentials) {
	t.Helper()
	s, err := api.Serve(w.Carrier(), api.Options{StatsEvery: time.Second, Hold: w.Hold})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	if d == nil {
		return s.URL(), s.Credentials()
	}
	checked := httptest.NewServer(d.Handler(t, s.API))
	t.Cleanup(checked.Close)
	return checked.URL, s.Credentials()
}

func newWhole(t *testing.T, d *apitest.Definition) *whole {
	t.Helper()
	world, err := sim.New(sim.Options{Seed: 1})
	if err != nil {
		t.Skip("the simulated bench does not run here: ", err)
	}
	t.Cleanup(func() { require.NoError(t, world.Close()) })
	b := &whole{T: t, world: world, decoder: packet.NewDecoder(packet.Options{}), devices: map[netip.Addr]bool{}}
	url, c := serve(t, world, d)
	b.carrier, err = soracom.New(soracom.Options{
		SIM: world.Carrier().SIMs()[0].Info().IMSI, Endpoint: url, Clock: world.Clock(),
		Credentials: soracom.Credentials{AuthKeyID: c.AuthKeyID, AuthKey: c.AuthKey},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.carrier.Close()) })
	b.tap, err = pipe.New(pipe.Options{Name: "mirror", Reader: world.Mirror()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.tap.Close()) })
	require.NoError(t, b.tap.Start(b.limited(), b.see))
	b.open()
	b.activate()
	return b
}

// limited gives a context that ends when something hangs.
func (b *whole) limited() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	b.Cleanup(cancel)
	return ctx
}

// open opens the device; its console is read and let go.
func (b *whole) open() {
	b.Helper()
	b.device = wiolte.New(wiolte.Options{Port: func() (string, error) { return b.world.Port(), nil }, Clock: b.world.Clock()})
	lines, stop, stopped := make(chan bench.Line), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-lines:
			case <-stop:
				return
			}
		}
	}()
	b.Cleanup(func() {
		require.NoError(b, b.device.Close())
		close(stop)
		<-stopped
	})
	require.NoError(b, b.device.Open(b.limited(), lines))
}

// try has the device carry out a verb, its arguments as a plan would give them.
func (b *whole) try(verb string, args map[string]string) error {
	all := map[string]string{}
	for _, v := range b.device.Verbs() {
		for _, a := range v.Args {
			if v.Name == verb && a.Default != "" {
				all[a.Name] = a.Default
			}
		}
	}
	maps.Copy(all, args)
	_, err := b.device.Do(b.limited(), verb, all)
	return err
}

func (b *whole) do(verb string, args map[string]string) {
	b.Helper()
	require.NoError(b, b.try(verb, args))
}

// activate brings the device onto the network and asks the carrier where it is. A device whose session was cut notices
// that only after a while, and till then holds itself to be active.
func (b *whole) activate() {
	b.Helper()
	for {
		b.do("activate", nil)
		address, err := b.carrier.Address(b.limited())
		require.NoError(b, err)
		if address.IsValid() {
			b.address = address
			return
		}
		require.NoError(b, b.world.Clock().Sleep(b.limited(), time.Second))
	}
}

// see counts a mirrored packet as the carrier bills it. All that the mirror has is the device's.
func (b *whole) see(r pcap.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var p packet.Packet
	if b.decoder.Decode(&packet.Frame{Number: r.Number, Time: r.Time, Link: uint16(r.Link), Data: r.Data, Length: r.Length}, &p) != packet.Decoded {
		b.Errorf("the mirror's frame %d can't be decoded", r.Number)
		return
	}
	dir, billed := flow.Down, 0
	if from := p.Src.Netip(); from.IsPrivate() && from.Is4() && from.As4()[0] == 10 {
		dir, billed = flow.Up, 36
		b.devices[from] = true
	}
	b.counts[dir].Packets++
	b.counts[dir].Bytes += uint64(p.WireLen + billed)
	if p.Kind == packet.ICMP && p.ICMPType == 8 && p.Dst.Netip() == b.address {
		b.pings++
	}
}

// told waits on the bench's clock until an event is told, other than of the session named.
func (b *whole) told(name string, since time.Time, not string) bench.Event {
	b.Helper()
	for {
		events, err := b.carrier.Events(b.limited(), since)
		require.NoError(b, err)
		for _, e := range events {
			if e.Name == name && e.SessionID != not {
				return e
			}
		}
		require.NoError(b, b.world.Clock().Sleep(b.limited(), time.Second))
	}
}

// TestCutOnTheSimulatedNetwork: the session is deleted through the API; the network ends it, tells so, and the device
// comes back with another session and address; what the carrier counted is what the mirror carried.
func TestCutOnTheSimulatedNetwork(t *testing.T) {
	b := newWhole(t, nil)
	begin := b.world.Clock().Now().Add(-time.Hour)
	udp := map[string]string{"to": "beam.soracom.io:23080", "send": "hello"}
	b.do("udp", udp)
	b.do("http_get", map[string]string{"url": "http://beam.soracom.io:8888/"})
	first := b.told("session.created", begin, "")
	require.Equal(t, b.address, first.Address)
	require.NoError(t, b.carrier.Canary(b.limited()))

	cut := b.world.Clock().Now()
	id, err := b.carrier.Do(b.limited(), "delete_session", nil)
	require.NoError(t, err)
	require.Equal(t, first.SessionID, id)
	deleted := b.told("session.deleted", cut.Add(-time.Millisecond), "")
	require.Equal(t, id, deleted.SessionID)
	require.Equal(t, first.Address, deleted.Address)

	// What the device does about it is its firmware's matter; in the end it has another session.
	_ = b.try("udp", udp)
	b.activate()
	again := b.told("session.created", cut, id)
	require.Equal(t, b.address, again.Address)
	b.do("udp", udp)

	require.NoError(t, b.world.Clock().Sleep(b.limited(), 3*time.Second))
	require.NoError(t, b.tap.Flush(b.limited()))
	counted, err := b.carrier.Stats(b.limited(), begin, b.world.Clock().Now())
	require.NoError(t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range []flow.Direction{flow.Up, flow.Down} {
		require.NotZero(t, b.counts[d].Packets)
		require.Equal(t, b.counts[d], api.Usage{Packets: counted.Packets[d], Bytes: counted.Bytes[d]}, "%s", d)
	}
	require.Equal(t, 1, b.pings, "the canary passed the mirror")
	require.Equal(t, map[netip.Addr]bool{first.Address: true, again.Address: true}, b.devices)
	require.NoError(t, b.tap.Err())
}

// TestSimulatedNetworkFitsTheDefinition has the simulated network's own answers pass the carrier's definition.
func TestSimulatedNetworkFitsTheDefinition(t *testing.T) {
	b := newWhole(t, apitest.Load(t))
	begin := b.world.Clock().Now()
	for _, verb := range []string{"ping", "delete_session", "suspend", "activate", "deactivate", "set_to_standby"} {
		_, err := b.carrier.Do(b.limited(), verb, nil)
		require.NoError(t, err, verb)
		if verb == "delete_session" {
			b.told("session.deleted", begin, "")
		}
	}
	_, err := b.carrier.Do(b.limited(), "set_speed_class", map[string]string{"class": "s1.slow"})
	require.NoError(t, err)
	address, err := b.carrier.Address(b.limited())
	require.NoError(t, err)
	require.False(t, address.IsValid(), "out of service")
	require.NoError(t, b.world.Clock().Sleep(b.limited(), 3*time.Second))
	_, err = b.carrier.Stats(b.limited(), begin.Add(-time.Minute), b.world.Clock().Now())
	require.NoError(t, err)
}

// TestPromisesOnTheSimulatedNetwork holds the client to bench.Carrier with a live network behind the API.
func TestPromisesOnTheSimulatedNetwork(t *testing.T) {
	benchtest.Carrier(t, func(t *testing.T) benchtest.CarrierFixture {
		b := newWhole(t, nil)
		return benchtest.CarrierFixture{
			Carrier: b.carrier, Clock: b.world.Clock(), Address: b.address,
			Cut:       benchtest.Call{Verb: "delete_session"},
			Reconnect: func(*testing.T) { b.activate() },
			Harmless:  benchtest.Call{Verb: "ping", Args: map[string]string{"count": "1"}},
			Traffic: func(t *testing.T) {
				b.do("udp", map[string]string{"to": "beam.soracom.io:23080", "send": "hello"})
				require.NoError(t, b.world.Clock().Sleep(b.limited(), 3*time.Second))
			},
		}
	})
}
