package hub

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mirror is a shared tap that gives what the test pushes. It holds a lock while it does, as taps may.
type mirror struct {
	mu       sync.Mutex
	sink     func(pcap.Record)
	startErr error
	err      error
	stats    bench.TapStats
	outages  []bench.Outage
	starts   int
	closes   int
	life     context.Context
	ports    []uint16
}

func (m *mirror) Name() string { return "shared" }

func (m *mirror) Start(ctx context.Context, sink func(pcap.Record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts++
	if m.startErr != nil {
		return m.startErr
	}
	m.sink, m.life = sink, ctx
	return ctx.Err()
}

func (m *mirror) push(frames ...synth.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range frames {
		if m.sink != nil {
			m.stats.Received++
			data := append([]byte(nil), f.Data...)
			m.sink(pcap.Record{Time: f.Time.UnixNano(), Link: pcap.LinkEthernet, Data: data, Length: max(f.Length, len(data))})
			clear(data) // what the sink was given is not its own
		}
	}
}

func (m *mirror) change(f func(*mirror)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *mirror) Flush(ctx context.Context) error { return errors.Join(ctx.Err(), m.Err()) }

func (m *mirror) Stats() bench.TapStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

func (m *mirror) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *mirror) Outages() []bench.Outage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]bench.Outage(nil), m.outages...)
}

func (m *mirror) VXLANPorts() []uint16 { return m.ports }

func (m *mirror) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closes++
	m.sink = nil
	return nil
}

func newHub(o Options) (*Hub, *mirror) {
	m := &mirror{}
	o.Name = "shared"
	o.Open = func() (bench.Tap, error) { return m, nil }
	return New(o), m
}

// said makes datagrams of a device, with texts in them, as a mirror in GRE shows them.
func datagrams(device, peer string, texts ...string) []synth.Frame {
	w := synth.New(synth.Options{Mirror: synth.GRE})
	u := w.UDP(synth.NewHost(device, 1), 40001, synth.NewHost(peer, 1), 23080)
	for _, text := range texts {
		u.Send(synth.Up, []byte(text))
	}
	return w.Frames
}

const (
	deviceA = "10.0.0.2"
	deviceB = "10.0.0.3"
	server  = "203.0.113.9"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// run is a run's tap with what it was given.
type run struct {
	*Tap
	mu  sync.Mutex
	got []string
}

func start(t *testing.T, h *Hub, follows ...string) *run {
	t.Helper()
	r := &run{Tap: h.Tap("run")}
	for _, a := range follows {
		r.Follow(addr(a))
	}
	require.NoError(t, r.Start(t.Context(), r.take))
	return r
}

func (r *run) take(rec pcap.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, strings.TrimRight(string(rec.Data[min(len(rec.Data), 38+42):]), "\x00"))
}

func (r *run) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.got...)
}

func TestPromises(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		h, m := newHub(Options{})
		tap := h.Tap("run")
		tap.Follow(addr(deviceA))
		return benchtest.TapFixture{
			Tap:  tap,
			Send: func(_ *testing.T, texts ...string) { m.push(datagrams(deviceA, server, texts...)...) },
			Unwanted: func(*testing.T) int {
				m.push(datagrams(deviceB, server, "one", "two", "three")...)
				return 3
			},
			Break: func(*testing.T) { m.change(func(m *mirror) { m.err = errors.New("the interface is gone") }) },
			Text: func(data []byte) string {
				if len(data) < 80 {
					return ""
				}
				return strings.TrimRight(string(data[80:]), "\x00")
			},
		}
	})
}

