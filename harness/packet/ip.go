package packet

import "encoding/binary"

// The IP protocols that are read (IANA's assigned internet protocol numbers).
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoIPv4        = 4
	protoTCP         = 6
	protoUDP         = 17
	protoIPv6        = 41
	protoRouting     = 43
	protoFragment    = 44
	protoGRE         = 47
	protoAH          = 51
	protoICMPv6      = 58
	protoDestination = 60
)

const (
	ipv4Len = 20
	ipv6Len = 40
)

// setIPv4 writes the mapped form of the four bytes that b begins with.
func (a *Addr) setIPv4(b []byte) { a.mapIPv4(binary.LittleEndian.Uint32(b)) }

// mapIPv4 writes the mapped form of an address whose first byte is the lowest of v.
func (a *Addr) mapIPv4(v uint32) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], 0xffff0000|uint64(v)<<32)
}

// ip decodes where only the first four bits tell the version.
func (d *Decoder) ip(p *Packet, b []byte, room int) Result {
	if len(b) > 0 && b[0]>>4 == 6 {
		return d.ipv6(p, b, room)
	}
	return d.ipv4(p, b, room)
}

// ipv4 decodes an IPv4 header (RFC 791, 3.1) and what it carries. Checksums are not looked at: offload leaves them wrong.
func (d *Decoder) ipv4(p *Packet, b []byte, room int) Result {
	if len(b) < ipv4Len {
		return d.shortFrame(p, b, room)
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ipv4Len {
		return Undecodable
	}
	if total == 0 { // left to the network card by segmentation offload
		total = room
	}
	if total < header {
		return Undecodable
	}
	if len(b) < header {
		return d.shortFrame(p, b, room)
	}
	if len(b) > total {
		b = b[:total]
	}
	d.cut = len(b) < total // of a tunnel's packet only padding may be missing: the innermost header decides
	total = d.believed(total, room)
	p.TTL = b[8]
	p.Proto = b[9]
	p.IPID, p.HasIPID = binary.BigEndian.Uint16(b[4:]), true
	p.Src.setIPv4(b[12:])
	p.Dst.setIPv4(b[16:])
	d.headers += header
	place := binary.BigEndian.Uint16(b[6:])
	b, room = b[header:], total-header
	if place&0x3fff != 0 { // more fragments follow, or some came before
		return d.fragment(p, uint32(p.IPID), int(place&0x1fff)*8, place&0x2000 != 0, b, room)
	}
	return d.transport(p, b, room)
}

// believed gives the length of an IP packet that claims so many bytes where the layers around it have room for others.
// Inside a tunnel the claim counts, because a mirror may cut a packet to fit its own. On the wire nothing cuts a frame, so
// that a claim beyond the frame's length is damage.
func (d *Decoder) believed(claim, room int) int {
	if d.known == nil && d.key.chain == 0 && claim > room {
		d.partial = true
		return room
	}
	return claim
}

// ipv6 decodes an IPv6 header (RFC 8200, 3) and what it carries.
func (d *Decoder) ipv6(p *Packet, b []byte, room int) Result {
	if len(b) < ipv6Len {
		return d.shortFrame(p, b, room)
	}
	if b[0]>>4 != 6 {
		return Undecodable
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	p.Proto = b[6]
	p.TTL = b[7]
	p.IPID, p.HasIPID = 0, false
	copy(p.Src[:], b[8:24])
	copy(p.Dst[:], b[24:40])
	d.headers += ipv6Len
	b, room = b[ipv6Len:], room-ipv6Len
	if length > 0 { // 0: a jumbogram, or left to the network card
		b = b[:min(len(b), length)]
		d.cut = len(b) < length
		room = d.believed(length, room)
	}
	return d.extensions(p, b, room)
}

// extensions walks the extension headers (RFC 8200, 4) up to a protocol, of which Proto is the number.
func (d *Decoder) extensions(p *Packet, b []byte, room int) Result {
	for {
		switch p.Proto {
		case protoHopByHop, protoRouting, protoDestination, protoFragment, protoAH:
		default:
			return d.transport(p, b, room)
		}
		if len(b) < 8 {
			return d.short(p, b, room)
		}
		header, next := (int(b[1])+1)*8, b[0]
		switch p.Proto {
		case protoAH:
			header = (int(b[1]) + 2) * 4
		case protoFragment:
			header = 8
		}
		if len(b) < header {
			return d.short(p, b, room)
		}
		extension := b[:header]
		b, room = b[header:], room-header
		d.headers += header
		fragment := p.Proto == protoFragment
		p.Proto = next
		if !fragment {
			continue
		}
		// A fragment that is the whole datagram stands alone (RFC 6946).
		if place := binary.BigEndian.Uint16(extension[2:]); place&0xfff9 != 0 {
			return d.fragment(p, binary.BigEndian.Uint32(extension[4:]), int(place&0xfff8), place&1 != 0, b, room)
		}
	}
}
