package packet

import (
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// BenchmarkDecode measures a device's segment as mirrors send it: by the shortcut for usual outer headers, and by the
// ordinary way where a GRE sequence makes every header another.
func BenchmarkDecode(b *testing.B) {
	inner := frame4("AP", hello)
	for _, way := range []struct {
		name  string
		frame []byte
	}{
		{"plain", inner},
		{"gre", outer(layers.IPProtocolGRE, gre(0, typeBridged, inner))},
		{"vxlan", outerUDP(portVXLAN, vxlan(42, inner))},
		{"gre-sequence", outer(layers.IPProtocolGRE, gre(0x1000, typeBridged, uint32(7), inner))},
		{"geneve", outerUDP(portGENEVE, uint32(0x00006558), uint32(42<<8), inner)},
	} {
		b.Run(way.name, func(b *testing.B) {
			d := NewDecoder(Options{})
			var p Packet
			f := Frame{Link: 1, Data: way.frame, Length: len(way.frame)}
			b.ReportAllocs()
			for b.Loop() {
				f.Number++
				if d.Decode(&f, &p) != Decoded {
					b.Fatal("not decoded")
				}
			}
			require.Equal(b, len(hello), p.PayloadLen)
		})
	}
}
