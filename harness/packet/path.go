package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

const (
	maxTags = 8   // VLAN tags of a path; more are not told apart
	recent  = 256 // size of the table that is looked at before the map
)

// pathKey is what makes a path, in a form that is cheap to build and to compare.
type pathKey struct {
	low, high Addr            // ends of the innermost tunnel, in order, so that both directions are one path
	chain     uint64          // kinds of the tunnels, four bits each, innermost lowest
	id        uint32          // VNI, GRE key or ERSPAN session of the innermost tunnel
	tags      uint32          // how many VLANs there are
	vlans     [maxTags]uint16 // the upper four bits are how many tunnels are around the tag
}

// tag adds a VLAN tag. A tag of VLAN 0 has a priority only and leaves the frame in the network of untagged ones
// (IEEE 802.1Q, table 9-2).
func (k *pathKey) tag(vlan uint16) {
	if vlan != 0 && k.tags < maxTags {
		tunnels := (bits.Len64(k.chain) + 3) / 4
		k.vlans[k.tags] = vlan | uint16(tunnels)<<12
		k.tags++
	}
}

// ends sets the tunnel's ends in order.
func (k *pathKey) ends(a, b *Addr) {
	if less(b, a) {
		a, b = b, a
	}
	k.low, k.high = *a, *b
}

func less(a, b *Addr) bool {
	x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])
	if x == y {
		x, y = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	return x < y
}

func (k *pathKey) path() Path {
	p := Path{Tunnel: Tunnel(k.chain & 0xf), VNI: k.id}
	if p.Tunnel != NoTunnel {
		p.Outer = [2]netip.Addr{k.low.Netip(), k.high.Netip()}
	}
	for _, v := range k.vlans[:k.tags] {
		p.VLANs = append(p.VLANs, v&0xfff)
	}
	return p
}

// hash need only spread the paths of one capture, which differ in few bytes, over the table of recent ones.
func (k *pathKey) hash() uint32 {
	h := binary.LittleEndian.Uint64(k.low[8:])*31 + binary.LittleEndian.Uint64(k.high[8:])
	h ^= uint64(k.id)*0x9e3779b1 ^ uint64(k.vlans[0])<<40 ^ uint64(k.vlans[1])<<52
	h *= 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

// interner numbers keys in the order of their first appearance. It holds MaxPaths keys at most: all later ones share the
// last number, so that a flood of made-up tunnels costs a bounded amount of memory, at the price that flows in those
// are told apart by their addresses and ports alone.
type interner struct {
	last   pathKey
	lastNo uint32
	recent [recent]struct {
		key    pathKey
		number uint32 // 1 more than the number, so that 0 is an empty place
	}
	numbers map[pathKey]uint32
	keys    []pathKey
}

func (i *interner) init() {
	i.numbers = map[pathKey]uint32{{}: 0}
	i.keys = []pathKey{{}}
}

// number gives the key's number; the zero key's is 0.
func (i *interner) number(k *pathKey) uint32 {
	if *k == i.last {
		return i.lastNo
	}
	place := &i.recent[k.hash()%recent]
	if place.number == 0 || place.key != *k {
		place.key, place.number = *k, i.find(k)+1
	}
	i.last, i.lastNo = *k, place.number-1
	return i.lastNo
}

func (i *interner) find(k *pathKey) uint32 {
	if n, ok := i.numbers[*k]; ok {
		return n
	}
	n := uint32(len(i.keys))
	switch {
	case n < MaxPaths-1:
		i.numbers[*k] = n
		i.keys = append(i.keys, *k)
	case n == MaxPaths-1:
		i.keys = append(i.keys, pathKey{chain: k.chain & 0xf}) // stands for this and all that follow
	default:
		n = MaxPaths - 1
	}
	return n
}

// path gives the number of the path of the frame at work.
func (d *Decoder) path() uint16 {
	if d.same {
		if len(d.paths.keys) == 1 {
			d.grow()
			d.paths.keys = append(d.paths.keys, d.key)
		}
		return 1
	}
	if d.known != nil {
		return d.known.path
	}
	if d.key.chain == 0 && d.key.tags == 0 {
		return 0
	}
	return uint16(d.paths.number(&d.key))
}

// Path gives the path that Packet.Path numbers; the zero Path for a number that was never given. With Options.SameMirror
// there is one, that of the first packet. After 65,535 paths all further ones share a number, whose Path has no ends.
func (d *Decoder) Path(n uint16) Path {
	if int(n) >= len(d.paths.keys) {
		return Path{}
	}
	return d.paths.keys[n].path()
}
