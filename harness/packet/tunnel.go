package packet

import "encoding/binary"

// The UDP ports of tunnels.
const (
	portGTPU   = 2152
	portTeredo = 3544
	portVXLAN  = 4789
	portGPE    = 4790 // VXLAN with a protocol field
	portAYIYA  = 5072
	portGENEVE = 6081
)

// The Ethernet types of GRE payloads besides those of plain Ethernet.
const (
	greERSPAN  = 0x88be // I and II
	greERSPAN3 = 0x22eb
)

// The bits of a GRE header (RFC 2784, RFC 2890, RFC 2637).
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greAck      = 0x0080
	greVersion  = 0x0007
)

// enter begins the packet inside a tunnel, whose ends are the addresses of the IP header read last. It says no where
// tunnels are nested too deep. Fragments of the tunnel's own packets are none of the device's.
func (d *Decoder) enter(t Tunnel, id uint32, p *Packet) bool {
	if d.depth++; d.depth > maxDepth {
		return false
	}
	d.grow()
	d.key.chain = d.key.chain<<4 | uint64(t)
	d.key.id = id
	d.key.ends(&p.Src, &p.Dst)
	d.headers = etherLen
	p.Tunnel = t
	p.Nested |= tunnels(t)
	p.Pieces = nil
	p.WireLen = 0
	p.SrcPort, p.DstPort, p.Checksum = 0, 0, 0
	return true
}

// gre takes GRE off: version 0 (RFC 2784, with the key and sequence of RFC 2890 and the routing of RFC 1701) and
// version 1, PPTP's (RFC 2637, 4.1).
func (d *Decoder) gre(p *Packet, b []byte, room int) Result {
	outer, outerRoom := b, room
	if len(b) < 4 {
		return d.short(p, b, room)
	}
	flags, kind := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	version := flags & greVersion
	if version > 1 || version == 1 && kind != typePPP {
		return d.other(p, b, room)
	}
	h, ok := greHeader(b, flags)
	if !ok {
		return d.short(p, outer, outerRoom)
	}
	b, room = b[h.length:], room-h.length
	if version == 1 {
		return d.pptp(p, h, b, room)
	}
	if flags&greSequence != 0 {
		p.HasGRESeq, p.GRESeq = true, h.sequence
		p.GRESource = d.sequences.number(&pathKey{low: p.Src, high: p.Dst, id: h.key, tags: 1})
	}
	switch kind {
	case greERSPAN:
		return d.erspan(p, flags&greSequence != 0, b, room)
	case greERSPAN3:
		return d.erspan3(p, b, room)
	}
	if !d.enter(GRE, h.key, p) {
		return d.other(p, outer, outerRoom)
	}
	if kind != typeBridged {
		return d.etherType(p, kind, b, room)
	}
	if flags&^greKey == 0 {
		d.remember(p, etherLen+ipv4Len+h.length)
	}
	return d.ethernet(p, b, room)
}

// greFields are the optional fields of a GRE header that are of use, and its length with all of them.
type greFields struct {
	key, sequence uint32
	length        int
}

// greHeader reads the optional fields, which come in the order of their bits.
func greHeader(b []byte, flags uint16) (h greFields, ok bool) {
	h.length = 4
	if flags&(greChecksum|greRouting) != 0 && flags&greVersion == 0 {
		h.length += 4 // checksum and offset, both there if one is
	}
	key := h.length
	if flags&greKey != 0 {
		h.length += 4
	}
	sequence := h.length
	if flags&greSequence != 0 {
		h.length += 4
	}
	if flags&greAck != 0 && flags&greVersion == 1 {
		h.length += 4
	}
	if len(b) < h.length {
		return h, false
	}
	if flags&greKey != 0 {
		h.key = binary.BigEndian.Uint32(b[key:])
	}
	if flags&greSequence != 0 {
		h.sequence = binary.BigEndian.Uint32(b[sequence:])
	}
	if flags&greRouting == 0 || flags&greVersion != 0 {
		return h, true
	}
	for { // source route entries: family, offset, length; one without family and length is the last (RFC 1701)
		if len(b) < h.length+4 {
			return h, false
		}
		family, size := binary.BigEndian.Uint16(b[h.length:]), int(b[h.length+3])
		h.length += 4 + size
		if len(b) < h.length {
			return h, false
		}
		if family == 0 && size == 0 {
			return h, true
		}
	}
}