func TestEachRunGetsItsOwn(t *testing.T) {
	h, m := newHub(Options{})
	a, b, both := start(t, h, deviceA), start(t, h, deviceB), start(t, h, deviceA, deviceB)
	m.push(datagrams(deviceA, server, "from a")...)
	m.push(datagrams(server, deviceB, "to b")...)
	m.push(datagrams(deviceA, deviceB, "from a to b")...)
	m.push(datagrams("10.0.0.9", server, "nobody's")...)
	require.Equal(t, []string{"from a", "from a to b"}, a.texts())
	require.Equal(t, []string{"to b", "from a to b"}, b.texts())
	require.Equal(t, []string{"from a", "to b", "from a to b"}, both.texts(), "each once")
	require.Equal(t, bench.TapStats{Received: 2, Filtered: 2}, a.Stats())
	require.Equal(t, bench.TapStats{Received: 3, Filtered: 1}, both.Stats())
	for _, r := range []*run{a, b, both} {
		require.Empty(t, r.Doubt())
		require.NoError(t, r.Close())
	}
	require.Equal(t, bench.TapStats{Received: 2, Filtered: 2}, a.Stats(), "what it said last")
}

func TestAddressesChangeWhileRunning(t *testing.T) {
	h, m := newHub(Options{})
	r := start(t, h)
	m.push(datagrams(deviceA, server, "one", "two")...)
	m.push(datagrams(deviceA, deviceB, "three")...)
	require.Empty(t, r.texts(), "nobody knows whose they are")
	r.Follow(addr(deviceA))
	require.Equal(t, []string{"one", "two", "three"}, r.texts(), "held until somebody asked")
	r.Follow(addr(deviceB), netip.Addr{})
	require.Equal(t, []string{"one", "two", "three"}, r.texts(), "each once")
	m.push(datagrams(deviceB, server, "four")...)
	require.Equal(t, []string{"one", "two", "three", "four"}, r.texts())
	require.Equal(t, bench.TapStats{Received: 4}, r.Stats())
	require.Empty(t, r.Doubt())

	late := start(t, h, deviceA)
	require.Empty(t, late.texts(), "what passed before it began is none of its business")
	require.NoError(t, r.Close())
	m.push(datagrams(deviceB, server, "five")...)
	require.Len(t, r.texts(), 4)
	require.NoError(t, late.Close())
}

// What could not be held until the address was known is told.
func TestLessIsHeldThanPassed(t *testing.T) {
	h, m := newHub(Options{Hold: 1000})
	r := start(t, h)
	for i := range 200 {
		m.push(datagrams("10.0.1."+fmt.Sprint(i%250), server, fmt.Sprintf("packet %03d", i))...)
	}
	r.Follow(addr("10.0.1.199"))
	require.Equal(t, []string{"packet 199"}, r.texts())
	require.Empty(t, r.Doubt(), "all of that address is there")
	r.Follow(addr("10.0.1.7"))
	require.Len(t, r.texts(), 1)
	require.Contains(t, r.Doubt(), "before its address was known")

	next := start(t, h)
	next.Follow(addr("10.0.1.7"))
	require.Empty(t, next.Doubt(), "that was before its time")
	m.push(synth.Frame{Data: append(datagrams("10.0.1.8", server, "long")[0].Data, make([]byte, 2000)...)})
	next.Follow(addr("10.0.1.8"))
	require.NotEmpty(t, next.Doubt(), "longer than all that can be held")
	require.NoError(t, r.Close())
	require.NotEmpty(t, r.Doubt())
	require.NoError(t, next.Close())
}

func TestHoldGivesWhatItHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	held := newHold(5000)
	type kept struct{ number, size int }
	var all []kept
	for i := 1; i <= 600; i++ {
		data := make([]byte, rng.IntN(300))
		for k := range data {
			data[k] = byte(i)
		}
		held.add(key(deviceA), key(server), entry{uint64(i), pcap.Record{Data: data}})
		all = append(all, kept{i, len(data)})
		var got []kept
		held.each(key(deviceA), 0, func(_ packet.Addr, e *entry) {
			require.Equal(t, len(e.record.Data), bytes.Count(e.record.Data, []byte{byte(e.number)}))
			got = append(got, kept{int(e.number), len(e.record.Data)})
		})
		require.NotEmpty(t, got)
		require.Equal(t, all[len(all)-len(got):], got, "the latest, in their order")
		require.Equal(t, uint64(len(all)-len(got)), held.gone(key(deviceA)))
	}
}

func key(s string) packet.Addr { return packet.AddrFrom(addr(s)) }

