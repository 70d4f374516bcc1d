package flow

import "github.com/tollgate-iot/tollgate/harness/packet"

// Ready is what is known of a packet without looking at its flow: which flow that is, which end sent it, and whether the
// mirror sent it before.
type Ready struct {
	key  key
	hash uint32
	end  uint8
	copy bool
}

// Front works out Ready for packets in their order. It is the part of a Tracker that another goroutine can do, so that
// two processors share the work of one capture; Tracker.Add does both parts.
type Front struct {
	copies duplicates
	seed   [2]uint64 // of the tracker's table
}

// Front gives the tracker's own front. Every packet must pass it once, in order: either by Add, or by Meet and AddReady.
func (t *Tracker) Front() *Front { return &t.front }

// Meet works out r for the next packet.
func (f *Front) Meet(p *packet.Packet, r *Ready) {
	r.end = uint8(keyOf(p, &r.key))
	r.hash = r.key.hash(&f.seed)
	r.copy = f.copies.copied(&r.key, int(r.end), p)
}
