package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ bench.Tap      = (*Tap)(nil)
	_ bench.Noting   = (*Tap)(nil)
	_ bench.Doubtful = (*Tap)(nil)
	_ bench.Ported   = (*Tap)(nil)
)

const within = 20 * time.Second

// limited gives a context for what must not hang.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// inVXLAN puts a frame behind a VXLAN header.
func inVXLAN(vni uint32, frame string) []byte {
	b := append([]byte{0x08, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, vni<<8)...)
	return append(b, frame...)
}

// inGRE puts a frame behind a GRE header with a key and a sequence number (RFC 2890).
func inGRE(key uint32, frame string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0x30, 0, 0x65, 0x58}, key)
	return append(append(b, 0, 0, 0, 1), frame...)
}

const beginText = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5text " // an Ethernet header of a type for experiments

func textOf(data []byte) string {
	_, text, ok := strings.Cut(string(data), beginText)
	if !ok {
		return ""
	}
	return text
}

// far is a mirror at the far end.
type far struct {
	net.Conn
	echo *net.UDPConn
}

// newFar makes a mirror that sends to a tap.
func newFar(t testing.TB, to netip.AddrPort) *far {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	require.NoError(t, err)
	echo, err := net.ListenUDP("udp", &net.UDPAddr{IP: conn.LocalAddr().(*net.UDPAddr).IP})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()); require.NoError(t, echo.Close()) })
	return &far{conn, echo}
}

// send sends datagrams and returns when they are in the queue of the socket that they were sent to. Whatever one processor
// puts on the loopback interface comes out of it in order: a datagram to ourselves, sent after them by the same one, does
// so after them.
func (f *far) send(t testing.TB, datagrams ...[]byte) {
	t.Helper()
	defer onOneProcessor(t)()
	for _, b := range datagrams {
		_, err := f.Write(b)
		require.NoError(t, err)
	}
	_, err := f.echo.WriteTo([]byte("echo"), f.echo.LocalAddr())
	require.NoError(t, err)
	require.NoError(t, f.echo.SetReadDeadline(time.Now().Add(within)))
	_, _, err = f.echo.ReadFrom(make([]byte, 8))
	require.NoError(t, err)
}

func fixture(t *testing.T, o Options, change func(*Tap)) benchtest.TapFixture {
	tap, err := NewVXLAN(o)
	require.NoError(t, err)
	if change != nil {
		change(tap)
	}
	return benchtest.TapFixture{
		Tap: tap, Text: textOf,
		Send: func(t *testing.T, texts ...string) {
			f := newFar(t, tap.Listening())
			var all [][]byte
			for _, text := range texts {
				all = append(all, inVXLAN(42, beginText+text))
			}
			f.send(t, all...)
		},
		Unwanted: func(t *testing.T) int {
			f := newFar(t, tap.Listening())
			f.send(t, inVXLAN(43, beginText+"of another network"), []byte("no VXLAN"), nil)
			return 3
		},
		Break: func(t *testing.T) { kill(t, tap) },
	}
}

// TestPromises holds the tap to bench.Tap's, on IPv4, on IPv6, and on every address.
func TestPromises(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0"} {
		t.Run(listen, func(t *testing.T) {
			needs(t, listen)
			benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
				return fixture(t, Options{Name: "vxlan", Listen: listen, IDs: []uint32{42}}, nil)
			})
		})
	}
}

// TestPromisesElsewhere: what is used where there is no recvmmsg.
func TestPromisesElsewhere(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		return fixture(t, Options{Name: "vxlan", Listen: "127.0.0.1:0", IDs: []uint32{42}}, plainly)
	})
}

// plainly makes a tap receive as on systems that are not Linux.
func plainly(t *Tap) {
	t.open = func(_ protocol, listen netip.AddrPort, buffer, room int) (receiver, netip.AddrPort, error) {
		p, at, err := openPlain(listen, buffer, room)
		return p, at, err
	}
}

// needs skips where an address is not this host's.
func needs(t testing.TB, listen string) {
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Skipf("this host has no such address: %v", err)
	}
	require.NoError(t, conn.Close())
}