// ARP, neighbours, fragments and frames without an address.
func TestWhoseIsWhat(t *testing.T) {
	h, m := newHub(Options{})
	r := start(t, h, "10.213.7.42", "fd00::7:42")
	for _, f := range synth.Neighbours(synth.Options{Mirror: synth.Plain}) {
		m.push(f)
	}
	given := r.Stats().Received
	require.Positive(t, given)
	require.Empty(t, r.Doubt())

	fragments := fragmented(t, datagrams("10.213.7.42", server, strings.Repeat("long ", 100))[0])
	m.push(fragments[0])
	require.Equal(t, given, r.Stats().Received, "it waits for the rest: its outer addresses are the mirror's")
	m.push(fragments[1])
	require.Equal(t, given+2, r.Stats().Received)
	m.push(fragmented(t, datagrams("10.0.0.77", server, strings.Repeat("long ", 100))[0])...)
	require.Equal(t, given+2, r.Stats().Received, "another's")

	m.push(synth.Frame{Data: []byte("no frame")})
	require.Contains(t, r.Doubt(), "1 frames of the shared mirror showed no address")
	require.NoError(t, r.Close())
}

// fragmented cuts the outer packet of a frame in two, as a mirror does whose own packets are too large for its link.
func fragmented(t *testing.T, f synth.Frame) []synth.Frame {
	t.Helper()
	const header = 14 + 20
	payload := f.Data[header:]
	require.Greater(t, len(payload), 200)
	piece := func(from, to, flags int) synth.Frame {
		data := append(append([]byte(nil), f.Data[:header]...), payload[from:to]...)
		binary.BigEndian.PutUint16(data[16:], uint16(20+to-from))
		binary.BigEndian.PutUint16(data[20:], uint16(flags|from/8))
		return synth.Frame{Time: f.Time, Data: data}
	}
	return []synth.Frame{piece(0, 200, 0x2000), piece(200, len(payload), 0)}
}

func TestTheSharedTapLivesAsLongAsItIsNeeded(t *testing.T) {
	for name, keep := range map[string]bool{"ended with the last run": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			h, m := newHub(Options{Keep: keep})
			require.NoError(t, h.Tap("unused").Close())
			require.Zero(t, m.starts)
			first, cancel := context.WithCancel(t.Context())
			a := h.Tap("a")
			require.NoError(t, a.Start(first, func(pcap.Record) {}))
			b := start(t, h, deviceB)
			require.Equal(t, 1, m.starts)
			cancel()
			require.NoError(t, m.life.Err(), "the first run's context is not the shared tap's")
			require.NoError(t, a.Close())
			m.push(datagrams(deviceB, server, "goes on")...)
			require.Equal(t, []string{"goes on"}, b.texts())
			require.NoError(t, b.Close())
			if keep {
				require.Zero(t, m.closes)
			} else {
				require.Equal(t, 1, m.closes)
				require.Error(t, m.life.Err())
			}
			c := start(t, h, deviceA)
			if keep {
				require.Equal(t, 1, m.starts)
			} else {
				require.Equal(t, 2, m.starts)
			}
			m.push(datagrams(deviceA, server, "again")...)
			require.Equal(t, []string{"again"}, c.texts())
			require.NoError(t, h.Close())
			require.ErrorIs(t, c.Err(), ErrClosed)
			require.NoError(t, c.Close())
			require.ErrorIs(t, h.Tap("late").Start(t.Context(), func(pcap.Record) {}), ErrClosed)
			require.NoError(t, h.Close())
		})
	}
}

