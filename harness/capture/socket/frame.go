package socket

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	ipv4Len  = 20
	ipv6Len  = 40
	udpLen   = 8
	vxlanLen = 8
	greLen   = 4

	protoUDP = 17
	protoGRE = 47

	// usualTTL stands for a time to live that is not known: the recommended default of RFC 1700.
	usualTTL = 64
)

// frame gives the record's bytes of a datagram, from the outer IP header on, and says whether it is wanted.
func (t *Tap) frame(d *datagram) (data []byte, wanted bool) {
	if t.proto == vxlan {
		return t.vxlanFrame(d)
	}
	return t.greFrame(d)
}

// vxlanFrame takes VXLAN with a valid network identifier (RFC 7348, 5: the bit I) that is wanted.
func (t *Tap) vxlanFrame(d *datagram) (data []byte, wanted bool) {
	b := d.payload()
	if len(b) < vxlanLen || b[0]&0x08 == 0 || !t.wants(binary.BigEndian.Uint32(b[4:])>>8) || !t.knows(d.from) {
		return nil, false
	}
	putUDP(d.buf[headroom-udpLen:], d)
	return wrap(d, headroom-udpLen, protoUDP), true
}

// greFrame takes GRE with a wanted key (RFC 2784, RFC 2890). What came before the socket was bound to its address may be
// for another.
func (t *Tap) greFrame(d *datagram) (data []byte, wanted bool) {
	b := d.payload()
	six := d.from.Is6()
	if !six {
		if len(b) < ipv4Len || b[0]>>4 != 4 || int(b[0]&0xf)*4 < ipv4Len || len(b) < int(b[0]&0xf)*4 {
			return nil, false
		}
		d.to = netip.AddrFrom4([4]byte(b[16:]))
		b = b[int(b[0]&0xf)*4:]
	}
	key, has, ok := greKey(b)
	if !ok || len(t.ids) > 0 && !(has && t.wants(key)) || !t.knows(d.from) || !t.here(d.to) {
		return nil, false
	}
	if six {
		return wrap(d, headroom, protoGRE), true
	}
	return d.payload(), true
}

// greKey gives a GRE header's key, if it has one; it says no where the header is not all there.
func greKey(b []byte) (key uint32, has, ok bool) {
	if len(b) < greLen {
		return 0, false, false
	}
	const checksumOrRouting, keyed = 0xc0, 0x20
	if b[0]&keyed == 0 {
		return 0, false, true
	}
	at := greLen
	if b[0]&checksumOrRouting != 0 {
		at += 4
	}
	if len(b) < at+4 {
		return 0, false, false
	}
	return binary.BigEndian.Uint32(b[at:]), true, true
}

// wants says whether a tunnel's identifier is one of those asked for.
func (t *Tap) wants(id uint32) bool {
	if len(t.ids) == 0 {
		return true
	}
	_, found := slices.BinarySearch(t.ids, id)
	return found
}

// knows says whether the mirror may send from an address.
func (t *Tap) knows(from netip.Addr) bool {
	return len(t.from) == 0 || slices.ContainsFunc(t.from, func(p netip.Prefix) bool { return p.Contains(from) })
}

// here says whether an address is the one that is listened on.
func (t *Tap) here(to netip.Addr) bool {
	at := t.listen.Addr()
	return at.IsUnspecified() || !to.IsValid() || to == at.WithZone("")
}

// putUDP writes the UDP header of a datagram (RFC 768) in front of it, without checksum.
func putUDP(b []byte, d *datagram) {
	length := udpLen + d.length
	if length > 0xffff {
		length = 0 // RFC 2675, 4
	}
	binary.BigEndian.PutUint16(b, d.fromPort)
	binary.BigEndian.PutUint16(b[2:], d.toPort)
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	binary.BigEndian.PutUint16(b[6:], 0)
}

// wrap writes an IP header in front of the bytes of a datagram's buffer from start on, and gives all from it.
func wrap(d *datagram, start int, proto byte) []byte {
	length := headroom - start + d.length
	if d.from.Is4() && !d.to.Is6() {
		start -= ipv4Len
		putIPv4(d.buf[start:], d, proto, length)
	} else {
		start -= ipv6Len
		putIPv6(d.buf[start:], d, proto, length)
	}
	return d.buf[start : headroom+d.n]
}

// putIPv4 writes a header without options (RFC 791, 3.1) for so many bytes. A length that it can't hold is 0, as
// segmentation offload leaves it.
func putIPv4(b []byte, d *datagram, proto byte, length int) {
	b = b[:ipv4Len]
	total := ipv4Len + length
	if total > 0xffff {
		total = 0
	}
	binary.BigEndian.PutUint16(b, 0x4500)
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint32(b[4:], 0)
	b[8], b[9] = usualTTL, proto
	binary.BigEndian.PutUint16(b[10:], 0)
	from, to := d.from.As4(), [4]byte{}
	if d.to.Is4() {
		to = d.to.As4()
	}
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	var sum uint32
	for i := 0; i < ipv4Len; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum))
}

// putIPv6 writes a header (RFC 8200, 3) for so many bytes. A length that it can't hold is 0, as in a jumbogram.
func putIPv6(b []byte, d *datagram, proto byte, length int) {
	b = b[:ipv6Len]
	if length > 0xffff {
		length = 0
	}
	binary.BigEndian.PutUint32(b, 6<<28)
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	b[6], b[7] = proto, usualTTL
	from, to := d.from.As16(), [16]byte{}
	if d.to.IsValid() {
		to = d.to.As16()
	}
	copy(b[8:], from[:])
	copy(b[24:], to[:])
}
