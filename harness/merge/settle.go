package merge

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// settle looks a last time for what a packet that some taps missed may be: one that came to another tap too late to be
// surely the same, or one that a network card joined from several, or took apart.
func (m *Merger) settle(h *held) {
	if h.gone {
		return
	}
	if !h.id.unique() {
		if o := m.laggard(h); o != nil {
			m.doubt(h, distance(h.at, o.at))
			m.absorb(h, o)
		}
	}
	if h.id.kind == packet.TCP && h.id.length > 0 {
		m.resegmented(h)
	}
}

// laggard finds a packet alike at taps that missed this one.
func (m *Merger) laggard(h *held) *held {
	var best *held
	for o := m.alike[h.id]; o != nil; o = o.older {
		if o != h && !o.gone && o.seen&h.seen == 0 && distance(o.at, h.at) <= copyTime && o.like(h) && (best == nil || o.at < best.at) {
			best = o
		}
	}
	return best
}

// absorb makes a held packet stand in another one, and no longer by itself.
func (m *Merger) absorb(h, o *held) {
	m.learn(h, o)
	m.join(h, o)
	o.gone = true
}

func (m *Merger) doubt(h *held, apart int64) {
	if len(m.doubts) >= maxListed {
		m.more++
		return
	}
	m.doubts = append(m.doubts, Doubt{At: h.at - m.taps[0].shift, Apart: time.Duration(apart), Src: h.p.Src, Dst: h.p.Dst})
}

// joinTime is how long a network card gathers segments to join them.
const joinTime = int64(50 * time.Millisecond)

// resegmented finds the segments of which a packet that only some taps saw is made, or of which it is a part, at taps that
// missed it: segmentation and receive offload make one packet of several on one host and not on another. The larger one
// stands for its parts.
func (m *Merger) resegmented(h *held) {
	for _, o := range m.held.waiting() {
		if o.at-h.at > joinTime {
			return
		}
		if o == h || o.gone || o.seen&h.seen != 0 || o.id.length == 0 || !o.id.sameFlow(&h.id) {
			continue
		}
		switch {
		case o.id.length < h.id.length && h.covers(o):
			o.gone = true
		case o.id.length > h.id.length && o.covers(h):
			h.gone = true
		default:
			continue
		}
		part, whole := o, h
		if h.gone {
			part, whole = h, o
		}
		for i, t := range m.taps {
			if part.seen.Has(i) {
				t.tally.Copies++
			}
		}
		if end := part.id.seq + uint32(part.id.length); end == whole.id.seq+uint32(whole.id.length) {
			whole.seen |= part.seen // its last part is there: the parts before were, or were missed by themselves
		}
		if h.gone {
			return
		}
	}
}

// covers says whether a segment holds all bytes of another.
func (h *held) covers(o *held) bool {
	offset := o.id.seq - h.id.seq
	return int64(offset)+int64(o.id.length) <= int64(h.id.length)
}
