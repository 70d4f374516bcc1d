package trace

import "github.com/tollgate-iot/tollgate/harness/packet"

// greJump is how far a GRE sequence number may move and still be the same counter's (RFC 2890, 2.2): more is a mirror that
// began anew, and proves nothing either way.
const greJump = 1 << 16

// greMissing is how many missing ranges are watched for late arrival; the oldest are then taken as lost.
const greMissing = 256

// greSequences follows the sequence numbers of the GRE tunnels that a mirror uses.
type greSequences struct {
	tunnels []*greTunnel // indexed by packet.Packet.GRESource
	packets uint64       // that carried a sequence number
}

// greTunnel is one counter.
type greTunnel struct {
	begun    bool
	next     uint32
	lastTime int64
	anew     bool // the counter jumped: no gap can be told from a new beginning
	missing  []greGap
	lost     []greGap // those given up
	more     uint64   // packets lost beyond what lost lists
}

// greGap is a run of numbers not seen, between two times.
type greGap struct {
	from, count uint32
	since, till int64
}

// add takes the sequence number of a decoded packet.
func (g *greSequences) add(p *packet.Packet) {
	g.packets++
	if int(p.GRESource) >= len(g.tunnels) {
		g.grow(int(p.GRESource) + 1)
	}
	t := g.tunnels[p.GRESource]
	switch {
	case !t.begun:
		t.begun, t.next = true, p.GRESeq+1
	case p.GRESeq == t.next:
		t.next++
	default:
		t.odd(p)
	}
	t.lastTime = p.Time
}

func (g *greSequences) grow(n int) {
	for len(g.tunnels) < n {
		g.tunnels = append(g.tunnels, &greTunnel{})
	}
}

// odd takes a number that is not the next one: a gap, a late arrival, a copy or a new beginning.
func (t *greTunnel) odd(p *packet.Packet) {
	switch ahead := int32(p.GRESeq - t.next); {
	case ahead >= greJump || ahead <= -greJump:
		t.anew = true
		t.next = p.GRESeq + 1
	case ahead > 0:
		t.missing = append(t.missing, greGap{from: t.next, count: uint32(ahead), since: t.lastTime, till: p.Time})
		if len(t.missing) > greMissing {
			t.giveUp()
		}
		t.next = p.GRESeq + 1
	default:
		t.late(p.GRESeq)
	}
}

// late takes a number out of the missing ones; a number that is not missing is the mirror's copy.
func (t *greTunnel) late(seq uint32) {
	for i := range t.missing {
		g := &t.missing[i]
		at := seq - g.from
		if at >= g.count {
			continue
		}
		if rest := g.count - at - 1; rest > 0 && at > 0 {
			t.missing = append(t.missing, greGap{from: seq + 1, count: rest, since: g.since, till: g.till})
			t.missing[i].count = at
		} else if at == 0 {
			g.from, g.count = seq+1, rest
		} else {
			g.count = at
		}
		break
	}
	kept := t.missing[:0]
	for _, g := range t.missing {
		if g.count > 0 {
			kept = append(kept, g)
		}
	}
	t.missing = kept
}

// giveUp takes the oldest missing range as lost.
func (t *greTunnel) giveUp() {
	if len(t.lost) < maxHoles {
		t.lost = append(t.lost, t.missing[0])
	} else {
		t.more += uint64(t.missing[0].count)
	}
	t.missing = append(t.missing[:0], t.missing[1:]...)
}

// gaps gives the ranges never seen, and how many more packets there were than the list holds. Tunnels whose counter
// began anew have none that can be told.
func (g *greSequences) gaps() (list []greGap, more uint64) {
	for _, t := range g.tunnels {
		if t.anew {
			continue
		}
		list = append(append(list, t.lost...), t.missing...)
		more += t.more
	}
	return list, more
}

// whole says whether every one of decoded packets carried a number and no number is missing.
func (g *greSequences) whole(decoded uint64) bool {
	if g.packets == 0 || g.packets != decoded {
		return false
	}
	for _, t := range g.tunnels {
		if t.anew || len(t.missing) > 0 || len(t.lost) > 0 || t.more > 0 {
			return false
		}
	}
	return true
}