// pptp decodes PPP in GRE version 1. The key holds the payload's length and a call id, which differs by direction and
// is no part of the path.
func (d *Decoder) pptp(p *Packet, h greFields, b []byte, room int) Result {
	if length := int(h.key >> 16); length < room {
		b, room = b[:min(len(b), length)], length
	}
	if room == 0 || !d.enter(GRE, 0, p) { // a mere acknowledgement
		return d.other(p, b, room)
	}
	return d.hdlc(p, b, room)
}

// erspan takes ERSPAN off: type I is a frame right after GRE, type II, known by the GRE sequence, has a header of 8
// bytes (draft-foschiano-erspan, 4.1 and 4.2).
func (d *Decoder) erspan(p *Packet, second bool, b []byte, room int) Result {
	if !second {
		if !d.enter(ERSPAN, 0, p) {
			return d.other(p, b, room)
		}
		return d.ethernet(p, b, room)
	}
	if len(b) < 8 {
		return d.short(p, b, room)
	}
	if !d.enter(ERSPAN, uint32(binary.BigEndian.Uint16(b[2:])&0x3ff), p) {
		return d.other(p, b, room)
	}
	d.tag(binary.BigEndian.Uint16(b) & 0xfff)
	return d.ethernet(p, b[8:], room-8)
}

// erspan3 takes ERSPAN type III off: 12 bytes, 8 more where the last bit says so, and a frame or an IP packet
// (draft-foschiano-erspan, 4.3).
func (d *Decoder) erspan3(p *Packet, b []byte, room int) Result {
	if len(b) < 12 {
		return d.short(p, b, room)
	}
	header := 12
	if b[11]&1 != 0 {
		header += 8
	}
	if len(b) < header {
		return d.short(p, b, room)
	}
	if !d.enter(ERSPAN, uint32(binary.BigEndian.Uint16(b[2:])&0x3ff), p) {
		return d.other(p, b, room)
	}
	d.tag(binary.BigEndian.Uint16(b) & 0xfff)
	if b[10]>>2&0x1f == 2 {
		return d.ip(p, b[header:], room-header)
	}
	return d.ethernet(p, b[header:], room-header)
}

// ipInIP takes one IP header off another (RFC 2003, RFC 4213).
func (d *Decoder) ipInIP(p *Packet, b []byte, room int) Result {
	six := p.Proto == protoIPv6
	if !d.enter(IPIP, 0, p) {
		return d.other(p, b, room)
	}
	if six {
		return d.ipv6(p, b, room)
	}
	return d.ipv4(p, b, room)
}

// udpTunnel takes off what p's ports announce and the first bytes confirm, and says whether there is a tunnel at all.
func (d *Decoder) udpTunnel(p *Packet, b []byte, room int) (Result, bool) {
	switch {
	case p.DstPort == portVXLAN || d.vxlanPort(p.DstPort):
		return d.vxlan(p, b, room)
	case p.DstPort == portGPE:
		return d.vxlanGPE(p, b, room)
	case p.DstPort == portGENEVE:
		return d.geneve(p, b, room)
	case p.DstPort == portGTPU || p.SrcPort == portGTPU:
		return d.gtpu(p, b, room)
	case p.DstPort == portTeredo || p.SrcPort == portTeredo:
		return d.teredo(p, b, room)
	case p.DstPort == portAYIYA || p.SrcPort == portAYIYA:
		return d.ayiya(p, b, room)
	}
	return 0, false
}

// tunnelPort says whether a UDP port announces a tunnel.
func (d *Decoder) tunnelPort(port uint16) bool {
	switch port {
	case portGTPU, portTeredo, portVXLAN, portGPE, portAYIYA, portGENEVE:
		return true
	}
	return d.vxlanPort(port)
}

