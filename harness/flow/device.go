package flow

import (
	"bytes"
	"math/rand/v2"
	"net/netip"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// trust is how sure it is which end of a flow is the device.
type trust uint8

const (
	trustGuess  trust = iota // by ports, or by who was first
	trustKnown               // the other flows of the address say so
	trustOpener              // it sent the SYN, or the DNS query
	trustGiven               // Options.Devices
)

// device is what is known of an address beyond its flows.
type device struct {
	address
	path    uint16
	opener  bool // it opened a TCP flow or sent a DNS query: certainly a device where devices are inferred
	counter ipCounter
}

// devices finds what is known of an address on a path: open addressing with linear probing over their numbers, from 1. A
// map costs several times as much for every flow. The hash is seeded at random, so that nobody can send addresses that
// all collide; nothing that can be seen depends on the order.
type devices struct {
	all   []device
	slots []uint32 // a power of two of them, at most half full; 0 is empty
	seed  [2]uint64
}

const (
	// maxDevices bounds the addresses that are remembered. Beyond it flows are followed all the same, but know nothing of
	// each other.
	maxDevices  = 1 << 16
	deviceSlots = 1 << 8 // at first
)

func newDevices() devices {
	return devices{slots: make([]uint32, deviceSlots), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// place is where an address stands among the slots, or would stand.
func (d *devices) place(a address, path uint16) uint64 {
	mask := uint64(len(d.slots) - 1)
	for i := mix(a.low^d.seed[0], a.high^uint64(path)<<24^d.seed[1]) & mask; ; i = (i + 1) & mask {
		h := d.slots[i]
		if h == 0 {
			return i
		}
		if e := &d.all[h-1]; e.address == a && e.path == path {
			return i
		}
	}
}

// find gives the number of an address, or 0.
func (d *devices) find(a address, path uint16) uint32 { return d.slots[d.place(a, path)] }

// number gives the number of an address, which it gets where there is room for one; else 0.
func (d *devices) number(a address, path uint16) uint32 {
	i := d.place(a, path)
	if h := d.slots[i]; h != 0 || len(d.all) >= maxDevices {
		return h
	}
	d.all = append(d.all, device{address: a, path: path})
	h := uint32(len(d.all))
	d.slots[i] = h
	if 2*len(d.all) > len(d.slots) {
		d.slots = make([]uint32, 2*len(d.slots))
		for i := range d.all {
			d.slots[d.place(d.all[i].address, d.all[i].path)] = uint32(i + 1)
		}
	}
	return h
}

// orient decides which end of a new flow is the device.
func (t *Tracker) orient(s *state, end int, p *packet.Packet) {
	s.flags &^= flagInferred | flagForeign
	if len(t.opt.Devices) > 0 {
		a, b := t.isDevice(s.key.a.addr()), t.isDevice(s.key.b.addr())
		if a != b {
			s.device, s.trust = 0, trustGiven
			if b {
				s.device = 1
			}
			return
		}
		if !a {
			s.flags |= flagForeign
		}
	}
	s.flags |= flagInferred
	var by int
	by, s.trust = t.infer(s, end, p)
	s.device = uint8(by)
}

func (t *Tracker) isDevice(a packet.Addr) bool {
	addr := a.Netip()
	for _, p := range t.opt.Devices {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// infer names the end that opened the flow, as far as its first packet and the other flows show it.
func (t *Tracker) infer(s *state, end int, p *packet.Packet) (int, trust) {
	switch {
	case manyCast(p.Dst):
		return end, trustGuess
	case p.Kind == packet.TCP && p.Flags&packet.SYN != 0 && p.Flags&packet.ACK == 0:
		return end, trustOpener
	case p.Kind == packet.TCP && p.Flags&packet.SYN != 0:
		return 1 - end, trustOpener
	case p.Kind == packet.UDP && (s.key.aPort() == 53) != (s.key.bPort() == 53):
		if s.key.aPort() == 53 {
			return 1, trustOpener
		}
		return 0, trustOpener
	}
	if a, b := t.opened(s.key.a, s.key.path()), t.opened(s.key.b, s.key.path()); a != b {
		if a {
			return 0, trustKnown
		}
		return 1, trustKnown
	}
	if p.Kind == packet.TCP && s.key.aPort() != s.key.bPort() {
		if s.key.aPort() > s.key.bPort() {
			return 0, trustGuess
		}
		return 1, trustGuess
	}
	if p.Kind == packet.TCP {
		a, b := s.key.a.addr(), s.key.b.addr()
		if bytes.Compare(a[:], b[:]) > 0 {
			return 1, trustGuess
		}
		return 0, trustGuess
	}
	return end, trustGuess
}

// manyCast says whether an address is a group's: multicast or the limited broadcast.
func manyCast(a packet.Addr) bool {
	ip := a.Netip()
	return ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (t *Tracker) opened(a address, path uint16) bool {
	h := t.devices.find(a, path)
	return h != 0 && t.devices.all[h-1].opener
}

// attach ties a flow to its device's record.
func (t *Tracker) attach(s *state) {
	a := s.key.a
	if s.device == 1 {
		a = s.key.b
	}
	h := t.devices.number(a, s.key.path())
	if h != 0 && s.trust == trustOpener {
		t.devices.all[h-1].opener = true
	}
	s.counter = h
}

// correct turns a flow round whose SYN came later and from the other end than was thought.
func (t *Tracker) correct(s *state, end int) {
	if s.trust >= trustOpener {
		return
	}
	s.trust = trustOpener
	if int(s.device) != end {
		t.turn(s)
	}
	t.attach(s)
}

// turn exchanges device and peer. Requests become responses and the other way round.
func (t *Tracker) turn(s *state) {
	s.device = 1 - s.device
	req, resp := hotCell[s.key.kind()][Request], hotCell[s.key.kind()][Response]
	s.cells[req], s.cells[resp] = s.cells[resp], s.cells[req]
	for end := range s.sides {
		for i := range s.sides[end].phases {
			s.sides[end].phases[i] = turned(s.sides[end].phases[i])
		}
	}
	m := t.hasMore(s)
	if m == nil {
		return
	}
	for i := range m.spill {
		m.spill[i].phase = turned(m.spill[i].phase)
	}
	for i := range m.pending {
		m.pending[i].phase = turned(m.pending[i].phase)
	}
	for i := range m.queue.items {
		m.queue.items[i].phase = turned(m.queue.items[i].phase)
	}
	if m.flow == nil {
		return
	}
	for i := range m.flow.Packets {
		p := &m.flow.Packets[i]
		p.Dir, p.Phase = 1-p.Dir, turned(p.Phase)
	}
	for i := range m.flow.Messages {
		m.flow.Messages[i].Dir = 1 - m.flow.Messages[i].Dir
	}
}

func turned(p Phase) Phase {
	switch p {
	case Request:
		return Response
	case Response:
		return Request
	}
	return p
}
