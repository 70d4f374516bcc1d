package filter

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

// Program gives the filter as a classic BPF program, which a socket takes (SO_ATTACH_FILTER) and the library's virtual
// machine runs. It gives 0 for a frame that is not taken, and snap for one that is: the bytes of it that are captured at
// most. It is for frames as the socket sees them; a VLAN tag that the kernel keeps beside the frame is not in the way.
func (f *Filter) Program(framing Framing, snap uint32) []bpf.Instruction {
	p := program{f: f, snap: snap}
	switch {
	case f.everything():
		p.ret(true)
	case framing == RawIP:
		p.raw()
	default:
		p.ethernet()
	}
	return p.code
}

// program is a BPF program being written. In it X is the offset of the header that is looked at; memory cell 0 holds
// the IP protocol while X moves.
type program struct {
	f    *Filter
	snap uint32
	code []bpf.Instruction
}

func (p *program) add(i ...bpf.Instruction) { p.code = append(p.code, i...) }

// ret ends the program.
func (p *program) ret(take bool) {
	if !take {
		p.add(bpf.RetConstant{Val: 0})
		return
	}
	p.add(bpf.RetConstant{Val: p.snap})
}

// when runs what then adds where A is one of the values, which are few; else, and where then does not end the program, it
// goes on behind that.
func (p *program) when(values []uint32, then func()) {
	for i, v := range values {
		p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	over := p.jump()
	then()
	p.land(over)
}

// unless is the same where A has none of the bits.
func (p *program) unless(bits uint32, then func()) {
	p.add(bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: bits, SkipTrue: 1})
	over := p.jump()
	then()
	p.land(over)
}

// jump adds a jump whose end is not known yet, and gives its place. Its reach is not limited to 255 as a test's is.
func (p *program) jump() int {
	p.add(bpf.Jump{})
	return len(p.code) - 1
}

// land makes a jump go to the next instruction that is added.
func (p *program) land(at int) { p.code[at] = bpf.Jump{Skip: uint32(len(p.code) - at - 1)} }

// raw begins with an IP header, whose first half byte is its version.
func (p *program) raw() {
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.network(4, 6)
}

// ethernet begins with an Ethernet header, and passes over tags.
func (p *program) ethernet() {
	tags := make([]uint32, len(vlanTypes))
	for i, t := range vlanTypes {
		tags[i] = uint32(t)
	}
	var untagged []int
	for n := range uint32(vlanTags + 1) {
		p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 14 + 4*n}, bpf.LoadAbsolute{Off: 12 + 4*n, Size: 2})
		if n < vlanTags {
			for i, t := range tags { // a tag skips the jump to what follows the tags
				p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: t, SkipTrue: uint8(len(tags) - i)})
			}
			untagged = append(untagged, p.jump())
		}
	}
	for _, at := range untagged {
		p.land(at)
	}
	p.network(etherIPv4, etherIPv6)
}

// network looks at the header at X, which A says is IPv4, IPv6 or another's.
func (p *program) network(four, six uint32) {
	var later, transport []int
	p.when([]uint32{four}, func() {
		p.whole(20)
		p.addresses(p.f.from, 12, 4)
		p.addresses(p.f.to, 16, 4)
		transport = append(transport, p.ipv4()...)
	})
	p.when([]uint32{six}, func() {
		p.whole(ipv6Len)
		p.addresses(p.f.from, 8, 16)
		p.addresses(p.f.to, 24, 16)
		l, t := p.ipv6()
		later, transport = l, append(transport, t...)
	})
	p.ret(p.f.other())
	if p.f.all {
		return
	}
	for _, at := range later {
		p.land(at)
	}
	p.when(optionNumbers(), func() { p.ret(p.f.laterBehind()) })
	p.laterFragment()
	for _, at := range transport {
		p.land(at)
	}
	p.transport()
}

// whole ends the program, not taking the frame, where it is shorter than the header at X: a load from beyond its end does.
func (p *program) whole(header uint32) { p.add(bpf.LoadIndirect{Off: header - 1, Size: 1}) }

