package packet

import "encoding/binary"

// The Ethernet types that are read (IEEE 802 numbers, as IANA lists them).
const (
	typeIPv4    = 0x0800
	typeARP     = 0x0806
	typeBridged = 0x6558 // a whole Ethernet frame
	typeVLAN    = 0x8100
	typeIPv6    = 0x86dd
	typePPP     = 0x880b
	typeMPLS    = 0x8847
	typeMPLSUp  = 0x8848
	typePPPoE   = 0x8864
	typeQinQ    = 0x88a8
	typeQinQOld = 0x9100
	typeQinQAlt = 0x9200

	// minType is the least number that is a type; lower ones are lengths of 802.3 frames.
	minType = 0x0600
)

// ethernet decodes a frame from its destination address on.
func (d *Decoder) ethernet(p *Packet, b []byte, room int) Result {
	if len(b) < etherLen {
		return d.shortFrame(p, b, room)
	}
	d.headers = etherLen
	kind := binary.BigEndian.Uint16(b[12:])
	b, room = b[etherLen:], room-etherLen
	if kind == typeIPv4 {
		return d.ipv4(p, b, room)
	}
	return d.etherType(p, kind, b, room)
}

// etherType decodes what an Ethernet type announces.
func (d *Decoder) etherType(p *Packet, kind uint16, b []byte, room int) Result {
	switch kind {
	case typeIPv4:
		return d.ipv4(p, b, room)
	case typeIPv6:
		return d.ipv6(p, b, room)
	case typeARP:
		return d.arp(p, b, room)
	case typeVLAN, typeQinQ, typeQinQOld, typeQinQAlt:
		return d.vlan(p, b, room)
	}
	if d.depth++; d.depth > maxDepth {
		return d.noIP(p, b, room)
	}
	switch kind {
	case typeMPLS, typeMPLSUp:
		return d.mpls(p, b, room)
	case typePPPoE:
		return d.pppoe(p, b, room)
	case typePPP:
		return d.hdlc(p, b, room)
	case typeBridged:
		return d.ethernet(p, b, room)
	}
	if r, ok := d.uncommon(p, kind, b, room); ok {
		return r
	}
	if kind < minType {
		return d.ieee8023(p, int(kind), b, room)
	}
	return d.noIP(p, b, room)
}

// tag makes a VLAN part of the path.
func (d *Decoder) tag(vlan uint16) {
	d.grow()
	d.key.tag(vlan)
}

// vlan takes one tag off (IEEE 802.1Q, 9.6).
func (d *Decoder) vlan(p *Packet, b []byte, room int) Result {
	if len(b) < tagLen {
		return d.shortFrame(p, b, room)
	}
	if d.depth++; d.depth > maxDepth {
		return d.noIP(p, b, room)
	}
	d.tag(binary.BigEndian.Uint16(b) & 0xfff)
	d.headers += tagLen
	return d.etherType(p, binary.BigEndian.Uint16(b[2:]), b[tagLen:], room-tagLen)
}

// ieee8023 decodes a frame that has a length in place of the type.
func (d *Decoder) ieee8023(p *Packet, length int, b []byte, room int) Result {
	if length < room {
		b, room = b[:min(len(b), length)], length
	}
	return d.llc(p, b, room)
}

// llc decodes SNAP (IEEE 802, 9.5; RFC 1042), whose type counts where its organisation is that of plain Ethernet.
func (d *Decoder) llc(p *Packet, b []byte, room int) Result {
	const snapLen = 8
	if len(b) < snapLen || b[0] != 0xaa || b[1] != 0xaa || b[2] != 0x03 || b[3] != 0 || b[4] != 0 || b[5] != 0 && b[5] != 0xf8 {
		return d.noIP(p, b, room)
	}
	if d.depth++; d.depth > maxDepth {
		return d.noIP(p, b, room)
	}
	d.headers += snapLen
	return d.etherType(p, binary.BigEndian.Uint16(b[6:]), b[snapLen:], room-snapLen)
}

// mpls takes the label stack off (RFC 3032, 2.1). What is under it is not said and told by its first four bits: an IP
// version, or 0 for a pseudowire's control word with an Ethernet frame behind it (RFC 4385, 3; RFC 4448, 4.6).
func (d *Decoder) mpls(p *Packet, b []byte, room int) Result {
	for bottom := false; !bottom; {
		if len(b) < 4 {
			return d.shortFrame(p, b, room)
		}
		bottom = b[2]&1 != 0
		d.headers += 4
		b, room = b[4:], room-4
	}
	if len(b) == 0 {
		return d.shortFrame(p, b, room)
	}
	switch {
	case b[0]>>4 == 4 || b[0]>>4 == 6:
		return d.ip(p, b, room)
	case len(b) >= 4+etherLen && b[0]>>4 == 0:
		return d.ethernet(p, b[4:], room-4)
	}
	return d.noIP(p, b, room)
}

// pppoe decodes a session's frame (RFC 2516, 4), whose own length leaves the padding out.
func (d *Decoder) pppoe(p *Packet, b []byte, room int) Result {
	const headerLen = 6
	if len(b) < headerLen {
		return d.shortFrame(p, b, room)
	}
	if b[0] != 0x11 || b[1] != 0 {
		return d.noIP(p, b, room)
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	b, room = b[headerLen:], room-headerLen
	if length < room {
		b, room = b[:min(len(b), length)], length
	}
	d.headers += headerLen + 2 // the PPP protocol is read next
	return d.ppp(p, b, room)
}

// ppp decodes from the protocol on, which is one byte where it was compressed (RFC 1661, 2 and 6.5).
func (d *Decoder) ppp(p *Packet, b []byte, room int) Result {
	if len(b) < 2 {
		return d.shortFrame(p, b, room)
	}
	protocol, n := uint16(b[0]), 1
	if protocol&1 == 0 {
		protocol, n = binary.BigEndian.Uint16(b), 2
	}
	b, room = b[n:], room-n
	switch protocol {
	case 0x0021:
		return d.ipv4(p, b, room)
	case 0x0057:
		return d.ipv6(p, b, room)
	case 0x0281, 0x0283:
		return d.etherType(p, typeMPLS, b, room)
	}
	return d.noIP(p, b, room)
}

// arp decodes ARP for IPv4 (RFC 826).
func (d *Decoder) arp(p *Packet, b []byte, room int) Result {
	const arpLen = 28
	if len(b) < arpLen {
		return d.shortFrame(p, b, room)
	}
	if binary.BigEndian.Uint16(b[2:]) != typeIPv4 || b[4] != 6 || b[5] != 4 {
		return d.noIP(p, b, room)
	}
	p.Kind = ARP
	p.Proto, p.TTL, p.HasIPID, p.IPID = 0, 0, false, 0
	p.ICMPCode = uint8(min(binary.BigEndian.Uint16(b[6:]), 0xff))
	p.Src.setIPv4(b[14:])
	p.Dst.setIPv4(b[24:])
	p.HeaderLen = d.headers + arpLen
	return d.payload(p, nil, 0)
}
