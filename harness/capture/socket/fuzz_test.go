package socket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// FuzzFrame gives both taps whatever a stranger may send. What is taken lies within what came, begins with a sound IP
// header, and is the tunnel that was asked for, as the decoder sees it.
func FuzzFrame(f *testing.F) {
	ipv4 := []byte{0x45, 0, 0, 48, 0, 0, 0, 0, 64, 47, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1}
	f.Add(inVXLAN(42, beginText), false, false)
	f.Add(inVXLAN(42, ""), true, false)
	f.Add([]byte{8, 0, 0, 0, 0, 0, 0}, false, false)
	f.Add(append(ipv4, inGRE(42, beginText)...), false, true)
	f.Add(inGRE(42, beginText), true, true)
	f.Add([]byte{0x46, 0, 0, 20, 0, 0, 0, 0, 64, 47, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1}, false, true)
	f.Add(append(ipv4, 0xb0, 0, 0x65, 0x58, 0, 0, 0, 0), false, true)
	f.Fuzz(func(t *testing.T, b []byte, six, isGRE bool) {
		if len(b) > 2048 {
			return // the outer headers hold any length; more bytes show nothing new
		}
		tap, err := NewVXLAN(Options{IDs: []uint32{42}})
		require.NoError(t, err)
		if isGRE {
			tap.proto = gre
		}
		d := datagram{buf: append(make([]byte, headroom), b...), n: len(b), length: len(b), from: netip.MustParseAddr("127.0.0.1"), to: netip.MustParseAddr("127.0.0.1"), fromPort: 50000, toPort: DefaultPort}
		if six {
			d.from, d.to = netip.IPv6Loopback(), netip.IPv6Loopback()
			tap.listen = netip.AddrPortFrom(d.to, DefaultPort)
		}
		data, wanted := tap.frame(&d)
		if !wanted {
			return
		}
		require.Equal(t, b, d.payload(), "what came is left as it was")
		require.LessOrEqual(t, len(data), headroom+len(b))
		var p packet.Packet
		decoder := packet.NewDecoder(packet.Options{})
		result := decoder.Decode(&packet.Frame{Link: uint16(pcap.LinkRaw), Data: data, Length: len(data)}, &p)
		if isGRE {
			require.Equal(t, b[len(b)-min(len(b), 4):], data[len(data)-min(len(b), 4):])
			return
		}
		require.EqualValues(t, 42, binary.BigEndian.Uint32(b[4:])>>8)
		if result == packet.Decoded && p.Nested == 1<<packet.VXLAN {
			require.EqualValues(t, 42, decoder.Path(p.Path).VNI)
		}
	})
}
