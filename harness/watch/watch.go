// Package watch keeps what somebody who looks at a mirror wants to see: which devices talk, with whom, and how much. It is
// fed with decoded packets and holds no more than the devices and flows of the last minute, and of those no more than a
// bound: it can stand beside an analysis of any mirror for days.
//
// It says what passes, and judges nothing: the mirror's copies are counted, and who is the device of a flow is a guess
// where nobody says it.
package watch

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

const (
	// lately is how long a device, and a flow, is shown after its last packet.
	lately = time.Minute
	// maxDevices and maxFlows bound what is kept apart. What comes on top is in the sums.
	maxDevices = 1 << 16
	maxFlows   = 1 << 17
)

// Rate is how much passed, per second.
type Rate struct {
	Packets float64 `json:"packets"`
	Bytes   float64 `json:"bytes"` // of the inner frames
}

// Device is what a device did since the view before.
type Device struct {
	Address netip.Addr
	Flows   int // with a packet in the last minute
	Up      Rate
	Down    Rate
	Kind    packet.Kind    // of the latest packet
	Peer    netip.AddrPort // of that packet
	Name    string         // of that peer, as a DNS answer had it; "" where none was seen. A stranger's text.
}

// View is what passed between two looks.
type View struct {
	Devices int // with a packet in the last minute
	Flows   int
	Up      Rate // of all
	Down    Rate
	Top     []Device // the busiest, by bytes
	Rest    Device   // what all others sum up to; its Address is invalid
	Others  int      // how many those are
	// Bounded says that there were more devices or flows than are kept apart.
	Bounded bool
}

// Board is fed by Add and looked at by View, from any goroutines.
type Board struct {
	nets []netip.Prefix

	mu      sync.Mutex
	devices table[packet.Addr, device]
	flows   table[key, conversation]
	names   names
	sum     [2]count
	since   time.Time
	now     int64 // of the last view, nanoseconds
	ranks   []ranked
	bounded bool
}

type count struct{ packets, bytes uint64 }

// up and down index counts.
const (
	up   = 0
	down = 1
)

type device struct {
	count  [2]count
	flows  int
	opener bool // it has opened a flow
	last   int64
	fresh  bool // it had a packet since the last view
	peer   packet.Addr
	port   uint16
	kind   packet.Kind
}

// key is what makes a flow, its ends in order. It has no gaps between its fields, so that a map hashes and compares it in
// one piece.
type key struct {
	path         uint16
	kind         uint16 // a packet.Kind
	a, b         packet.Addr
	aPort, bPort uint16
}

type conversation struct {
	device int // in the table of devices, -1 where there is none
	end    int // which end it is
	last   int64
	fresh  bool
}

// New makes a board whose first view counts from now. The devices are those of some networks, or where none is given
// whoever opens a flow, as far as it can be seen.
func New(now time.Time, devices []netip.Prefix) *Board {
	return &Board{nets: devices, devices: newTable[packet.Addr, device](maxDevices), flows: newTable[key, conversation](maxFlows),
		names: names{}, since: now, now: now.UnixNano()}
}

// Add takes a packet. Nothing of it is kept.
func (b *Board) Add(p *packet.Packet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.Kind == packet.UDP && p.SrcPort == 53 {
		b.names.learn(p.Payload)
	}
	k, sender := keyOf(p)
	_, c := b.flows.find(k)
	if c == nil {
		fresh := conversation{end: b.orient(&k, sender, p)}
		if fresh.end < 0 {
			return // no device takes part
		}
		fresh.device = b.deviceAt(k.address(fresh.end), opens(p))
		if _, c = b.flows.add(k, fresh); c != nil && fresh.device >= 0 {
			b.devices.at(fresh.device).flows++
		}
	}
	if c == nil {
		b.bounded = true
		b.sum[up].add(p) // nobody knows better
		return
	}
	c.fresh = true
	dir := down
	if sender == c.end {
		dir = up
	}
	b.sum[dir].add(p)
	if c.device < 0 {
		b.bounded = true
		return
	}
	d := b.devices.at(c.device)
	d.count[dir].add(p)
	d.fresh, d.kind = true, p.Kind
	d.peer, d.port = k.address(1-c.end), k.port(1-c.end)
}

// keyOf gives a packet's flow, and which of its ends sent it.
func keyOf(p *packet.Packet) (k key, sender int) {
	k = key{path: p.Path, kind: uint16(p.Kind), a: p.Src, b: p.Dst, aPort: p.SrcPort, bPort: p.DstPort}
	if c := compare(&p.Src, &p.Dst); c > 0 || c == 0 && p.SrcPort > p.DstPort {
		k.a, k.b, k.aPort, k.bPort = k.b, k.a, k.bPort, k.aPort
		return k, 1
	}
	return k, 0
}

func compare(a, b *packet.Addr) int { return bytes.Compare(a[:], b[:]) }

