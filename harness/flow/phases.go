package flow

import (
	"slices"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// The phase of a packet, in the order of the questions asked:
//
//   - RST: reset. SYN: tcp_handshake, with payload too (RFC 7413).
//   - A keep-alive probe and the ACK that answers it: keepalive.
//   - Payload: by the protocol above TCP, see stream.go; a FIN that carries payload belongs to its payload.
//   - A FIN without payload: teardown.
//   - A pure ACK: the phase of the last byte that it acknowledges, a SYN and a FIN being bytes. So a second ACK of the
//     same bytes belongs to them too. Where that byte was not seen yet, the ACK waits in the pending list with a guess.

// plain is the phase of payload of which nothing more is known.
func (s *state) plain(end int) Phase {
	if end == int(s.device) {
		return Request
	}
	return Response
}

// pending is a packet whose phase is a guess. It is counted with the guess.
type pending struct {
	end   int
	ack   uint32
	time  int64
	phase Phase
	kept  int // index in Flow.Packets, -1 where packets are not kept
	weight
}

const maxPending = 16

// ackPhase gives the phase of a pure ACK. again says that it acknowledges nothing new.
func (t *Tracker) ackPhase(s *state, end int, p *packet.Packet, again bool) Phase {
	if s.more != 0 && t.probeAnswer(s, end, p, again) {
		return Keepalive
	}
	phase, ok := t.settledPhase(s, 1-end, p.Ack-1)
	if !ok {
		phase = t.guessAt(s, 1-end, p.Ack-1)
		t.wait(s, end, p, phase)
	}
	if again && p.Time-s.last >= NeighbourTime {
		pr := &t.more(s).probes[1-end]
		pr.early, pr.isEarly = t.pendingNow(s, end, p, phase), true
	}
	return phase
}

// settledPhase gives the phase of a byte of an end; false while it was not seen, or waits to be read in order.
func (t *Tracker) settledPhase(s *state, end int, seq uint32) (Phase, bool) {
	if t.unseen(s, end, seq) {
		return Other, false
	}
	if m := t.hasMore(s); m != nil {
		if _, undecided := m.queue.holds(end, seq); undecided {
			return Other, false
		}
	}
	return s.sides[end].phaseAt(seq)
}

// guessAt gives the likely phase of a byte that was not seen. A FIN takes up one number: whatever else near it looks like
// the teardown is payload, of which what followed a hole may still wait to be read.
func (t *Tracker) guessAt(s *state, end int, seq uint32) Phase {
	d := &s.sides[end]
	phase, ok := d.phaseNear(seq)
	payload := phase == TeardownPhase && d.flags&sideFIN != 0 && seq != d.finEnd-1
	if ok && phase != TCPHandshake && !payload {
		return phase
	}
	return t.streamGuess(s, end)
}

// nextKept is the index that the packet now at hand will have in Flow.Packets.
func (m *more) nextKept() int {
	if m.flow == nil {
		return -1
	}
	return len(m.flow.Packets)
}

// wait puts a pure ACK on the pending list. Where the list is full the oldest keeps its guess.
func (t *Tracker) wait(s *state, end int, p *packet.Packet, phase Phase) {
	m := t.more(s)
	if len(m.pending) >= maxPending {
		first := m.pending[0]
		m.pending = slices.Delete(m.pending, 0, 1)
		t.reclassify(s, &first, t.guessAt(s, 1-first.end, first.ack-1))
	}
	m.pending = append(m.pending, t.pendingNow(s, end, p, phase))
}

// pendingNow describes the packet at hand.
func (t *Tracker) pendingNow(s *state, end int, p *packet.Packet, phase Phase) pending {
	return pending{end: end, ack: p.Ack, time: p.Time, phase: phase, kept: t.more(s).nextKept(), weight: t.weight}
}

// resolvePending is resolve for the packets of a flow that may have none.
func (t *Tracker) resolvePending(s *state) {
	if m := t.hasMore(s); m != nil && len(m.pending) > 0 {
		t.resolve(s, m, false)
	}
}

// resolve gives pending packets the phase of what they acknowledge, where it is known by now. At the end of a flow
// the others get the best guess, which no longer depends on the order in which packets came.
func (t *Tracker) resolve(s *state, m *more, final bool) {
	left := m.pending[:0]
	for i := range m.pending {
		w := m.pending[i]
		phase, ok := t.settledPhase(s, 1-w.end, w.ack-1)
		switch {
		case ok:
			t.reclassify(s, &w, phase)
		case final:
			t.reclassify(s, &w, t.guessAt(s, 1-w.end, w.ack-1))
		default:
			left = append(left, w)
		}
	}
	m.pending = left
}

// reclassify moves a packet from its guessed phase to another.
func (t *Tracker) reclassify(s *state, w *pending, phase Phase) {
	if w.phase == phase {
		return
	}
	t.undo(s, w.end, w.phase, &w.weight)
	t.count(s, w.end, phase, &w.weight)
	w.phase = phase
	if m := t.hasMore(s); w.kept >= 0 && m.flow != nil && w.kept < len(m.flow.Packets) {
		m.flow.Packets[w.kept].Phase = phase
	}
}

// probe remembers a keep-alive probe until its answer, or an answer that was delivered before its probe.
type probe struct {
	waiting, isEarly bool
	ack              uint32 // the acknowledgement number of the answer
	early            pending
}

func (t *Tracker) probeSent(s *state, end int, p *packet.Packet) {
	m := t.more(s)
	pr := &m.probes[end]
	if pr.isEarly && pr.early.ack == s.sides[end].next && p.Time-pr.early.time < reorderTime {
		early := pr.early
		m.pending = slices.DeleteFunc(m.pending, func(w pending) bool {
			if w.time == early.time && w.end == early.end && w.ack == early.ack {
				early.phase = w.phase
				return true
			}
			return false
		})
		t.reclassify(s, &early, Keepalive)
		pr.isEarly = false
		return
	}
	pr.waiting, pr.ack = true, s.sides[end].next
}

// probeAnswer says whether a pure ACK of an end answers the other's keep-alive probe and nothing else.
func (t *Tracker) probeAnswer(s *state, end int, p *packet.Packet, again bool) bool {
	pr := &t.more(s).probes[1-end]
	if pr.waiting && pr.ack == p.Ack && p.Seq == s.sides[end].next {
		pr.waiting = false
		return again
	}
	return false
}