// capture is what a tap gave.
type capture struct {
	records []pcap.Record
}

func (c *capture) take(r pcap.Record) {
	r.Data = bytes.Clone(r.Data)
	c.records = append(c.records, r)
}

// begin starts a tap that is closed at the test's end.
func begin(t testing.TB, tap *Tap, sink func(pcap.Record)) {
	t.Helper()
	require.NoError(t, tap.Start(limited(t), sink))
	t.Cleanup(func() { require.NoError(t, tap.Close()) })
}

// TestRecords: outer headers tell the truth about addresses, ports and lengths, and the decoder finds the tunnel.
func TestRecords(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		for name, change := range map[string]func(*Tap){"": nil, " elsewhere": plainly} {
			t.Run(listen+name, func(t *testing.T) {
				needs(t, listen)
				tap, err := NewVXLAN(Options{Listen: listen})
				require.NoError(t, err)
				if change != nil {
					change(tap)
				}
				var got capture
				began := time.Now()
				begin(t, tap, got.take)
				at := tap.Listening()
				require.Equal(t, []uint16{at.Port()}, tap.VXLANPorts())
				f := newFar(t, at)
				f.send(t, inVXLAN(0x123456, beginText+"hello"), inVXLAN(7, beginText+strings.Repeat("x", 60_000)))
				require.NoError(t, tap.Flush(limited(t)))
				require.Len(t, got.records, 2)
				for i, r := range got.records {
					require.EqualValues(t, i+1, r.Number)
					require.Equal(t, pcap.LinkRaw, r.Link)
					require.Equal(t, len(r.Data), r.Length)
					require.WithinRange(t, time.Unix(0, r.Time), began.Add(-time.Second), time.Now().Add(time.Second))
				}
				from := f.LocalAddr().(*net.UDPAddr).AddrPort()
				to := f.RemoteAddr().(*net.UDPAddr).AddrPort()
				outer(t, got.records[0], from, to, at.Addr().IsUnspecified() && name != "")
				d := packet.NewDecoder(packet.Options{VXLANPorts: tap.VXLANPorts()})
				var p packet.Packet
				require.Equal(t, packet.Decoded, d.Decode(&packet.Frame{Link: uint16(r0(got).Link), Data: r0(got).Data, Length: r0(got).Length}, &p))
				require.Equal(t, packet.VXLAN, p.Tunnel)
				require.EqualValues(t, 0x123456, d.Path(p.Path).VNI)
			})
		}
	}
}

func r0(c capture) pcap.Record { return c.records[0] }

// outer checks the headers that were written anew.
func outer(t *testing.T, r pcap.Record, from, to netip.AddrPort, unknown bool) {
	t.Helper()
	b := r.Data
	var src, dst netip.Addr
	switch b[0] >> 4 {
	case 4:
		require.EqualValues(t, len(b), binary.BigEndian.Uint16(b[2:]))
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		require.EqualValues(t, 0xffff, sum>>16+sum&0xffff, "the checksum")
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		require.EqualValues(t, 17, b[9])
		b = b[20:]
	case 6:
		require.EqualValues(t, len(b)-40, binary.BigEndian.Uint16(b[4:]))
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		require.EqualValues(t, 17, b[6])
		b = b[40:]
	default:
		require.Fail(t, "no IP", "%x", b)
	}
	require.Equal(t, from.Addr().Unmap(), src)
	if unknown {
		require.True(t, dst.IsUnspecified())
	} else {
		require.Equal(t, to.Addr().Unmap(), dst)
	}
	require.Equal(t, from.Port(), binary.BigEndian.Uint16(b))
	require.Equal(t, to.Port(), binary.BigEndian.Uint16(b[2:]))
	require.EqualValues(t, len(b), binary.BigEndian.Uint16(b[4:]))
	require.Zero(t, binary.BigEndian.Uint16(b[6:]))
	require.Equal(t, "hello", textOf(b))
}