func TestTroubleOfTheSharedTap(t *testing.T) {
	h, m := newHub(Options{})
	m.startErr = errors.New("no permission")
	require.ErrorIs(t, h.Tap("a").Start(t.Context(), func(pcap.Record) {}), m.startErr)
	m.startErr = nil

	m.change(func(m *mirror) { m.stats.Dropped = 7 })
	a := start(t, h, deviceA)
	m.change(func(m *mirror) { m.stats.Dropped = 10 })
	b := start(t, h, deviceB)
	m.change(func(m *mirror) { m.stats.Dropped = 11 })
	require.EqualValues(t, 4, a.Stats().Dropped, "what was lost before it began is none of its business")
	require.EqualValues(t, 1, b.Stats().Dropped)
	require.NoError(t, a.Close())
	m.change(func(m *mirror) { m.stats.Dropped = 20 })
	require.EqualValues(t, 4, a.Stats().Dropped)
	require.EqualValues(t, 10, b.Stats().Dropped)

	m.change(func(m *mirror) { m.err = errors.New("the interface is gone") })
	require.ErrorContains(t, b.Err(), "the interface is gone")
	require.ErrorContains(t, h.Tap("c").Start(t.Context(), func(pcap.Record) {}), "ended by itself")
	require.NoError(t, b.Close())
	require.Error(t, b.Err(), "still told after Close")
	m.change(func(m *mirror) { m.err = nil })
	c := start(t, h, deviceA)
	require.NoError(t, c.Err())
	require.NoError(t, c.Close())
	h.o.Open = func() (bench.Tap, error) { return nil, errors.New("no such interface") }
	require.ErrorContains(t, h.Tap("d").Start(t.Context(), func(pcap.Record) {}), "open shared tap shared: no such interface")
	require.Nil(t, h.Tap("d").VXLANPorts())
}

func TestOutagesOfARunsTime(t *testing.T) {
	h, m := newHub(Options{})
	early := bench.Outage{From: time.Now().Add(-time.Hour), To: time.Now().Add(-time.Minute), Cause: "early"}
	m.outages = []bench.Outage{early}
	r := start(t, h, deviceA)
	require.Empty(t, r.Outages())
	later := bench.Outage{From: time.Now(), Cause: "lasts"}
	m.change(func(m *mirror) { m.outages = append(m.outages, later) })
	require.Equal(t, []bench.Outage{later}, r.Outages())
	require.NoError(t, r.Close())
	m.change(func(m *mirror) { m.outages = nil })
	require.Equal(t, []bench.Outage{later}, r.Outages())
}

func TestPortsAreKnownBeforeStart(t *testing.T) {
	h, m := newHub(Options{})
	m.ports = []uint16{8472}
	require.Equal(t, []uint16{8472}, h.Tap("a").VXLANPorts())
	r := start(t, h)
	require.Equal(t, []uint16{8472}, r.VXLANPorts())
	require.NoError(t, r.Close())
	require.Equal(t, []uint16{8472}, r.VXLANPorts())
	require.NoError(t, h.Close())
	require.Equal(t, 2, m.closes, "the one that was started, and the one that was only asked")
	require.Nil(t, r.VXLANPorts())
}

// The mirror's numbers run over all devices: only the hub can tell of a gap in them.
func TestMirrorsNumbers(t *testing.T) {
	h, m := newHub(Options{Clock: fixedClock{synth.Epoch}})
	w := synth.New(synth.Options{Mirror: synth.GRESeq})
	mine, others := w.UDP(synth.NewHost(deviceA, 1), 1, synth.NewHost(server, 1), 2), w.UDP(synth.NewHost(deviceB, 1), 1, synth.NewHost(server, 1), 2)
	for range 4 {
		mine.Send(synth.Up, []byte("mine"))
		others.Send(synth.Up, []byte("others"))
	}
	r := start(t, h, deviceA)
	require.Nil(t, h.Tap("unstarted").Mirror())
	m.push(w.Frames[:4]...)
	require.Contains(t, r.Mirror().Whole, "without a gap over all 4 packets")
	m.push(w.Frames[5:]...)
	e := r.Mirror()
	require.Empty(t, e.Whole)
	require.Len(t, e.Holes, 1)
	require.Equal(t, trace.HoleGRE, e.Holes[0].Kind)
	require.NoError(t, r.Close())
	require.Equal(t, e, r.Mirror())
}

type fixedClock struct{ now time.Time }

func (c fixedClock) Now() time.Time                                   { return c.now }
func (c fixedClock) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }
func (c fixedClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}
