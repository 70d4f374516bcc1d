package packet

import "encoding/binary"

// This file holds the link types and encapsulations that a device's mirror hardly ever has, but other captures do.

// Ethernet types of frames in frames, and GRE protocols of single makers.
const (
	typePBB        = 0x88e7 // IEEE 802.1Q, 9.7: provider backbone bridges
	typeFabricPath = 0x8903 // Cisco
	typeVNTag      = 0x8926 // Cisco
	typeETag       = 0x893f // IEEE 802.1BR, 7.5
	greWCCP        = 0x883e // draft-wilson-wrec-wccp-v2: a redirect header, then IP
	greAruba       = 0x8200 // and further ones up to greArubaEnd, in steps of 16: an 802.11 frame
	greArubaEnd    = 0x8400
)

// uncommon decodes the Ethernet types that are rarely seen, and says whether kind was one.
func (d *Decoder) uncommon(p *Packet, kind uint16, b []byte, room int) (Result, bool) {
	skip := func(n int) ([]byte, int) { return b[min(n, len(b)):], room - n }
	switch {
	case kind == typePBB: // a service identifier, and a frame from its destination on
		b, room = skip(4)
	case kind == typeFabricPath: // a tag of tree and hop count, and a frame
		b, room = skip(2)
	case kind == typeVNTag && len(b) >= 6:
		d.headers += 6
		return d.etherType(p, binary.BigEndian.Uint16(b[4:]), b[6:], room-6), true
	case kind == typeETag && len(b) >= 8:
		d.headers += 8
		return d.etherType(p, binary.BigEndian.Uint16(b[6:]), b[8:], room-8), true
	case kind == greWCCP && p.Tunnel == GRE:
		if len(b) > 0 && b[0]>>4 != 4 {
			b, room = skip(4)
		}
		return d.ip(p, b, room), true
	case kind >= greAruba && kind < greArubaEnd && kind&0xf == 0 && p.Tunnel == GRE:
		return d.wireless(p, b, room, false), true
	default:
		return 0, false
	}
	return d.ethernet(p, b, room), true
}

// radiotap passes over the radio's fields (radiotap.org), of which only the padding of the 802.11 header matters.
func (d *Decoder) radiotap(p *Packet, b []byte, room int) Result {
	const more, timestamp, flags, padded = 1 << 31, 1 << 0, 1 << 1, 0x20
	if len(b) < 8 {
		return d.shortFrame(p, b, room)
	}
	length, present := int(binary.LittleEndian.Uint16(b[2:])), binary.LittleEndian.Uint32(b[4:])
	if len(b) < length || length < 8 {
		return d.shortFrame(p, b, room)
	}
	at := 8
	for word := present; word&more != 0 && at+4 <= length; at += 4 {
		word = binary.LittleEndian.Uint32(b[at:])
	}
	if present&timestamp != 0 {
		at = (at+7)&^7 + 8
	}
	pad := present&flags != 0 && at < length && b[at]&padded != 0
	return d.wireless(p, b[length:], room-length, pad)
}

// wireless decodes an 802.11 data frame that is not encrypted (IEEE 802.11, 9.2 and 9.3.2): of several aggregated ones
// the first. 14 bytes stand for its header, as for all that is not Ethernet.
func (d *Decoder) wireless(p *Packet, b []byte, room int, pad bool) Result {
	if len(b) < 24 {
		return d.shortFrame(p, b, room)
	}
	const bothWays, encrypted, order = 0x03, 0x40, 0x80
	kind, flags := b[0]&0xfc, b[1]
	if kind&0x0c != 0x08 || kind&0x40 != 0 || flags&encrypted != 0 { // not data, data without any, secret
		return d.noIP(p, b, room)
	}
	header := 24
	if flags&bothWays == bothWays {
		header += 6
	}
	quality := header
	if kind&0x80 != 0 {
		header += 2
		if flags&order != 0 {
			header += 4
		}
	}
	if pad {
		header = (header + 3) &^ 3
	}
	if len(b) < header {
		return d.shortFrame(p, b, room)
	}
	aggregated := kind&0x80 != 0 && b[quality]&0x80 != 0
	b, room = b[header:], room-header
	if aggregated {
		const subframe = 14 // destination, source, length
		if len(b) < subframe {
			return d.shortFrame(p, b, room)
		}
		length := int(binary.BigEndian.Uint16(b[12:]))
		b, room = b[subframe:], room-subframe
		b, room = b[:min(len(b), length)], min(room, length)
	}
	return d.llc(p, b, room)
}

// nflog finds the packet among the attributes of Linux' netfilter log, which are in the byte order of the machine that
// captured, as the first one's length shows.
func (d *Decoder) nflog(p *Packet, b []byte, room int) Result {
	const payload = 9
	if len(b) < 8 {
		return d.shortFrame(p, b, room)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if b[4] == 0 {
		order = binary.BigEndian
	}
	for b, room = b[4:], room-4; len(b) >= 4; {
		size, kind := int(order.Uint16(b)), order.Uint16(b[2:])
		if size < 4 {
			break
		}
		if kind == payload {
			return d.ip(p, b[4:min(size, len(b))], min(size, room)-4)
		}
		step := (size + 3) &^ 3
		b, room = b[min(step, len(b)):], room-step
	}
	return d.noIP(p, nil, 0)
}

// fddi decodes LLC behind frame control and addresses (RFC 1188).
func (d *Decoder) fddi(p *Packet, b []byte, room int) Result {
	const header = 13
	if len(b) < header {
		return d.shortFrame(p, b, room)
	}
	return d.llc(p, b[header:], room-header)
}

// arcnet decodes IP as Linux captures it on ARCNET: source, destination and offset, then RFC 1051's type, or RFC 1201's
// with two further fields where the packet is not split.
func (d *Decoder) arcnet(p *Packet, b []byte, room int) Result {
	switch {
	case len(b) < 9:
		return d.shortFrame(p, b, room)
	case b[4] == 0xf0:
		return d.ip(p, b[5:], room-5)
	case b[4] == 0xd4 && b[5] == 0:
		return d.ip(p, b[8:], room-8)
	}
	return d.noIP(p, b, room)
}

// juniper decodes Ethernet behind Juniper's magic, flags and, where the highest flag says so, extensions.
func (d *Decoder) juniper(p *Packet, b []byte, room int) Result {
	if len(b) < 6 || string(b[:3]) != "MGC" {
		return d.shortFrame(p, b, room)
	}
	header := 4
	if b[3]&0x80 != 0 {
		header = 6 + int(binary.BigEndian.Uint16(b[4:]))
	}
	if len(b) < header {
		return d.shortFrame(p, b, room)
	}
	return d.ethernet(p, b[header:], room-header)
}

// ayiya takes IPv6 out of AYIYA (draft-massar-v6ops-ayiya, 2): lengths of identity and signature, and the next header.
func (d *Decoder) ayiya(p *Packet, b []byte, room int) (Result, bool) {
	if len(b) < 8 || b[3] != protoIPv6 {
		return 0, false
	}
	header := 8 + 1<<(b[0]>>4) + int(b[1]>>4)*4
	if len(b) < header+ipv6Len || b[header]>>4 != 6 || !d.enter(IPIP, 0, p) {
		return 0, false
	}
	return d.ipv6(p, b[header:], room-header), true
}