// addresses ends the program, not taking the frame, unless the address that is so far behind X is of one of the networks.
func (p *program) addresses(list []netip.Prefix, off uint32, size int) {
	if len(list) == 0 {
		return
	}
	var found []int
	for _, prefix := range list {
		addr := prefix.Addr().AsSlice()
		if len(addr) != size {
			continue
		}
		var differs []int
		for at, bits := 0, prefix.Bits(); bits > 0; at, bits = at+4, bits-32 {
			mask := ^uint32(0) << (32 - min(bits, 32))
			p.add(bpf.LoadIndirect{Off: off + uint32(at), Size: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(addr[at:]), SkipTrue: 1})
			differs = append(differs, p.jump())
		}
		found = append(found, p.jump())
		for _, at := range differs {
			p.land(at)
		}
	}
	p.ret(false)
	for _, at := range found {
		p.land(at)
	}
}

// ipv4 judges later fragments, and goes to where whole packets and first fragments are judged, with their protocol in A
// and the offset behind the header in X.
func (p *program) ipv4() (transport []int) {
	if p.f.all {
		p.ret(true)
		return nil
	}
	p.add(bpf.LoadIndirect{Off: 6, Size: 2})
	p.unless(0x1fff, func() {
		p.add(bpf.LoadIndirect{Off: 9, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0},
			bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
		p.advance()
		transport = append(transport, p.jump())
	})
	p.add(bpf.LoadIndirect{Off: 9, Size: 1})
	p.laterFragment()
	return transport
}

// advance moves X on by A, and puts the protocol from memory in A.
func (p *program) advance() {
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: 0})
}

// ipv6 goes to where later fragments are judged, or whole packets and first fragments, with the protocol in A and, of the
// latter, its offset in X. It passes over the headers between.
func (p *program) ipv6() (later, transport []int) {
	if p.f.all {
		p.ret(true)
		return nil, nil
	}
	p.add(bpf.LoadIndirect{Off: 6, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0}, bpf.LoadConstant{Dst: bpf.RegA, Val: ipv6Len})
	p.advance()
	for range maxExtensions {
		var next []int
		p.when(optionNumbers(), func() {
			p.keepNext()
			p.add(bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
			p.advance()
			next = append(next, p.jump())
		})
		p.when([]uint32{extFragment}, func() {
			p.keepNext()
			p.add(bpf.LoadIndirect{Off: 2, Size: 2})
			p.unless(0xfff8, func() {
				p.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
				p.advance()
				next = append(next, p.jump())
			})
			p.add(bpf.LoadScratch{Dst: bpf.RegA, N: 0})
			later = append(later, p.jump())
		})
		for _, at := range next {
			p.land(at)
		}
	}
	return later, append(transport, p.jump())
}

// keepNext puts the number of the header behind an extension header into memory.
func (p *program) keepNext() {
	p.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0})
}

// laterFragment judges a fragment that is not the first by its protocol.
func (p *program) laterFragment() {
	for _, proto := range []byte{protoUDP, protoGRE} {
		p.when([]uint32{uint32(proto)}, func() { p.ret(p.f.later(proto)) })
	}
	p.ret(p.f.plain)
}

// optionNumbers gives options as a test's values.
func optionNumbers() []uint32 {
	out := make([]uint32, len(options))
	for i, o := range options {
		out[i] = uint32(o)
	}
	return out
}

// transport judges by what is behind the IP headers: its protocol is in A, its offset in X.
func (p *program) transport() {
	p.when([]uint32{protoGRE}, func() {
		if p.f.erspan && !p.f.gre {
			p.add(bpf.LoadIndirect{Off: 2, Size: 2})
			p.when([]uint32{erspanII, erspanIII}, func() { p.ret(true) })
		}
		p.ret(p.f.gre)
	})
	p.when([]uint32{protoUDP}, p.udp)
	p.ret(p.f.plain)
}

// udp judges a datagram by the port that it goes to.
func (p *program) udp() {
	p.add(bpf.LoadIndirect{Off: 2, Size: 2})
	var chosen []int
	for _, t := range p.f.tunnels {
		p.when([]uint32{uint32(t.number)}, func() {
			if t.wanted && len(p.f.vnis) > 0 {
				chosen = append(chosen, p.jump())
				return
			}
			p.ret(t.wanted)
		})
	}
	p.ret(p.f.plain)
	if len(chosen) == 0 {
		return
	}
	for _, at := range chosen {
		p.land(at)
	}
	p.networks()
}

// networks judges a datagram of VXLAN or GENEVE by its network identifier.
func (p *program) networks() {
	p.add(bpf.LoadIndirect{Off: 12, Size: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 8})
	for _, v := range p.f.vnis {
		p.when([]uint32{v}, func() { p.ret(true) })
	}
	p.ret(false)
}
