package afpacket_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/capture/lab"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

const within = 20 * time.Second

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// cable is a link between two namespaces: the tap is at its near end.
type cable struct {
	near, far *lab.Namespace
}

func newCable(t *testing.T, mtu int) cable {
	lab.Require(t)
	near, far := lab.Cable(t, mtu)
	return cable{near, far}
}

// start starts a tap at the near end.
func (c cable) start(t *testing.T, o afpacket.Options, sink func(pcap.Record)) *afpacket.Tap {
	t.Helper()
	o.Interface = "m0"
	tap, err := afpacket.New(o)
	require.NoError(t, err)
	require.NoError(t, c.near.Do(func() error { return tap.Start(limited(t), sink) }))
	t.Cleanup(func() { require.NoError(t, tap.Close()) })
	return tap
}

// near is a sender on the tap's own interface: what it sends is with the tap when it returns.
func (c cable) sender(t *testing.T, from *lab.Namespace, name string) *lab.Sender {
	t.Helper()
	s, err := lab.NewSender(from, name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// gre wraps a text so that the filter gre takes it.
func gre(text string) []byte {
	b := append(bytes.Repeat([]byte{2}, 12), 0x08, 0x00, 0x45, 0, 0, byte(20+4+len(text)), 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0x65, 0x58)
	return append(b, text...)
}

// TestPromises: what the filter does not take the kernel leaves out, and nobody counts it.
func TestPromises(t *testing.T) {
	lab.Require(t)
	takesGRE, err := filter.New(filter.Options{Words: []string{filter.GRE}})
	require.NoError(t, err)
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		c := newCable(t, 1500)
		tap, err := afpacket.New(afpacket.Options{Interface: "m0", Filter: takesGRE})
		require.NoError(t, err)
		s := c.sender(t, c.near, "m0")
		return benchtest.TapFixture{
			Tap:  inside{tap, c.near},
			Text: func(data []byte) string { return string(data[len(gre("")):]) },
			Send: func(t *testing.T, texts ...string) {
				for _, text := range texts {
					require.NoError(t, s.Send(gre(text)))
				}
			},
			Break: func(*testing.T) { c.near.IP("link", "set", "m0", "down") },
			Mend: func(*testing.T) {
				c.near.IP("link", "set", "m0", "up")
				c.near.Ready("m0")
			},
		}
	})
}

// inside is a tap that starts in a namespace.
type inside struct {
	*afpacket.Tap
	in *lab.Namespace
}

func (i inside) Start(ctx context.Context, sink func(pcap.Record)) error {
	return i.in.Do(func() error { return i.Tap.Start(ctx, sink) })
}

// frames keeps copies of what a tap gives.
type frames struct{ all []pcap.Record }

func (f *frames) take(rec pcap.Record) {
	rec.Data = bytes.Clone(rec.Data)
	f.all = append(f.all, rec)
}

// TestFrames: frames of all sizes come as they were sent, from the other end of the cable, with the kernel's times.
func TestFrames(t *testing.T) {
	c := newCable(t, 65535)
	var got frames
	tap := c.start(t, afpacket.Options{}, got.take)
	require.Equal(t, "m0", tap.Name())
	s := c.sender(t, c.near, "m0")
	var want [][]byte
	began := time.Now()
	for _, size := range []int{14, 15, 60, 1514, 9000, 65535, 65549} {
		frame := append(bytes.Repeat([]byte{2}, 12), 0x88, 0xb5) // a local experiment's Ethernet type
		for len(frame) < size {
			frame = append(frame, byte(len(frame)))
		}
		want = append(want, frame)
		require.NoError(t, s.Send(frame))
	}
	require.NoError(t, tap.Flush(limited(t)))
	ended := time.Now()
	require.Len(t, got.all, len(want))
	for i, rec := range got.all {
		require.Equal(t, want[i], rec.Data)
		require.Len(t, rec.Data, rec.Length)
		require.EqualValues(t, i+1, rec.Number)
		require.Equal(t, pcap.LinkEthernet, rec.Link)
		require.WithinRange(t, time.Unix(0, rec.Time), began, ended)
	}
	require.Equal(t, bench.TapStats{Received: uint64(len(want))}, tap.Stats())
	require.Empty(t, tap.Outages())
}