func (d *Decoder) vxlanPort(port uint16) bool { return len(d.ports) > 0 && d.ports[port] }

// vxlan takes VXLAN off (RFC 7348, 5). The bit that makes its network identifier valid is missing in some senders' work,
// which passes where the frame inside is of a well-known type.
func (d *Decoder) vxlan(p *Packet, b []byte, room int) (Result, bool) {
	if len(b) < 8 || b[0]&0x08 == 0 && !plausibleFrame(b[8:]) || !d.enter(VXLAN, binary.BigEndian.Uint32(b[4:])>>8, p) {
		return 0, false
	}
	if b[0]&0x08 != 0 {
		d.remember(p, straightVXLAN)
	}
	return d.ethernet(p, b[8:], room-8), true
}

// vxlanGPE takes VXLAN-GPE off (draft-ietf-nvo3-vxlan-gpe, 3.2), whose fourth byte says what is inside.
func (d *Decoder) vxlanGPE(p *Packet, b []byte, room int) (Result, bool) {
	const four, six, frame = 1, 2, 3
	if len(b) < 8 || b[3] < four || b[3] > frame || !d.enter(VXLAN, binary.BigEndian.Uint32(b[4:])>>8, p) {
		return 0, false
	}
	if b[3] == frame {
		return d.ethernet(p, b[8:], room-8), true
	}
	return d.ip(p, b[8:], room-8), true
}

func plausibleFrame(b []byte) bool {
	if len(b) < etherLen {
		return false
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case typeIPv4, typeIPv6, typeARP, typeVLAN:
		return true
	}
	return false
}

// geneve takes GENEVE off (RFC 8926, 3.4), its options unread.
func (d *Decoder) geneve(p *Packet, b []byte, room int) (Result, bool) {
	if len(b) < 8 || b[0]>>6 != 0 {
		return 0, false
	}
	header := 8 + int(b[0]&0x3f)*4
	if len(b) < header || !d.enter(GENEVE, binary.BigEndian.Uint32(b[4:])>>8, p) {
		return 0, false
	}
	return d.etherType(p, binary.BigEndian.Uint16(b[2:]), b[header:], room-header), true
}

// gtpu takes GTP-U off a T-PDU (3GPP TS 29.281, 5), extension headers included. The TEID is no part of the path: it
// differs by direction and by bearer.
func (d *Decoder) gtpu(p *Packet, b []byte, room int) (Result, bool) {
	const version1, options, tpdu = 0x30, 0x07, 0xff
	if len(b) < 8 || b[0]&0xf0 != version1 || b[1] != tpdu {
		return 0, false
	}
	header := 8
	if b[0]&options != 0 {
		header += 4
		for b[0]&0x04 != 0 && header <= len(b) && b[header-1] != 0 { // the type of the next extension header
			if header == len(b) || b[header] == 0 {
				return 0, false
			}
			header += int(b[header]) * 4
		}
	}
	if len(b) <= header || b[header]>>4 != 4 && b[header]>>4 != 6 || !d.enter(GTPU, 0, p) {
		return 0, false
	}
	return d.ip(p, b[header:], room-header), true
}

// teredo takes IPv6 out of UDP (RFC 4380, 5.1.1), behind the indications of origin and authentication where they are there.
func (d *Decoder) teredo(p *Packet, b []byte, room int) (Result, bool) {
	if len(b) >= 4 && b[0] == 0 && b[1] == 1 { // authentication: lengths of client id and value, nonce, confirmation
		n := 4 + int(b[2]) + int(b[3]) + 9
		b, room = b[min(n, len(b)):], room-n
	}
	if len(b) >= 8 && b[0] == 0 && b[1] == 0 { // origin
		b, room = b[8:], room-8
	}
	if len(b) < ipv6Len || b[0]>>4 != 6 || !d.enter(IPIP, 0, p) {
		return 0, false
	}
	return d.ipv6(p, b, room), true
}
