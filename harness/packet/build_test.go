package packet

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The network of the tests: a device and its peer, and the two ends of a tunnel.
var (
	device4, peer4 = net.IP{10, 213, 7, 42}, net.IP{52, 219, 0, 182}
	device6, peer6 = net.ParseIP("2001:db8::42"), net.ParseIP("2001:db8:1::182")
	end4, other4   = net.IP{10, 88, 0, 1}, net.IP{10, 88, 0, 2}
	end6, other6   = net.ParseIP("fd00::1"), net.ParseIP("fd00::2")
	mac, otherMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

const hello = "hello, cellular world" // 21 bytes

// build serializes layers around each other, outermost first, with lengths and checksums made right.
func build(all ...gopacket.SerializableLayer) []byte {
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, all...); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

func raw(parts ...any) gopacket.Payload {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case gopacket.Payload:
			b = append(b, p...)
		case int: // a byte
			b = append(b, byte(p))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		default:
			panic(p)
		}
	}
	return b
}

func ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac, DstMAC: otherMAC, EthernetType: kind}
}

func ip4(proto layers.IPProtocol, src, dst net.IP) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, Id: 0x1234, Protocol: proto, SrcIP: src, DstIP: dst}
}

func ip6(proto layers.IPProtocol, src, dst net.IP) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 62, NextHeader: proto, SrcIP: src, DstIP: dst}
}

// unpadded is a frame that may be shorter than the 60 bytes to which ether's are padded.
func unpadded(kind uint16, rest ...any) []byte {
	return raw([]byte(otherMAC), []byte(mac), kind, raw(rest...))
}

// segment4 is a TCP segment of the device in IPv4; segment6 the same in IPv6.
func segment4(flags string, payload string) []byte {
	ip := ip4(layers.IPProtocolTCP, device4, peer4)
	return build(ip, tcpLayer(ip, flags), gopacket.Payload(payload))
}

func segment6(flags string, payload string) []byte {
	ip := ip6(layers.IPProtocolTCP, device6, peer6)
	return build(ip, tcpLayer(ip, flags), gopacket.Payload(payload))
}

func tcpLayer(ip gopacket.NetworkLayer, flags string) *layers.TCP {
	t := &layers.TCP{SrcPort: 40001, DstPort: 443, Seq: 1000, Ack: 2000, Window: 512}
	for _, f := range flags {
		switch f {
		case 'S':
			t.SYN = true
			t.Options = []layers.TCPOption{
				{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0x50}},
				{OptionType: layers.TCPOptionKindNop},
				{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
			}
		case 'A':
			t.ACK = true
		case 'P':
			t.PSH = true
		case 'F':
			t.FIN = true
		case 'R':
			t.RST = true
		}
	}
	if err := t.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	return t
}

// frame4 is the segment in an Ethernet frame, the packet inside most tunnels of the tests.
func frame4(flags, payload string) []byte {
	return build(ether(layers.EthernetTypeIPv4), raw(segment4(flags, payload)))
}

func udp4(src, dst net.IP, from, to layers.UDPPort, payload ...any) []byte {
	ip := ip4(layers.IPProtocolUDP, src, dst)
	u := &layers.UDP{SrcPort: from, DstPort: to}
	if err := u.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	return build(ip, u, raw(payload...))
}

// outer is an Ethernet frame with an IPv4 packet between the tunnel's ends.
func outer(proto layers.IPProtocol, payload ...any) []byte {
	return build(ether(layers.EthernetTypeIPv4), ip4(proto, end4, other4), raw(payload...))
}

// outerUDP is an Ethernet frame with a UDP datagram between the tunnel's ends.
func outerUDP(port layers.UDPPort, payload ...any) []byte {
	return build(ether(layers.EthernetTypeIPv4), raw(udp4(end4, other4, 33333, port, payload...)))
}

func gre(flags, kind uint16, rest ...any) []byte {
	return raw(append([]any{flags, kind}, rest...)...)
}

func vxlan(vni uint32, frame []byte) []byte { return raw(uint32(0x08000000), vni<<8, frame) }

func padded(b []byte, n int) []byte {
	return append(b, make([]byte, max(0, n-len(b)))...)
}

func addr(ip net.IP) Addr {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		panic(ip)
	}
	return AddrFrom(a.Unmap())
}

// decode decodes one frame with a new Decoder.
func decode(link uint16, b []byte) (Packet, *Decoder, Result) {
	d := NewDecoder(Options{})
	var p Packet
	r := d.Decode(&Frame{Number: 1, Time: 1, Link: link, Data: b, Length: len(b)}, &p)
	return p, d, r
}