// TestTags: a tag is where it was sent, whether the kernel keeps it beside the frame (the outermost, received) or in it.
func TestTags(t *testing.T) {
	c := newCable(t, 1500)
	takesGRE, err := filter.New(filter.Options{Words: []string{filter.GRE}})
	require.NoError(t, err)
	var got frames
	tap := c.start(t, afpacket.Options{Filter: takesGRE, Promiscuous: true}, got.take)
	plain := gre("plain")
	var want [][]byte
	for _, tags := range [][]byte{{}, {0x81, 0, 0x60, 5}, {0x88, 0xa8, 0, 7, 0x81, 0, 0, 9}, {0x91, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3}} {
		frame := append(append(append([]byte{}, plain[:12]...), tags...), plain[12:]...)
		want = append(want, frame)
	}
	s := c.sender(t, c.far, "m1")
	for _, frame := range want {
		require.NoError(t, s.Send(frame))
	}
	require.Eventually(t, func() bool { return tap.Stats().Received == uint64(len(want)) }, within, time.Millisecond)
	require.NoError(t, tap.Flush(limited(t)))
	for i, rec := range got.all {
		require.Equal(t, want[i], rec.Data, "frame %d", i)
		require.Equal(t, len(want[i]), rec.Length)
	}
}

// TestSnap: what is cut is counted.
func TestSnap(t *testing.T) {
	c := newCable(t, 1500)
	var got frames
	tap := c.start(t, afpacket.Options{Snap: 40, Buffer: 1}, got.take)
	s := c.sender(t, c.near, "m0")
	frame := gre("a text that is longer than that")
	require.NoError(t, s.Send(frame))
	require.NoError(t, s.Send(frame[:40]))
	require.NoError(t, tap.Flush(limited(t)))
	require.Len(t, got.all, 2, "%+v", tap.Stats())
	require.Equal(t, frame[:40], got.all[0].Data)
	require.Equal(t, len(frame), got.all[0].Length)
	require.Equal(t, bench.TapStats{Received: 2, Truncated: 1}, tap.Stats())
}

// TestBeyondCapacity: the smallest ring and a sink that stands still lose frames; how many is known to the frame.
func TestBeyondCapacity(t *testing.T) {
	c := newCable(t, 1500)
	gate := make(chan struct{})
	var received atomic.Uint64
	tap := c.start(t, afpacket.Options{Buffer: 1}, func(pcap.Record) {
		<-gate
		received.Add(1)
	})
	s := c.sender(t, c.near, "m0")
	const all = 5000
	frame := gre(fmt.Sprintf("%0200d", 0))
	for range all {
		require.NoError(t, s.Send(frame))
	}
	was := tap.Stats()
	require.Positive(t, was.Dropped, "while it lasts, too")
	close(gate)
	require.NoError(t, tap.Flush(limited(t)))
	stats := tap.Stats()
	require.Equal(t, bench.TapStats{Received: received.Load(), Dropped: all - received.Load()}, stats)
	require.Equal(t, was.Dropped, stats.Dropped)
	require.NoError(t, s.Send(frame), "and it goes on")
	require.NoError(t, tap.Flush(limited(t)))
	require.Equal(t, stats.Received+1, tap.Stats().Received)
	require.NoError(t, tap.Close())
	require.Equal(t, stats.Dropped, tap.Stats().Dropped, "still told after Close")
}

