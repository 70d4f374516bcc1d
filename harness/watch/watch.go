// Package watch keeps what somebody who looks at a mirror wants to see: which devices talk, with whom, and how much. It is
// fed by a live analysis and holds no more than the devices and flows of the last minute, and of those no more than a bound.
package watch

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

const (
	// lately is how long a device, and a flow, is shown after its last packet.
	lately = time.Minute
	// maxDevices and maxFlows bound what is kept apart. What comes on top is in the sums.
	maxDevices = 1 << 16
	maxFlows   = 1 << 18
	// maxDetail bounds the lists that the tracker keeps of a flow; nobody looks at them here.
	maxDetail = 1 << 10
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
	Peer    netip.AddrPort // of the latest packet
	Name    string         // of that peer, "" where unknown: a stranger's text
	Phase   flow.Phase     // of that packet
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

// Board is fed by Seen and looked at by View, from any goroutines.
type Board struct {
	mu      sync.Mutex
	devices map[netip.Addr]*device
	flows   map[int]*open
	sum     flow.Both[count]
	since   time.Time
	now     time.Time // of the last view
	bounded bool
}

type count struct{ packets, bytes uint64 }

type device struct {
	count flow.Both[count]
	flows int
	last  time.Time // of the view after its last packet
	fresh bool      // it had a packet since the last view
	peer  netip.AddrPort
	name  string
	phase flow.Phase
}

// open is a flow with a packet in the last minute.
type open struct {
	device *device
	last   time.Time
	fresh  bool
}

// New makes a board whose first view counts from now.
func New(now time.Time) *Board {
	return &Board{devices: map[netip.Addr]*device{}, flows: map[int]*open{}, since: now, now: now}
}

// Seen takes a packet of a device, as flow.Options.Seen gives it.
func (b *Board) Seen(f *flow.Flow, p *flow.Packet) {
	f.Messages, f.Exchanges = short(f.Messages), short(f.Exchanges)
	if f.Foreign {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum[p.Dir].add(p)
	d := b.devices[f.Device.Addr()]
	if d == nil {
		if len(b.devices) >= maxDevices {
			b.bounded = true
			return
		}
		d = &device{}
		b.devices[f.Device.Addr()] = d
	}
	d.count[p.Dir].add(p)
	d.fresh, d.peer, d.name, d.phase = true, f.Peer, f.Name, p.Phase
	b.touch(f.ID, d)
}

func (c *count) add(p *flow.Packet) {
	c.packets++
	c.bytes += uint64(p.Wire)
}

// short lets go of a list that has become long.
func short[T any](list []T) []T {
	if len(list) < maxDetail {
		return list
	}
	return nil
}

// touch notes that a flow of a device had a packet.
func (b *Board) touch(id int, d *device) {
	o := b.flows[id]
	if o == nil {
		if len(b.flows) >= maxFlows {
			b.bounded = true
			return
		}
		o = &open{device: d}
		b.flows[id] = o
		d.flows++
	}
	if o.device != d { // which end is the device was seen better
		o.device.flows--
		d.flows++
		o.device = d
	}
	o.fresh = true
}

// View gives what passed since the view before, with so many of the busiest devices one by one.
func (b *Board) View(now time.Time, top int) View {
	b.mu.Lock()
	defer b.mu.Unlock()
	span := max(now.Sub(b.since).Seconds(), 1e-3)
	b.since, b.now = now, now
	b.settle()
	v := View{Devices: len(b.devices), Flows: len(b.flows), Bounded: b.bounded,
		Up: b.sum[flow.Up].rate(span), Down: b.sum[flow.Down].rate(span)}
	b.sum = flow.Both[count]{}
	all := make([]Device, 0, len(b.devices))
	for a, d := range b.devices {
		all = append(all, Device{Address: a, Flows: d.flows, Up: d.count[flow.Up].rate(span), Down: d.count[flow.Down].rate(span),
			Peer: d.peer, Name: d.name, Phase: d.phase})
		d.count = flow.Both[count]{}
	}
	slices.SortFunc(all, func(a, b Device) int {
		return cmp.Or(cmp.Compare(b.Up.Bytes+b.Down.Bytes, a.Up.Bytes+a.Down.Bytes), a.Address.Compare(b.Address))
	})
	v.Top = all[:min(top, len(all))]
	v.Others = len(all) - len(v.Top)
	for _, d := range all[len(v.Top):] {
		v.Rest.Flows += d.Flows
		v.Rest.Up.add(d.Up)
		v.Rest.Down.add(d.Down)
	}
	return v
}

func (c count) rate(seconds float64) Rate {
	return Rate{Packets: float64(c.packets) / seconds, Bytes: float64(c.bytes) / seconds}
}

func (r *Rate) add(o Rate) {
	r.Packets += o.Packets
	r.Bytes += o.Bytes
}

// settle dates what had a packet since the last view, and lets go of what had none for long.
func (b *Board) settle() {
	for id, o := range b.flows {
		if o.fresh {
			o.last, o.fresh = b.now, false
		} else if b.now.Sub(o.last) > lately {
			o.device.flows--
			delete(b.flows, id)
		}
	}
	for a, d := range b.devices {
		if d.fresh {
			d.last, d.fresh = b.now, false
		} else if b.now.Sub(d.last) > lately {
			delete(b.devices, a)
		}
	}
}
