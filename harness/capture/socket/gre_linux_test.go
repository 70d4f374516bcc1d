package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// places counts the loopback addresses that were used.
var places atomic.Uint32

// ownAddress gives an address of the loopback interface that nobody else uses: all of 127/8 are this host's, and raw
// sockets have no ports to keep tests apart.
func ownAddress() netip.Addr {
	pid, n := uint32(os.Getpid()), places.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(64 + pid>>12%128), byte(pid >> 4), byte(pid<<4) + byte(n%14) + 1})
}

// needsRaw skips where raw sockets are not allowed.
func needsRaw(t testing.TB) {
	conn, err := net.ListenIP("ip4:47", &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if errors.Is(err, os.ErrPermission) {
		t.Skip("raw sockets need CAP_NET_RAW: run as root")
	}
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// rawFar sends GRE to an address.
func rawFar(t testing.TB, to netip.Addr) *far {
	t.Helper()
	network := "ip4:47"
	if to.Is6() {
		network = "ip6:47"
	}
	conn, err := net.Dial(network, to.String())
	require.NoError(t, err)
	echo, err := net.ListenUDP("udp", &net.UDPAddr{IP: conn.LocalAddr().(*net.IPAddr).IP})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()); require.NoError(t, echo.Close()) })
	return &far{conn, echo}
}

func TestPromisesOfGRE(t *testing.T) {
	needsRaw(t)
	for _, listen := range []string{"127.0.0.1", "::1"} {
		t.Run(listen, func(t *testing.T) {
			needs(t, net.JoinHostPort(listen, "0"))
			benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
				at, key := netip.MustParseAddr(listen), uint32(os.Getpid())
				if at.Is4() {
					at = ownAddress()
				}
				tap, err := NewGRE(Options{Listen: at.String(), IDs: []uint32{key}})
				require.NoError(t, err)
				return benchtest.TapFixture{
					Tap: tap, Text: textOf,
					Send: func(t *testing.T, texts ...string) {
						var all [][]byte
						for _, text := range texts {
							all = append(all, inGRE(key, beginText+text))
						}
						rawFar(t, at).send(t, all...)
					},
					Unwanted: unwantedGRE(at, key),
					Break:    func(t *testing.T) { kill(t, tap) },
				}
			})
		})
	}
}

// unwantedGRE sends what a tap leaves out. On an address that others use too that can't be counted.
func unwantedGRE(at netip.Addr, key uint32) func(*testing.T) int {
	if at.Is6() {
		return nil
	}
	return func(t *testing.T) int {
		rawFar(t, at).send(t, inGRE(key+1, beginText+"another's"), []byte{0, 0, 0x65, 0x58}, []byte{0x20, 0, 0x65, 0x58, 1})
		return 3
	}
}

// TestGRERecords: the outer header is the one that came, or for IPv6 one that says the same.
func TestGRERecords(t *testing.T) {
	needsRaw(t)
	for _, at := range []netip.Addr{ownAddress(), netip.IPv6Loopback()} {
		t.Run(at.String(), func(t *testing.T) {
			needs(t, net.JoinHostPort(at.String(), "0"))
			key := uint32(os.Getpid()) << 8
			tap, err := NewGRE(Options{Listen: at.String(), IDs: []uint32{key}, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
			require.NoError(t, err)
			var got capture
			begin(t, tap, got.take)
			f := rawFar(t, at)
			f.send(t, inGRE(key, beginText+"hello"))
			require.NoError(t, tap.Flush(limited(t)))
			require.Len(t, got.records, 1)
			r := got.records[0]
			require.Equal(t, pcap.LinkRaw, r.Link)
			require.Equal(t, "hello", textOf(r.Data))
			var p packet.Packet
			d := packet.NewDecoder(packet.Options{})
			require.Equal(t, packet.Decoded, d.Decode(&packet.Frame{Link: uint16(r.Link), Data: r.Data, Length: r.Length}, &p))
			path := d.Path(p.Path)
			require.Equal(t, packet.GRE, path.Tunnel)
			require.Equal(t, key, path.VNI)
			from, _ := netip.AddrFromSlice(f.LocalAddr().(*net.IPAddr).IP)
			require.ElementsMatch(t, []netip.Addr{from.Unmap(), at}, path.Outer[:])
		})
	}
}

// TestGREOfOthers: before a raw socket is bound it gets what is sent to every address; that is not given.
func TestGREOfOthers(t *testing.T) {
	tap, err := NewGRE(Options{Listen: "127.1.2.3"})
	require.NoError(t, err)
	for to, wanted := range map[byte]bool{3: true, 4: false} {
		d := datagram{buf: append(make([]byte, headroom), 0x45, 0, 0, 24, 0, 0, 0, 0, 64, 47, 0, 0, 127, 0, 0, 1, 127, 1, 2, to, 0, 0, 0x65, 0x58), from: netip.MustParseAddr("127.0.0.1")}
		d.n, d.length = len(d.buf)-headroom, len(d.buf)-headroom
		_, is := tap.frame(&d)
		require.Equal(t, wanted, is)
	}
}

// TestGREWithoutPrivilege: the error names the command that helps.
func TestGREWithoutPrivilege(t *testing.T) {
	err := explain(gre, netip.AddrPort{}, fmt.Errorf("listen ip4:47 127.0.0.1: %w", os.NewSyscallError("socket", unix.EPERM)))
	require.ErrorContains(t, err, "open a raw socket for GRE: operation not permitted: capturing needs CAP_NET_RAW, not root: run `sudo setcap cap_net_raw+ep /")
	if os.Geteuid() == 0 {
		return
	}
	tap, err := NewGRE(Options{Name: "t"})
	require.NoError(t, err)
	err = tap.Start(limited(t), func(pcap.Record) {})
	if err == nil {
		require.NoError(t, tap.Close())
		t.Skip("this user may open raw sockets")
	}
	require.ErrorContains(t, err, "start tap t: open a raw socket for GRE")
	require.Equal(t, bench.TapStats{}, tap.Stats())
	require.NoError(t, tap.Close())
}