// TestFilters: what is not wanted is counted and let go.
func TestFilters(t *testing.T) {
	for name, c := range map[string]struct {
		o         Options
		datagrams [][]byte
		received  uint64
	}{
		"all":             {Options{}, [][]byte{inVXLAN(1, beginText), inVXLAN(2, beginText)}, 2},
		"by network":      {Options{IDs: []uint32{9, 2, 5}}, [][]byte{inVXLAN(1, beginText), inVXLAN(2, beginText), inVXLAN(5, beginText)}, 2},
		"by sender":       {Options{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, [][]byte{inVXLAN(1, beginText)}, 0},
		"from the sender": {Options{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, [][]byte{inVXLAN(1, beginText)}, 1},
		"no VXLAN":        {Options{}, [][]byte{nil, []byte("1234567"), append([]byte{0xf7}, inVXLAN(1, beginText)[1:]...)}, 0},
		"a header alone":  {Options{}, [][]byte{inVXLAN(1, "")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Listen = "127.0.0.1:0"
			tap, err := NewVXLAN(c.o)
			require.NoError(t, err)
			begin(t, tap, func(pcap.Record) {})
			newFar(t, tap.Listening()).send(t, c.datagrams...)
			require.NoError(t, tap.Flush(limited(t)))
			require.Equal(t, bench.TapStats{Received: c.received, Filtered: uint64(len(c.datagrams)) - c.received}, tap.Stats())
		})
	}
}

func TestCounter(t *testing.T) {
	var c counter
	for _, s := range []struct{ value, step uint64 }{{3, 3}, {3, 0}, {2, 0}, {1 << 30, 1<<30 - 3}, {1<<32 - 2, 0}, {1 << 31, 1 << 30}, {1<<32 - 2, 1<<31 - 2}, {1<<32 - 5, 0}, {5 + 1<<32, 7}} {
		require.EqualValues(t, s.step, c.hear(uint32(s.value)), "at %d", s.value)
	}
	require.Equal(t, uint64(1<<32+5), c.total, "beyond 32 bits")
}

func TestNew(t *testing.T) {
	for text, want := range map[string]string{
		"": "127.0.0.1:4789", "10.1.2.3": "10.1.2.3:4789", "0.0.0.0:8472": "0.0.0.0:8472", "::": "[::]:4789", "[::1]:1": "[::1]:1", "[fe80::1%eth0]": "[fe80::1%eth0]:4789",
	} {
		tap, err := NewVXLAN(Options{Listen: text})
		require.NoError(t, err)
		require.Equal(t, want, tap.Listening().String())
		require.Equal(t, "vxlan", tap.Name())
		require.Zero(t, tap.Buffer())
		require.Empty(t, tap.Notes())
	}
	for _, text := range []string{"mirror-host", ":4789", "10.0.0.2:port", "10.0.0.2:70000", "10.0.0.2:"} {
		_, err := NewVXLAN(Options{Name: "t", Listen: text})
		require.ErrorContains(t, err, fmt.Sprintf("make tap t: listen on %q: write ADDRESS:PORT", text))
	}
	_, err := NewVXLAN(Options{IDs: []uint32{1 << 24}})
	require.ErrorContains(t, err, "more than 24 bits")
	tap, err := NewGRE(Options{Listen: "10.0.0.2"})
	require.NoError(t, err)
	require.Equal(t, "gre", tap.Name())
	require.Empty(t, tap.VXLANPorts())
	_, err = NewGRE(Options{Listen: "10.0.0.2:47"})
	require.ErrorContains(t, err, "GRE has no ports")
}

func TestPortInUse(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer conn.Close()
	tap, err := NewVXLAN(Options{Name: "t", Listen: conn.LocalAddr().String()})
	require.NoError(t, err)
	err = tap.Start(limited(t), func(pcap.Record) {})
	require.ErrorContains(t, err, "start tap t: ")
	require.ErrorContains(t, err, "receives there")
	require.NoError(t, tap.Close())
}

// TestCloseAtOnce: closing a tap at any time ends its goroutine, and Flushes that wait.
func TestCloseAtOnce(t *testing.T) {
	for _, change := range []func(*Tap){func(*Tap) {}, plainly} {
		tap, err := NewVXLAN(Options{Name: "t", Listen: "127.0.0.1:0"})
		require.NoError(t, err)
		change(tap)
		inside, leave := make(chan bool), make(chan bool)
		require.NoError(t, tap.Start(limited(t), func(pcap.Record) { inside <- true; <-leave }))
		f := newFar(t, tap.Listening())
		f.send(t, inVXLAN(1, beginText), inVXLAN(1, beginText))
		<-inside
		ctx, cancel := context.WithCancelCause(limited(t))
		cancel(context.Canceled)
		require.ErrorIs(t, tap.Flush(ctx), context.Canceled, "the sink holds it")
		flushed := make(chan error)
		go func() { flushed <- tap.Flush(limited(t)) }()
		closed := make(chan error)
		go func() { closed <- tap.Close() }()
		require.Eventually(t, tap.closing.Load, within, time.Microsecond)
		leave <- true
		require.NoError(t, <-closed)
		err = <-flushed
		require.ErrorContains(t, err, "flush tap t: it ")
		require.EqualValues(t, 1, tap.Stats().Received, "the sink was given one, and the other is lost with the socket")
		require.Error(t, tap.Start(limited(t), func(pcap.Record) {}), "once is all")
	}
}

// TestCutShort: a datagram for which there was no room is counted, and its record tells its true length.
func TestCutShort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere a datagram's true length is not told; there is room for the longest")
	}
	tap, err := NewVXLAN(Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	tap.room = 100
	var got capture
	begin(t, tap, got.take)
	newFar(t, tap.Listening()).send(t, inVXLAN(1, strings.Repeat("x", 92)), inVXLAN(1, strings.Repeat("x", 93)), inVXLAN(1, strings.Repeat("x", 60_000)))
	require.NoError(t, tap.Flush(limited(t)))
	require.Equal(t, bench.TapStats{Received: 3, Truncated: 2}, tap.Stats())
	for i, payload := range []int{100, 101, 60_008} {
		r := got.records[i]
		require.Len(t, r.Data, ipv4Len+udpLen+100)
		require.Equal(t, ipv4Len+udpLen+payload, r.Length)
		require.EqualValues(t, r.Length, binary.BigEndian.Uint16(r.Data[2:]), "the IP header tells it, too")
		require.EqualValues(t, r.Length-ipv4Len, binary.BigEndian.Uint16(r.Data[ipv4Len+4:]))
	}
}

// TestFlushWhereTheQueueIsNeverEmpty: whatever comes after the call is not waited for.
func TestFlushWhereTheQueueIsNeverEmpty(t *testing.T) {
	for name, change := range map[string]func(*Tap){"": func(*Tap) {}, "elsewhere": plainly} {
		t.Run(name, func(t *testing.T) {
			tap, err := NewVXLAN(Options{Listen: "127.0.0.1:0"})
			require.NoError(t, err)
			change(tap)
			feeder, err := net.ListenPacket("udp4", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, feeder.Close()) }) // after the tap's
			known := make(chan net.Addr, 1)
			var at net.Addr
			begin(t, tap, func(pcap.Record) {
				if at == nil {
					at = <-known
				}
				for range 2 { // for each that is taken out two come in
					_, _ = feeder.WriteTo(inVXLAN(1, beginText), at) // lost where there is no room, which is as good
				}
			})
			known <- net.UDPAddrFromAddrPort(tap.Listening())
			newFar(t, tap.Listening()).send(t, inVXLAN(1, beginText))
			require.NoError(t, tap.Flush(limited(t)))
			require.NoError(t, tap.Flush(limited(t)))
			require.Positive(t, tap.Stats().Received)
		})
	}
}

func TestNotes(t *testing.T) {
	tap, err := NewVXLAN(Options{Buffer: 64 << 20})
	require.NoError(t, err)
	tap.rx = &plain{size: 4 << 20}
	require.Equal(t, []string{"the receive buffer has 4 MiB, not the 64 MiB that were asked for: more packets are lost in bursts; " + raise(64<<20)}, tap.Notes())
	tap.rx = &plain{size: 64 << 20}
	require.Empty(t, tap.Notes())
	require.Equal(t, "212.5 KiB", size(212<<10+512))
}
