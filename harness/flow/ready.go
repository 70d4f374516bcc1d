package flow

import "github.com/tollgate-iot/tollgate/harness/packet"

// Ready is what is known of a packet without looking at its flow: which flow that is, which end sent it, and whether the
// mirror sent it before.
type Ready struct {
	key   key
	hash  uint32
	end   uint8
	copy  bool
	print uint64 // see duplicates; 0 where a second one alike may be genuine
}

// Front works out Ready for packets in their order. It is the part of a Tracker that another goroutine can do, so that
// two processors share the work of one capture; Tracker.Add does both parts.
type Front struct {
	copies duplicates
	seed   [2]uint64 // of the tracker's table
}

// Front gives the tracker's own front. Every packet must pass it once, in order: either by Add, or by Meet and AddMet.
func (t *Tracker) Front() *Front { return &t.front }

// Meet works out r for the next packets, as many as there are in ps.
//
// It does so in passes over all of them. At a mirror's full rate the fingerprints of a tenth of a second are more than the
// processor's nearer caches hold, and to wait for each by itself takes longer than all the rest: asked for together, they
// come together.
func (f *Front) Meet(ps []packet.Packet, r []Ready) {
	r = r[:len(ps)]
	for i := range ps {
		f.name(&ps[i], &r[i])
	}
	f.copies.fetch(r)
	for i := range ps {
		r[i].copy = f.copies.copied(&ps[i], r[i].print)
	}
}

// name works out which flow a packet belongs to, and its fingerprint.
func (f *Front) name(p *packet.Packet, r *Ready) {
	r.end = uint8(keyOf(p, &r.key))
	mixed := r.key.mixed(&f.seed)
	r.hash = fold(mixed)
	r.print = printOf(&r.key, mixed, r.end, p)
}
