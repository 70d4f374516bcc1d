package trace

import (
	"net/netip"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Passage is what a packet shows at every place that it passes, where nobody changes it.
type Passage struct {
	Src, Dst netip.AddrPort
	Content
}

// Content is what it shows whoever translates its addresses.
type Content struct {
	kind          packet.Kind
	seq, ack      uint32
	flags         packet.Flags
	ipid          uint16
	payload, icmp uint32
}

// PassageOf gives the passage of a flow's packet.
func PassageOf(f *flow.Flow, p *flow.Packet) Passage {
	out := Passage{f.Device, f.Peer, Content{f.Kind, p.Seq, p.Ack, p.Flags, p.IPID, p.Payload, uint32(p.ICMPType)}}
	if p.Dir == flow.Down {
		out.Src, out.Dst = out.Dst, out.Src
	}
	return out
}

// Ahead gives how far the clock of a second place's packets is ahead of the first's, in nanoseconds: by what each place
// shows once, or by the contents alone where all addresses are translated; 0 where nothing passed both.
func Ahead(first, second []*flow.Flow) int64 {
	if apart := apart(first, second, func(p Passage) Passage { return p }); len(apart) > 0 {
		return apart[len(apart)/2]
	}
	if apart := apart(first, second, func(p Passage) Passage { return Passage{Content: p.Content} }); len(apart) > 0 {
		return apart[len(apart)/2]
	}
	return 0
}

// apart gives, in order, how far packets lie apart that each place has once.
func apart(first, second []*flow.Flow, by func(Passage) Passage) (apart []int64) {
	there := once(second, by)
	for k, p := range once(first, by) {
		if q := there[k]; p != nil && q != nil {
			apart = append(apart, q.Time-p.Time)
		}
	}
	slices.Sort(apart)
	return apart
}

// once gives the packets that are alone in what they show, and nil for what is there again.
func once(flows []*flow.Flow, by func(Passage) Passage) map[Passage]*flow.Packet {
	out := map[Passage]*flow.Packet{}
	for _, f := range flows {
		for i := range f.Packets {
			p := &f.Packets[i]
			k := by(PassageOf(f, p))
			if _, again := out[k]; again {
				p = nil
			}
			out[k] = p
		}
	}
	return out
}
