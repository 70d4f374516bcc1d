package sim

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ethernetLen is what a packet of the air counts more than its IP bytes: the mirror and the bill both know it in an
// Ethernet frame.
const ethernetLen = 14

// ipv4Of gives the packet's IPv4 header, where it is one that can be read.
func ipv4Of(packet []byte) (header.IPv4, bool) {
	ip := header.IPv4(packet)
	if !ip.IsValid(len(packet)) {
		return nil, false
	}
	return ip, true
}

// tcpOf gives the packet's TCP segment, where it is one in a single piece.
func tcpOf(ip header.IPv4) (header.TCP, bool) {
	if ip.TransportProtocol() != header.TCPProtocolNumber || ip.FragmentOffset() != 0 || ip.More() {
		return nil, false
	}
	tcp := header.TCP(ip.Payload())
	if len(tcp) < header.TCPMinimumSize || int(tcp.DataOffset()) < header.TCPMinimumSize || int(tcp.DataOffset()) > len(tcp) {
		return nil, false
	}
	return tcp, true
}

// sealIP writes the header's checksum anew.
func sealIP(ip header.IPv4) {
	ip.SetChecksum(0)
	ip.SetChecksum(^ip.CalculateChecksum())
}

// sealTCP writes the segment's checksum anew.
func sealTCP(ip header.IPv4, tcp header.TCP) {
	tcp.SetChecksum(0)
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(tcp)))
	tcp.SetChecksum(^tcp.CalculateChecksum(checksum.Checksum(tcp.Payload(), pseudo)))
}

// dropTimestamps gives a SYN without its timestamp option (RFC 7323, 3): the modem does not know it. The options that
// remain, maximum segment size and window scale, are eight bytes, as seen on the wire.
func dropTimestamps(packet []byte) []byte {
	ip, _ := ipv4Of(packet)
	tcp, _ := tcpOf(ip)
	ihl := int(ip.HeaderLength())
	var kept []byte
	for options := tcp.Options(); len(options) > 0 && options[0] != header.TCPOptionEOL; {
		n := 1
		if options[0] != header.TCPOptionNOP {
			n = int(options[1])
		}
		if k := options[0]; k == header.TCPOptionMSS || k == header.TCPOptionWS {
			kept = append(kept, options[:n]...)
		}
		options = options[n:]
	}
	for len(kept)%4 != 0 {
		kept = append(kept, header.TCPOptionNOP)
	}
	out := append([]byte(nil), packet[:ihl+header.TCPMinimumSize]...)
	out = append(append(out, kept...), tcp.Payload()...)
	newIP := header.IPv4(out)
	newIP.SetTotalLength(uint16(len(out)))
	newTCP := header.TCP(out[ihl:])
	newTCP.SetDataOffset(uint8(header.TCPMinimumSize + len(kept)))
	sealTCP(newIP, newTCP)
	return out
}

// bareSegment builds a TCP segment without payload or options.
func bareSegment(from, to netip.AddrPort, flags header.TCPFlags, seq, ack uint32, window uint16) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), Flags: header.IPv4FlagDontFragment,
		SrcAddr: tcpip.AddrFrom4(from.Addr().As4()), DstAddr: tcpip.AddrFrom4(to.Addr().As4()),
	})
	tcp := header.TCP(b[header.IPv4MinimumSize:])
	tcp.Encode(&header.TCPFields{
		SrcPort: from.Port(), DstPort: to.Port(), SeqNum: seq, AckNum: ack, Flags: flags,
		DataOffset: header.TCPMinimumSize, WindowSize: window,
	})
	sealTCP(ip, tcp)
	sealIP(ip)
	return b
}

// echoRequest builds an ICMP echo request (RFC 792).
func echoRequest(from, to netip.Addr, ident, seq uint16, payload []byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize+len(payload))
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber), ID: seq,
		SrcAddr: tcpip.AddrFrom4(from.As4()), DstAddr: tcpip.AddrFrom4(to.As4()),
	})
	sealIP(ip)
	icmp := header.ICMPv4(b[header.IPv4MinimumSize:])
	icmp.SetType(header.ICMPv4Echo)
	icmp.SetIdent(ident)
	icmp.SetSequence(seq)
	copy(icmp.Payload(), payload)
	icmp.SetChecksum(^checksum.Checksum(icmp, 0))
	return b
}

// addrOf gives a stack's address in the library's form.
func addrOf(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

// endsOf gives both ends of a TCP segment.
func endsOf(ip header.IPv4, tcp header.TCP) (from, to netip.AddrPort) {
	return netip.AddrPortFrom(addrOf(ip.SourceAddress()), tcp.SourcePort()),
		netip.AddrPortFrom(addrOf(ip.DestinationAddress()), tcp.DestinationPort())
}

// seqLen is how much of the sequence space a segment takes up (RFC 9293, 3.4).
func seqLen(tcp header.TCP) uint32 {
	n := uint32(len(tcp.Payload()))
	if tcp.Flags().Intersects(header.TCPFlagSyn) {
		n++
	}
	if tcp.Flags().Intersects(header.TCPFlagFin) {
		n++
	}
	return n
}
