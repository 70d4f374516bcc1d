package packet

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// cutAt decodes the first n bytes of a frame, as a snap length leaves them.
func cutAt(link uint16, frame []byte, n int) (p Packet, r Result) {
	r = NewDecoder(Options{}).Decode(&Frame{Number: 1, Time: 1, Link: link, Data: frame[:n], Length: len(frame)}, &p)
	return p, r
}

// sameHeaders holds that a packet cut behind its headers is known as well as the whole one.
func sameHeaders(t *testing.T, whole, cut Packet, n int) {
	require.True(t, bytes.HasPrefix(whole.Payload, cut.Payload), "%d bytes", n)
	cut.Payload, cut.Truncated, cut.WindowShift = whole.Payload, whole.Truncated, whole.WindowShift
	require.Equal(t, whole, cut, "%d bytes", n)
}

// Wherever a frame is cut, in whatever tunnel: what is said to be cut behind its headers has the headers of the whole packet,
// and what lacks nothing but payload is said to.
func TestCutBehindTheHeaders(t *testing.T) {
	frames := around()
	type around = struct {
		link  uint16
		frame []byte
	}
	cases := map[string]around{
		"SYN":           {1, frame4("S", "")},
		"SYN in GRE":    {1, outer(layers.IPProtocolGRE, gre(0, typeBridged, frame4("S", "fast open")))},
		"datagram":      {101, udp4(device4, peer4, 5000, 53, hello)},
		"to a tunnel":   {101, udp4(device4, peer4, 5000, portGTPU, hello)},
		"to a mirror":   {101, udp4(device4, peer4, 5000, portVXLAN, raw(uint32(0), uint32(0), hello))},
		"echo":          {101, build(ip4(layers.IPProtocolICMPv4, device4, peer4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 1, Seq: 2}, raw(hello))},
		"another's":     {101, build(ip4(layers.IPProtocolSCTP, device4, peer4), raw(hello))},
		"fragment":      {101, split(segment4("AP", hello+hello+hello), 80)[0]},
		"last fragment": {101, split(segment4("AP", hello+hello+hello), 80)[1]},
		"in a fragment": {101, split(build(ip4(layers.IPProtocolGRE, device4, peer4), raw(gre(0, typeBridged, frame4("AP", hello+hello+hello)))), 120)[0]},
		"no checksum":   {1, withoutChecksum(frame4("AP", hello))},
		"claims too much": {1, func() []byte {
			b := frame4("AP", hello)
			b[16], b[17] = 0x05, 0xdc
			return b
		}()},
	}
	for name, w := range frames {
		cases[name] = around{w.link, w.frame}
	}
	telling := map[string]bool{}
	for name, w := range cases {
		t.Run(name, func(t *testing.T) {
			whole, r := cutAt(w.link, w.frame, len(w.frame))
			for n := range w.frame {
				p, cut := cutAt(w.link, w.frame, n)
				if cut != Decoded || !p.Truncated || p.HeadersCut {
					require.True(t, cut != Decoded || p.Truncated || !p.HeadersCut, "only of a packet that is cut")
					continue
				}
				require.Equal(t, Decoded, r, "%d bytes", n)
				sameHeaders(t, whole, p, n)
				telling[name] = true
			}
		})
	}
	for name := range frames {
		require.True(t, telling[name], "%s: some cuts leave the headers whole", name)
	}
	for _, name := range []string{"SYN", "SYN in GRE", "datagram", "echo"} {
		require.True(t, telling[name], name)
	}
	for _, name := range []string{"to a tunnel", "to a mirror", "another's", "fragment", "last fragment", "in a fragment", "no checksum", "claims too much"} {
		require.False(t, telling[name], name)
	}
}

// withoutChecksum takes off an Ethernet frame's TCP checksum.
func withoutChecksum(frame []byte) []byte {
	frame = bytes.Clone(frame)
	frame[50], frame[51] = 0, 0
	return frame
}

// The option that tells how long segments may be is the first of a SYN's: that the others are cut loses nothing that is read.
func TestCutInTheOptions(t *testing.T) {
	syn := frame4("S", "")
	for n, want := range map[int]bool{54: true, 57: true, 58: false, 61: false} {
		p, r := cutAt(1, syn, n)
		require.Equal(t, Decoded, r)
		require.Equal(t, want, p.HeadersCut, "%d bytes", n)
	}
	p, _ := cutAt(1, syn, len(syn))
	require.False(t, p.Truncated)
}