func (k *key) address(end int) packet.Addr {
	if end == 0 {
		return k.a
	}
	return k.b
}

func (k *key) port(end int) uint16 {
	if end == 0 {
		return k.aPort
	}
	return k.bPort
}

// orient says which end of a flow is the device, -1 where neither is.
func (b *Board) orient(k *key, sender int, p *packet.Packet) int {
	if len(b.nets) > 0 {
		for end := range 2 {
			a := k.address(end).Netip()
			if slices.ContainsFunc(b.nets, func(n netip.Prefix) bool { return n.Contains(a) }) {
				return end
			}
		}
		return -1
	}
	switch {
	case p.Kind == packet.TCP && p.Flags&packet.SYN != 0 && p.Flags&packet.ACK != 0:
		return 1 - sender
	case p.Kind == packet.UDP && p.SrcPort == 53 && p.DstPort != 53:
		return 1 - sender
	}
	if _, other := b.devices.find(k.address(1 - sender)); other != nil && other.opener && !opens(p) {
		return 1 - sender
	}
	return sender
}

// opens says whether a packet is one that only who opens a flow sends.
func opens(p *packet.Packet) bool {
	return p.Kind == packet.TCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN || p.Kind == packet.UDP && p.DstPort == 53
}

// deviceAt gives a device's place in the table, -1 where that is full.
func (b *Board) deviceAt(a packet.Addr, opener bool) int {
	h, d := b.devices.find(a)
	if d == nil {
		h, d = b.devices.add(a, device{})
	}
	if d == nil {
		return -1
	}
	d.opener = d.opener || opener
	return h
}

func (c *count) add(p *packet.Packet) {
	c.packets++
	c.bytes += uint64(p.WireLen)
}

// View gives what passed since the view before, with so many of the busiest devices one by one.
func (b *Board) View(now time.Time, top int) View {
	b.mu.Lock()
	defer b.mu.Unlock()
	span := max(now.Sub(b.since).Seconds(), 1e-3)
	b.since, b.now = now, now.UnixNano()
	b.settle()
	v := View{Devices: b.devices.size(), Flows: b.flows.size(), Bounded: b.bounded, Up: b.sum[up].rate(span), Down: b.sum[down].rate(span)}
	b.sum = [2]count{}
	ranks := b.rank()
	for i, r := range ranks {
		d := b.device(r.place, span)
		if i < top {
			d.Name = b.names[b.devices.at(r.place).peer]
			v.Top = append(v.Top, d)
			continue
		}
		v.Others++
		v.Rest.Flows += d.Flows
		v.Rest.Up.add(d.Up)
		v.Rest.Down.add(d.Down)
	}
	for _, r := range ranks {
		b.devices.at(r.place).count = [2]count{}
	}
	return v
}

// ranked is a device by what makes its rank.
type ranked struct {
	bytes uint64
	place int
}

// rank gives the devices in the order in which they are shown. The list is the board's own: made anew at every look, those
// of a large fleet would be most of a tap's garbage.
func (b *Board) rank() []ranked {
	b.ranks = b.ranks[:0]
	b.devices.each(func(place int, d *device) bool {
		b.ranks = append(b.ranks, ranked{d.count[up].bytes + d.count[down].bytes, place})
		return true
	})
	slices.SortFunc(b.ranks, func(x, y ranked) int {
		return cmp.Or(cmp.Compare(y.bytes, x.bytes), b.devices.keys[x.place].Netip().Compare(b.devices.keys[y.place].Netip()))
	})
	return b.ranks
}

// device describes the device at a place, but for its peer's name.
func (b *Board) device(place int, span float64) Device {
	d := b.devices.at(place)
	return Device{Address: b.devices.keys[place].Netip(), Flows: d.flows, Up: d.count[up].rate(span), Down: d.count[down].rate(span),
		Kind: d.kind, Peer: netip.AddrPortFrom(d.peer.Netip(), d.port)}
}

func (c count) rate(seconds float64) Rate {
	return Rate{Packets: float64(c.packets) / seconds, Bytes: float64(c.bytes) / seconds}
}

func (r *Rate) add(o Rate) {
	r.Packets += o.Packets
	r.Bytes += o.Bytes
}

// settle dates what had a packet since the last view, and lets go of what had none for long. A device with flows stays.
func (b *Board) settle() {
	b.flows.each(func(_ int, c *conversation) bool {
		if c.fresh {
			c.last, c.fresh = b.now, false
		}
		if b.now-c.last <= int64(lately) {
			return true
		}
		if c.device >= 0 {
			b.devices.at(c.device).flows--
		}
		return false
	})
	b.devices.each(func(_ int, d *device) bool {
		if d.fresh {
			d.last, d.fresh = b.now, false
		}
		return d.flows > 0 || b.now-d.last <= int64(lately)
	})
}
