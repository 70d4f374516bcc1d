package socket

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// gun sends many datagrams by one call of sendmmsg(2).
type gun struct {
	raw     func(func(fd uintptr)) error
	headers []mmsghdr
	vectors []unix.Iovec
}

func newGun(t testing.TB, to netip.AddrPort) *gun {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	g := &gun{raw: raw.Control, headers: make([]mmsghdr, batchSize), vectors: make([]unix.Iovec, batchSize)}
	for i := range g.headers {
		g.headers[i].hdr.Iov = &g.vectors[i]
		g.headers[i].hdr.SetIovlen(1)
	}
	return g
}

// fire sends at most batchSize datagrams, and all of them: the loopback interface takes what it is given.
func (g *gun) fire(t testing.TB, datagrams [][]byte) {
	for i, b := range datagrams {
		g.vectors[i].Base = &b[0]
		g.vectors[i].SetLen(len(b))
	}
	sent := 0
	err := g.raw(func(fd uintptr) {
		for sent < len(datagrams) {
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&g.headers[sent])), uintptr(len(datagrams)-sent), 0, 0, 0)
			if errno != 0 && errno != unix.EINTR {
				t.Errorf("sendmmsg: %v", errno)
				return
			}
			if errno == 0 {
				sent += int(n)
			}
		}
	})
	require.NoError(t, err)
	require.Equal(t, len(datagrams), sent)
}

// fleet is what a mirror of some devices sends by VXLAN: conversations that open, talk and close.
func fleet(devices int) [][]byte {
	w := synth.New(synth.Options{Mirror: synth.VXLAN, VNI: 42})
	server := synth.NewHost("203.0.113.9", 1)
	for i := range devices {
		device := synth.NewHost(netip.AddrFrom4([4]byte{10, 213, byte(i >> 8), byte(i)}).String(), uint16(i))
		c := w.TCP(device, uint16(40000+i), server, 80).Open()
		for range 10 {
			c.Exchange(synth.Up, make([]byte, 200))
			c.Exchange(synth.Down, make([]byte, 600))
		}
		c.Fin(synth.Up)
		c.Fin(synth.Down)
		c.Ack(synth.Up)
	}
	var out [][]byte
	for _, f := range w.Frames {
		out = append(out, f.Data[14+ipv4Len+udpLen:])
	}
	return out
}

// TestNothingIsAllocated holds receiving to use only what was set aside for it.
func TestNothingIsAllocated(t *testing.T) {
	tap, err := NewVXLAN(Options{Listen: "127.0.0.1:0", IDs: []uint32{42}, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	require.NoError(t, err)
	rx, at, err := open(vxlan, tap.listen, DefaultBuffer, maxDatagram)
	require.NoError(t, err)
	defer func() { require.NoError(t, rx.close()) }()
	g, datagrams := newGun(t, at), fleet(10)[:batchSize]
	var bytes uint64
	var p progress
	sink := func(r pcap.Record) { bytes += uint64(len(r.Data)) }
	const runs = 20
	restore := onOneProcessor(t) // what is sent is there when sending returns
	for range runs + 1 {
		g.fire(t, datagrams)
	}
	restore()
	received := 0
	allocations := testing.AllocsPerRun(runs, func() {
		batch, err := rx.receive(true)
		if err != nil {
			return
		}
		received += len(batch)
		for i := range batch {
			tap.give(&batch[i], &p, sink)
		}
	})
	require.Zero(t, allocations)
	require.EqualValues(t, received, p.got.Received)
	require.GreaterOrEqual(t, received, runs, "one at least was received each time")
	require.NotZero(t, bytes)
}

// BenchmarkVXLAN has one thread send as fast as its pace allows, and the others receive and analyse in full. It prints
// packets a second, losses, processor time for a packet of all but the sender, kernel included, and the buffer granted.
//
//	go test ./harness/capture/socket -run '^$' -bench VXLAN -benchtime 1x
func BenchmarkVXLAN(b *testing.B) {
	b.Run("pace=200000", func(b *testing.B) { rate(b, 200_000) })
	b.Run("pace=none", func(b *testing.B) { rate(b, 0) })
}

const seconds = 5

func rate(b *testing.B, pace int) {
	datagrams := fleet(200)
	runtime.LockOSThread() // the sender's cost is told apart by its thread
	defer runtime.UnlockOSThread()
	for b.Loop() {
		tap, err := NewVXLAN(Options{Listen: "127.0.0.1:4789", IDs: []uint32{42}})
		require.NoError(b, err)
		live := trace.NewLive("live", trace.Options{})
		require.NoError(b, tap.Start(limited(b), func(r pcap.Record) { live.Add(&r) }))
		all, own := spent(b, unix.RUSAGE_SELF), spent(b, unix.RUSAGE_THREAD)
		began := time.Now()
		sent := blast(b, newGun(b, tap.Listening()), datagrams, pace)
		took, own := time.Since(began), spent(b, unix.RUSAGE_THREAD)-own
		require.NoError(b, tap.Flush(limited(b)))
		stats := tap.Stats()
		require.NoError(b, tap.Close())
		c, err := live.End(stats.Dropped)
		require.NoError(b, err)
		all = spent(b, unix.RUSAGE_SELF) - all
		require.EqualValues(b, sent, stats.Received+stats.Dropped, "every packet is given or counted as lost")
		require.EqualValues(b, stats.Received, c.Tunnels["vxlan"])
		b.ReportMetric(float64(sent)/took.Seconds(), "sent/s")
		b.ReportMetric(float64(stats.Dropped), "lost")
		b.ReportMetric(100*float64(stats.Dropped)/float64(sent), "lost-%")
		b.ReportMetric(float64((all-own).Nanoseconds())/float64(stats.Received), "cpu-ns/packet")
		b.ReportMetric(float64(tap.Buffer())/(1<<20), "buffer-MiB")
	}
}

// spent is the processor time of all threads, or of the caller's.
func spent(b *testing.B, who int) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(who, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// anew gives datagrams' devices other addresses, so that each round is a new one's.
func anew(datagrams [][]byte, round byte) {
	const from = vxlanLen + 14 + 12 // in the inner IPv4 header
	for _, b := range datagrams {
		if b[from] == 10 {
			b[from+1] = round
		} else {
			b[from+4+1] = round
		}
	}
}

// blast sends for some seconds, so many packets a second; 0 is as many as go.
func blast(b *testing.B, g *gun, datagrams [][]byte, pace int) (sent int) {
	began := time.Now()
	for time.Since(began) < seconds*time.Second {
		if pace > 0 {
			due := int(time.Since(began).Seconds() * float64(pace))
			if sent >= due {
				runtime.Gosched()
				continue
			}
		}
		at := sent % (len(datagrams) - batchSize)
		volley := datagrams[at : at+batchSize]
		anew(volley, byte(sent/(len(datagrams)-batchSize)))
		g.fire(b, volley)
		sent += batchSize
	}
	return sent
}
