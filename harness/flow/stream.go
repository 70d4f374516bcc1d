package flow

import (
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// app is the protocol above TCP, as far as it matters for phases and detail.
type app uint8

const (
	appUnknown app = iota // no payload was read yet
	appPlain              // nothing that is read: payload up is a request, payload down a response
	appDNS
	appTLS
	appMQTT
	appHTTP // as plain, read for its exchanges where detail is kept
)

// segment is payload on its way to a protocol's reader. data is what the capture holds of size bytes.
type segment struct {
	end      int
	seq, ack uint32
	size     int
	data     []byte
	number   uint64
	time     int64
}

// queue holds segments back until they can be read in order: the order of their own direction, and after everything
// of the other direction that they acknowledge. So a mirror that delivers neighbours in another order, of one
// direction or of both, changes nothing. It is bounded; where it overflows or waits for too long, what is missing is
// given up and the reader is told.
type queue struct {
	began  [2]bool
	parsed [2]uint32 // next sequence number to read, by end
	gaveUp bool      // excuse holds something
	excuse [2]uint32 // holes of the end that begin before it no longer hold the other end back
	items  []queued
	bytes  int
	spare  [][]byte
}

type queued struct {
	segment
	pending      // how the packet was counted
	aside   bool // it has its phase, and waits only for its detail to be read
}

const (
	maxQueued      = 32
	maxQueuedBytes = 64 << 10
	maxWait        = int64(3 * time.Second)
)

func (q *queue) clear() {
	for i := range q.items {
		q.keepBuffer(q.items[i].data)
	}
	*q = queue{items: q.items[:0], spare: q.spare}
}

func (q *queue) keepBuffer(b []byte) {
	if cap(b) > 0 && len(q.spare) < 4 {
		q.spare = append(q.spare, b[:0])
	}
}

// holds says whether the byte at a sequence number of an end waits in the queue; undecided, whether it waits for its phase.
func (q *queue) holds(end int, seq uint32) (waits, undecided bool) {
	for i := range q.items {
		it := &q.items[i]
		if it.segment.end == end && !after(it.seq, seq) && after(it.seq+uint32(it.size), seq) {
			waits, undecided = true, undecided || !it.aside
		}
	}
	return waits, undecided
}

func (q *queue) push(seg *segment, p pending, aside bool) {
	var b []byte
	if n := len(q.spare); n > 0 {
		b, q.spare = q.spare[n-1], q.spare[:n-1]
	}
	it := queued{segment: *seg, pending: p, aside: aside}
	it.data = append(b, seg.data...)
	q.items = append(q.items, it)
	q.bytes += len(it.data)
}

func (q *queue) take(i int) queued {
	it := q.items[i]
	q.bytes -= len(it.data)
	q.items = slices.Delete(q.items, i, i+1)
	return it
}

// payloadPhase gives the phase of a segment with payload, and has the payload read.
func (t *Tracker) payloadPhase(h uint32, s *state, end int, p *packet.Packet, f fate) Phase {
	d := &s.sides[end]
	from := p.Seq
	if p.Flags&packet.SYN != 0 {
		from++
	}
	seg := &segment{ // as a value it would be copied, see trace's record
		end: end, seq: from, ack: p.Ack, size: p.PayloadLen, data: p.Payload, number: p.Number, time: p.Time,
	}
	if p.Flags&packet.ACK == 0 {
		seg.ack = s.sides[1-end].base
	}
	if s.app == appUnknown && t.opens(s, seg) {
		s.app = t.detect(s, seg)
	}
	if !s.app.simple() {
		return t.read(h, s, seg)
	}
	phase := s.simplePhase(end)
	if f != repeated {
		d.note(from, from+uint32(p.PayloadLen), phase)
	}
	if t.detail && s.app != appPlain {
		t.read(h, s, seg)
	}
	return phase
}

// simple says of a protocol that the phase of its payload needs no reading: what is read of it is detail, which changes
// no number.
func (a app) simple() bool { return a == appPlain || a == appHTTP || a == appDNS }

// simplePhase is the phase of an end's payload where the protocol is simple.
func (s *state) simplePhase(end int) Phase {
	if s.app == appDNS {
		return DNS
	}
	return s.plain(end)
}

// simplify gives what waits in the queue its phase, for the protocol has turned out to be simple.
func (t *Tracker) simplify(s *state, m *more) {
	q := &m.queue
	for i := range q.items {
		it := &q.items[i]
		if it.aside {
			continue
		}
		it.aside = true
		phase, from, to := s.simplePhase(it.segment.end), it.seq, it.seq+uint32(it.size)
		if after(q.parsed[it.segment.end], from) {
			from = q.parsed[it.segment.end]
		}
		if after(to, from) {
			s.sides[it.segment.end].note(from, to, phase)
		}
		t.reclassify(s, &it.pending, phase)
	}
}

// opens says whether a segment is certainly the first of its direction and nothing is awaited: then no queue is needed to
// know the protocol.
func (t *Tracker) opens(s *state, seg *segment) bool {
	d := &s.sides[seg.end]
	if m := t.hasMore(s); m != nil && len(m.queue.items) > 0 || (d.flags|s.sides[1-seg.end].flags)&sideHoles != 0 {
		return false
	}
	return d.flags&sideSYN == 0 || seg.seq == d.base+1
}

// read hands a segment to its protocol's reader, now or when its turn comes.
func (t *Tracker) read(h uint32, s *state, seg *segment) Phase {
	m := t.more(s)
	q := &m.queue
	d := &s.sides[seg.end]
	if !q.began[seg.end] {
		q.began[seg.end], q.parsed[seg.end] = true, seg.seq
		if d.flags&sideSYN != 0 {
			q.parsed[seg.end] = d.base + 1
		}
	}
	aside := s.app.simple()
	if waits, _ := q.holds(seg.end, seg.seq); waits || !after(seg.seq+uint32(seg.size), q.parsed[seg.end]) {
		if phase, ok := t.settledPhase(s, seg.end, seg.seq); ok {
			return phase
		}
		return t.streamGuess(s, seg.end)
	}
	if !t.ready(s, m, seg) {
		guess := t.streamGuess(s, seg.end)
		q.push(seg, pending{end: seg.end, time: seg.time, phase: guess, kept: m.nextKept(), weight: t.weight}, aside)
		t.wheel.hasten(&t.slab, h, s, t.wheel.now+1)
		if len(q.items) >= maxQueued || q.bytes >= maxQueuedBytes {
			t.giveUp(s, m)
		}
		return guess
	}
	phase := t.deliver(s, m, seg, aside)
	if len(q.items) > 0 {
		t.drain(s, m)
	}
	return phase
}

// ready says whether it is a segment's turn.
func (t *Tracker) ready(s *state, m *more, seg *segment) bool {
	if after(seg.seq, m.queue.parsed[seg.end]) {
		return false
	}
	other := 1 - seg.end
	o := &s.sides[other]
	if o.flags&sideSeen == 0 {
		return true
	}
	if o.flags&sideHoles != 0 {
		for i := range m.sides[other].holes {
			h := &m.sides[other].holes[i]
			if after(seg.ack, h.from) && !(m.queue.gaveUp && after(m.queue.excuse[other], h.from)) {
				return false
			}
		}
	}
	for i := range m.queue.items {
		if it := &m.queue.items[i]; it.segment.end == other && after(seg.ack, it.seq) {
			return false
		}
	}
	return true
}

// deliver has a segment read whose turn it is, less what was read of it before.
func (t *Tracker) deliver(s *state, m *more, seg *segment, aside bool) Phase {
	parsed := &m.queue.parsed[seg.end]
	first := seg.seq
	phase, known := Other, false
	if old := int(*parsed - seg.seq); old > 0 {
		phase, known = s.sides[seg.end].phaseAt(first)
		seg.data = seg.data[min(old, len(seg.data)):]
		seg.size -= old
		seg.seq = *parsed
	}
	p := t.feed(s, m, seg)
	*parsed = seg.seq + uint32(seg.size)
	if aside {
		return s.simplePhase(seg.end)
	}
	s.sides[seg.end].note(seg.seq, *parsed, p)
	if s.app.simple() && len(m.queue.items) > 0 {
		t.simplify(s, m)
	}
	if known {
		return phase
	}
	return p
}

// drain has all queued segments read whose turn has come.
func (t *Tracker) drain(s *state, m *more) {
	for i := 0; i < len(m.queue.items); i++ {
		it := &m.queue.items[i]
		end := it.segment.end
		if !after(it.seq+uint32(it.size), m.queue.parsed[end]) {
			gone := m.queue.take(i) // overtaken by a segment that was sent again
			if phase, ok := s.sides[end].phaseAt(gone.seq); ok && !gone.aside {
				t.reclassify(s, &gone.pending, phase)
			}
			m.queue.keepBuffer(gone.data)
			i = -1
			continue
		}
		if t.ready(s, m, &it.segment) {
			t.deliverQueued(s, m, i)
			i = -1
		}
	}
}

func (t *Tracker) deliverQueued(s *state, m *more, i int) {
	it := m.queue.take(i)
	buffer := it.data
	phase := t.deliver(s, m, &it.segment, it.aside)
	if !it.aside {
		t.reclassify(s, &it.pending, phase)
	}
	m.queue.keepBuffer(buffer)
}

// giveUp has everything in the queue read without what is missing.
func (t *Tracker) giveUp(s *state, m *more) {
	m.queue.gaveUp = true
	for end := range 2 {
		m.queue.excuse[end] = s.sides[end].next
	}
	for t.drain(s, m); len(m.queue.items) > 0; t.drain(s, m) {
		i := m.queue.nearest()
		it := &m.queue.items[i]
		end := it.segment.end
		if after(it.seq, m.queue.parsed[end]) {
			m.queue.parsed[end] = it.seq
			t.lost(s, m, end)
		}
		t.deliverQueued(s, m, i)
	}
	if len(m.pending) > 0 {
		t.resolve(s, m, false)
	}
}

// nearest gives the queued segment of the lowest number in the direction that has waited longest.
func (q *queue) nearest() int {
	best := 0
	for i := range q.items {
		if q.items[i].segment.end == q.items[0].segment.end && after(q.items[best].seq, q.items[i].seq) {
			best = i
		}
	}
	return best
}

// waited says whether the oldest segment has waited for too long.
func (q *queue) waited(now int64) bool {
	return len(q.items) > 0 && now-q.items[0].segment.time >= maxWait
}

// feed gives a segment to its protocol's reader. The segment's phase is that of its first byte.
func (t *Tracker) feed(s *state, m *more, seg *segment) Phase {
	if s.app == appUnknown {
		s.app = t.detect(s, seg)
	}
	switch s.app {
	case appTLS:
		phase, ok := m.tls.feed(t, s, m, seg)
		if !ok {
			s.app = appPlain
		}
		return phase
	case appMQTT:
		phase, ok := m.mqtt.feed(t, s, m, seg)
		if !ok {
			s.app = appPlain
		}
		return phase
	case appDNS:
		if t.detail {
			t.dnsFeed(s, m, seg)
		}
		return DNS
	case appHTTP:
		t.httpFeed(s, m, seg)
	}
	return s.plain(seg.end)
}

// lost tells a protocol's reader that bytes of a direction are missing.
func (t *Tracker) lost(s *state, m *more, end int) {
	switch s.app {
	case appTLS:
		m.tls.dirs[end].lose()
	case appMQTT:
		m.mqtt.dirs[end].lose()
	case appDNS:
		if m.dns != nil {
			m.dns.lost[end] = true
		}
	case appHTTP:
		if m.http != nil {
			m.http.dirs[end].lose()
		}
	}
}

// streamGuess is the likely phase of payload that can't be read yet.
func (t *Tracker) streamGuess(s *state, end int) Phase {
	switch m := t.hasMore(s); s.app {
	case appTLS:
		return m.tls.guess(s, end)
	case appMQTT:
		return m.mqtt.guess(s, end)
	case appDNS:
		return DNS
	}
	return s.plain(end)
}

// detect recognises the protocol by the first payload of a flow that is read, in either direction.
func (t *Tracker) detect(s *state, seg *segment) app {
	data := seg.data
	middle := s.sides[seg.end].flags&sideSYN == 0
	switch {
	case s.port(53):
		return appDNS
	case startsTLS(data, middle):
		return appTLS
	case middle && (s.port(443) || s.port(8883)):
		return appTLS // in the middle of a record; the next one is found by its header
	case startsConnect(data), s.port(1883) && startsMQTT(data):
		return appMQTT
	case t.detail && startsHTTP(data):
		return appHTTP
	}
	return appPlain
}

func (s *state) port(n uint16) bool { return s.key.aPort() == n || s.key.bPort() == n }
