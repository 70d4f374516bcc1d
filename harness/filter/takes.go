package filter

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// The numbers of the outer headers.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	protoUDP = 17
	protoGRE = 47

	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
	maxExtensions  = 4

	erspanII  = 0x88be // and type I, which has no header of its own
	erspanIII = 0x22eb

	vlanTags = 3
	ipv6Len  = 40
)

// vlanTypes are the Ethernet types of VLAN tags: IEEE 802.1Q, 802.1ad, and the older one of QinQ.
var vlanTypes = []uint16{0x8100, 0x88a8, 0x9100}

// options are the extension headers of IPv6 that are passed over, but for fragments'.
var options = []byte{extHopByHop, extRouting, extDestination}

// Takes says whether a frame is taken, given from its first byte.
func (f *Filter) Takes(framing Framing, frame []byte) bool {
	if f.everything() {
		return true
	}
	if framing == RawIP {
		if len(frame) == 0 {
			return false
		}
		switch frame[0] >> 4 {
		case 4:
			return f.takes4(frame)
		case 6:
			return f.takes6(frame)
		}
		return f.other()
	}
	for at, tags := 12, 0; ; at, tags = at+4, tags+1 {
		if len(frame) < at+2 {
			return false
		}
		switch typ := binary.BigEndian.Uint16(frame[at:]); {
		case typ == etherIPv4:
			return f.takes4(frame[at+2:])
		case typ == etherIPv6:
			return f.takes6(frame[at+2:])
		case tags == vlanTags || !slices.Contains(vlanTypes, typ):
			return f.other()
		}
	}
}

// other says whether a frame without an IP header is taken: it has no outer addresses.
func (f *Filter) other() bool {
	return (f.plain || f.all) && len(f.from) == 0 && len(f.to) == 0
}

func (f *Filter) takes4(b []byte) bool {
	if len(b) < 20 || !among(f.from, b[12:16]) || !among(f.to, b[16:20]) {
		return false
	}
	if f.all {
		return true
	}
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return f.later(b[9])
	}
	return f.transport(b[9], rest(b, int(b[0]&0xf)*4))
}

func (f *Filter) takes6(b []byte) bool {
	if len(b) < ipv6Len || !among(f.from, b[8:24]) || !among(f.to, b[24:40]) {
		return false
	}
	if f.all {
		return true
	}
	proto, b := b[6], b[ipv6Len:]
	for range maxExtensions {
		switch proto {
		case extHopByHop, extRouting, extDestination:
			if len(b) < 2 {
				return false
			}
			proto, b = b[0], rest(b, (int(b[1])+1)*8)
		case extFragment:
			switch {
			case len(b) < 4:
				return false
			case binary.BigEndian.Uint16(b[2:])&0xfff8 != 0:
				return f.later(b[0]) || slices.Contains(options, b[0]) && f.laterBehind()
			}
			proto, b = b[0], rest(b, 8)
		}
	}
	return f.transport(proto, b)
}

// transport says whether a packet is taken by what is behind its IP headers.
func (f *Filter) transport(proto byte, b []byte) bool {
	switch proto {
	case protoGRE:
		return f.gre || f.erspan && len(b) >= 4 && slices.Contains([]uint16{erspanII, erspanIII}, binary.BigEndian.Uint16(b[2:]))
	case protoUDP:
		if len(b) < 4 {
			return false
		}
		to := binary.BigEndian.Uint16(b[2:])
		for _, p := range f.tunnels {
			if p.number == to {
				return p.wanted && f.network(b)
			}
		}
	}
	return f.plain
}

// network says whether a datagram of VXLAN or GENEVE, from its UDP header on, is of a network that is taken. Both have
// the identifier in the same place.
func (f *Filter) network(b []byte) bool {
	return len(f.vnis) == 0 || len(b) >= 16 && slices.Contains(f.vnis, binary.BigEndian.Uint32(b[12:])>>8)
}

// among says whether an address is of one of the networks; of none given, every address is.
func among(list []netip.Prefix, addr []byte) bool {
	a, _ := netip.AddrFromSlice(addr) // 4 or 16 bytes
	return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func rest(b []byte, from int) []byte { return b[min(from, len(b)):] }