// TestNothingAllocated: giving frames costs no memory.
func TestNothingAllocated(t *testing.T) {
	c := newCable(t, 1500)
	tap := c.start(t, afpacket.Options{}, func(pcap.Record) {})
	s := c.sender(t, c.near, "m0")
	frame := gre("text")
	const batch = 1000
	allocs := testing.AllocsPerRun(10, func() {
		for range batch {
			if err := s.Send(frame); err != nil {
				t.Error(err)
			}
		}
		if err := tap.Flush(context.Background()); err != nil {
			t.Error(err)
		}
	})
	require.Less(t, allocs/batch, 0.05, "allocations a frame")
}

func TestStartErrors(t *testing.T) {
	c := newCable(t, 1500)
	start := func(o afpacket.Options) error {
		tap, err := afpacket.New(o)
		require.NoError(t, err)
		err = c.near.Do(func() error { return tap.Start(limited(t), func(pcap.Record) {}) })
		if err == nil {
			require.NoError(t, tap.Close())
		}
		return err
	}
	require.EqualError(t, start(afpacket.Options{Name: "mirror", Interface: "absent"}), "start tap mirror: there is no interface absent: `ip -brief link` lists what there is")
	require.ErrorContains(t, start(afpacket.Options{Interface: "a-name-that-is-too-long"}), "is no interface's name")
	c.far.IP("link", "set", "m1", "down")
	require.ErrorContains(t, start(afpacket.Options{Interface: "m0"}), "interface m0 has no carrier: is it plugged in")
	c.near.IP("link", "set", "m0", "down")
	require.ErrorContains(t, start(afpacket.Options{Interface: "m0"}), "interface m0 is down: `sudo ip link set m0 up`")

	tap, err := afpacket.New(afpacket.Options{Interface: "lo"})
	require.NoError(t, err)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	require.ErrorContains(t, tap.Start(limited(t), func(pcap.Record) {}), "a tap is started once")
	require.NoError(t, tap.Close())
}

// TestWithoutPrivilege: the error names the one command that gives what is missing.
func TestWithoutPrivilege(t *testing.T) {
	tap, err := afpacket.New(afpacket.Options{Name: "mirror", Interface: "lo"})
	require.NoError(t, err)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and with it what is changed of it
		header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(header, &sets[0])
		if err == nil {
			sets[0].Effective &^= 1 << unix.CAP_NET_RAW
			sets[0].Permitted &^= 1 << unix.CAP_NET_RAW
			err = unix.Capset(header, &sets[0])
		}
		if err == nil {
			err = tap.Start(context.Background(), func(pcap.Record) {})
		}
		started <- err
	}()
	err = <-started
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorContains(t, err, "start tap mirror: open a packet socket: operation not permitted: capturing needs CAP_NET_RAW, not root: run `sudo setcap cap_net_raw+ep /")
	require.NoError(t, tap.Close())
}

// TestLoopback: what is sent there is seen once.
func TestLoopback(t *testing.T) {
	lab.Require(t)
	in := lab.New(t, "lo")
	var got frames
	tap, err := afpacket.New(afpacket.Options{Interface: "lo"})
	require.NoError(t, err)
	require.NoError(t, in.Do(func() error { return tap.Start(limited(t), got.take) }))
	s, err := lab.NewSender(in, "lo")
	require.NoError(t, err)
	require.NoError(t, s.Send(gre("once")))
	require.Eventually(t, func() bool { return tap.Stats().Received > 0 }, within, time.Millisecond)
	require.NoError(t, tap.Flush(limited(t)))
	require.Len(t, got.all, 1)
	require.NoError(t, s.Close())
	require.NoError(t, tap.Close())
}

