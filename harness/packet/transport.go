package packet

import "encoding/binary"

const (
	tcpLen  = 20
	udpLen  = 8
	icmpLen = 8 // type, code, checksum and the four bytes that depend on the type
)

// transport decodes what the IP header's Proto announces.
func (d *Decoder) transport(p *Packet, b []byte, room int) Result {
	switch p.Proto {
	case protoTCP:
		return d.tcp(p, b, room)
	case protoUDP:
		return d.udp(p, b, room)
	case protoICMP, protoICMPv6:
		return d.icmp(p, b, room)
	case protoGRE:
		return d.gre(p, b, room)
	case protoIPv4, protoIPv6:
		return d.ipInIP(p, b, room)
	case protoAH: // leaves what follows readable, and is IPv4's only extension header (RFC 4302, 2)
		return d.extensions(p, b, room)
	}
	return d.other(p, b, room)
}

// tcp decodes a TCP header (RFC 9293, 3.1). A length below that of the fixed part is no reason to lose the segment: the
// payload then begins where the length says, and a length beyond the packet leaves none.
func (d *Decoder) tcp(p *Packet, b []byte, room int) Result {
	if len(b) < tcpLen {
		return d.short(p, b, room)
	}
	header := min(int(b[12]>>4)*4, room)
	p.Kind = TCP
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.Seq, p.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	p.Flags = Flags(b[13])
	p.Window = binary.BigEndian.Uint16(b[14:])
	p.Checksum = binary.BigEndian.Uint16(b[16:])
	if p.Flags&SYN != 0 && header > tcpLen {
		p.options(b[tcpLen:min(header, len(b))])
		d.partial = d.partial || len(b) < header && p.MSS == 0 // of a later segment's options nothing is read
	}
	p.HeaderLen = d.headers + header
	return d.payload(p, b[min(header, len(b)):], room-header)
}

// options reads the two that a SYN's may hold and later segments can't be understood without (RFC 9293, 3.2; RFC 7323, 2.2).
func (p *Packet) options(b []byte) {
	for len(b) > 0 {
		kind := b[0]
		if kind == 0 { // end of the list
			return
		}
		if kind == 1 { // no operation
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		switch value := b[2:b[1]]; {
		case kind == 2 && len(value) == 2:
			p.MSS = binary.BigEndian.Uint16(value)
		case kind == 3 && len(value) == 1:
			p.WindowShift = int8(min(value[0], 14)) // no larger one is meant (RFC 7323, 2.3)
		}
		b = b[b[1]:]
	}
}

// udp decodes a UDP header (RFC 768), whose own length counts unless it is impossible, and takes off the tunnels that are
// known by their ports.
func (d *Decoder) udp(p *Packet, b []byte, room int) Result {
	if len(b) < udpLen {
		return d.short(p, b, room)
	}
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.Checksum = binary.BigEndian.Uint16(b[6:])
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpLen || length > room { // 0: a jumbogram, or left to the network card
		length = room
	}
	b, room = b[udpLen:min(len(b), length)], length-udpLen
	if r, tunnel := d.udpTunnel(p, b, room); tunnel {
		return r
	}
	p.Kind = UDP
	p.HeaderLen = d.headers + udpLen
	return d.payload(p, b, room)
}

// icmp decodes the part that all ICMP and ICMPv6 messages have (RFC 792; RFC 4443, 2.1).
func (d *Decoder) icmp(p *Packet, b []byte, room int) Result {
	if len(b) < 4 {
		return d.short(p, b, room)
	}
	p.Kind = ICMP
	if p.Proto == protoICMPv6 {
		p.Kind = ICMPv6
	}
	p.ICMPType, p.ICMPCode = b[0], b[1]
	p.Checksum = binary.BigEndian.Uint16(b[2:])
	header := min(icmpLen, room)
	d.partial = d.partial || len(b) < header
	p.HeaderLen = d.headers + header
	return d.payload(p, b[min(header, len(b)):], room-header)
}
