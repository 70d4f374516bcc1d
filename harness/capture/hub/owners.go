package hub

import "github.com/tollgate-iot/tollgate/harness/packet"

// owners says who follows which addresses. An address is nearly always followed by one run: that one is found with as few
// looks into memory as can be, which is what a packet costs where there are thousands of devices.
type owners struct {
	one  map[packet.Addr]*Tap
	more map[packet.Addr][]*Tap // the others, of addresses that several follow
}

func newOwners() owners {
	return owners{one: map[packet.Addr]*Tap{}, more: map[packet.Addr][]*Tap{}}
}

// has says whether a tap follows an address.
func (o *owners) has(a packet.Addr, t *Tap) bool {
	if o.one[a] == t {
		return true
	}
	for _, other := range o.more[a] {
		if other == t {
			return true
		}
	}
	return false
}

func (o *owners) add(a packet.Addr, t *Tap) {
	if o.one[a] == nil {
		o.one[a] = t
		return
	}
	o.more[a] = append(o.more[a], t)
}

func (o *owners) remove(a packet.Addr, t *Tap) {
	list := o.more[a]
	if o.one[a] == t {
		if len(list) == 0 {
			delete(o.one, a)
			return
		}
		o.one[a], list = list[0], list[1:]
	} else {
		for i := range list {
			if list[i] == t {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
	}
	if len(list) == 0 {
		delete(o.more, a)
		return
	}
	o.more[a] = list
}

// give gives a frame to everybody who follows one of its ends, and says whether anybody does.
func (o *owners) give(src, dst packet.Addr, e *entry) bool {
	from, to := o.one[src], o.one[dst]
	if from == nil && to == nil {
		return false
	}
	if from != nil {
		from.give(e)
	}
	if to != nil && to != from && (from == nil || len(o.more) == 0 || !o.has(src, to)) {
		to.give(e)
	}
	if len(o.more) == 0 {
		return true
	}
	for _, t := range o.more[src] {
		t.give(e)
	}
	for _, t := range o.more[dst] {
		if !o.has(src, t) {
			t.give(e)
		}
	}
	return true
}