// TestRawIP: an interface without Ethernet gives frames that begin with their IP header, and its filter knows that.
func TestRawIP(t *testing.T) {
	lab.Require(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs tun interfaces: ", err)
	}
	in := lab.New(t, "tun")
	var tun *os.File
	require.NoError(t, in.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("t0")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		tun = os.NewFile(uintptr(fd), "tun")
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}))
	defer func() { require.NoError(t, tun.Close()) }()
	in.IP("link", "set", "t0", "up")
	takesGRE, err := filter.New(filter.Options{Words: []string{filter.GRE}})
	require.NoError(t, err)
	var got frames
	tap, err := afpacket.New(afpacket.Options{Interface: "t0", Filter: takesGRE})
	require.NoError(t, err)
	require.NoError(t, in.Do(func() error { return tap.Start(limited(t), got.take) }))
	wanted := gre("text")[14:]
	other := bytes.Clone(wanted)
	other[9] = unix.IPPROTO_TCP
	for _, b := range [][]byte{other, wanted} {
		_, err := tun.Write(b)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return tap.Stats().Received == 1 }, within, time.Millisecond)
	require.NoError(t, tap.Flush(limited(t)))
	require.NoError(t, tap.Close())
	require.Equal(t, wanted, got.all[0].Data)
	require.Equal(t, pcap.LinkRaw, got.all[0].Link)
}

// TestNotes: an interface that joins segments is told of, with the command that ends it.
func TestNotes(t *testing.T) {
	lab.Require(t, "ethtool")
	c := newCable(t, 1500)
	for state, want := range map[string]string{"off": "[]", "on": "[m0 joins TCP segments (generic receive offload): a captured packet may stand for several, which figures on the air count; `sudo ethtool -K m0 gro off` shows them as they came]"} {
		out, err := c.near.Command("ethtool", "-K", "m0", "gro", state).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, want, fmt.Sprint(c.start(t, afpacket.Options{}, func(pcap.Record) {}).Notes()))
	}
}

// TestOutages: the interface goes down, its other end does, it vanishes and another of its name comes. Each is told, and
// the tap goes on.
func TestOutages(t *testing.T) {
	c := newCable(t, 1500)
	var count atomic.Uint64
	tap := c.start(t, afpacket.Options{Promiscuous: true}, func(pcap.Record) { count.Add(1) })
	over := func(n int) func() bool {
		return func() bool { o := tap.Outages(); return len(o) == n && !o[n-1].To.IsZero() }
	}
	lasts := func(n int, cause string) func() bool {
		return func() bool { o := tap.Outages(); return len(o) == n && o[n-1].To.IsZero() && o[n-1].Cause == cause }
	}
	works := func() {
		c.near.Ready("m0")
		s, err := lab.NewSender(c.near, "m0")
		require.NoError(t, err)
		require.NoError(t, tap.Flush(limited(t)))
		was := count.Load()
		require.NoError(t, s.Send(gre("there")))
		require.NoError(t, tap.Flush(limited(t)))
		require.Equal(t, was+1, count.Load())
		require.NoError(t, s.Close())
	}
	works()
	for i, step := range []struct {
		cause        string
		breaks, ends func()
	}{
		{"interface m0 went down", func() { c.near.IP("link", "set", "m0", "down") }, func() { c.near.IP("link", "set", "m0", "up") }},
		{"interface m0 lost its carrier", func() { c.far.IP("link", "set", "m1", "down") }, func() { c.far.IP("link", "set", "m1", "up") }},
		{"interface m0 vanished", func() { c.near.IP("link", "del", "m0") }, func() { lab.Link(c.near, "m0", c.far, "m1", 1500) }},
	} {
		before := time.Now()
		step.breaks()
		require.Eventually(t, lasts(i+1, step.cause), within, time.Millisecond, step.cause)
		require.ErrorContains(t, tap.Flush(limited(t)), step.cause)
		require.NoError(t, tap.Err())
		broken := time.Now()
		step.ends()
		require.Eventually(t, over(i+1), within, time.Millisecond, step.cause)
		o := tap.Outages()[i]
		require.Equal(t, step.cause, o.Cause)
		require.WithinRange(t, o.From, before.Add(-time.Second), broken)
		require.WithinRange(t, o.To, broken, time.Now())
		works()
	}
	stats := tap.Stats()
	require.Equal(t, count.Load(), stats.Received)
	require.Zero(t, stats.Dropped)
	require.Contains(t, c.near.IP("-d", "link", "show", "m0"), "promiscuity 1", "of the new one too")
}
