package flow

// more is what only few flows need, or all flows where detail is kept. It is recycled.
type more struct {
	spill   []spilled
	sides   [2]moreSide
	pending []pending
	queue   queue
	tls     tlsStream
	mqtt    mqttStream
	http    *httpStream
	dns     *dnsStream
	flow    *Flow // made at once where flows are kept
	probes  [2]probe
}

// moreSide counts for one end what does not happen to most flows.
type moreSide struct {
	retransmissions, outOfOrder        int
	lost, reordered, ackedUnseen       int
	keepalives, zeroWindows, truncated int
	duplicates                         copies
	missing                            uint64 // bytes of holes that were forgotten to bound memory
	holes                              []hole
}

// copies are the mirror's duplicates.
type copies struct {
	packets, payload uint64
	syn, fin, rst    int
	segments         int // of those, with payload, SYN or FIN
}

// spilled counts a phase and end that the state's cells don't.
type spilled struct {
	phase Phase
	end   uint8
	tally Tally // AirPackets and AirBytes hold only what the air had beyond the captured
}

// count adds to the spilled tally of a phase and end.
func (m *more) count(phase Phase, end int) *Tally {
	for i := range m.spill {
		if e := &m.spill[i]; e.phase == phase && int(e.end) == end {
			return &e.tally
		}
	}
	m.spill = append(m.spill, spilled{}) // filled where it lies, see trace's record
	e := &m.spill[len(m.spill)-1]
	e.phase, e.end = phase, uint8(end)
	return &e.tally
}

// reset makes it as good as new, keeping what memory may be used again. What a Flow got is not touched.
func (m *more) reset() {
	holes := [2][]hole{m.sides[0].holes[:0], m.sides[1].holes[:0]}
	m.queue.clear()
	m.tls.reset()
	m.mqtt.reset()
	*m = more{spill: m.spill[:0], pending: m.pending[:0], queue: m.queue, tls: m.tls, mqtt: m.mqtt}
	m.sides[0].holes, m.sides[1].holes = holes[0], holes[1]
}

// mores holds the mores by handle; 0 is none. Those given back are used again, up to a bound.
type mores struct {
	all  []*more
	free []uint32
}

func (b *mores) take() (uint32, *more) {
	if n := len(b.free); n > 0 {
		h := b.free[n-1]
		b.free = b.free[:n-1]
		return h, b.all[h-1]
	}
	b.all = append(b.all, &more{})
	return uint32(len(b.all)), b.all[len(b.all)-1]
}

func (b *mores) give(h uint32) {
	b.all[h-1].reset()
	b.free = append(b.free, h)
}

// more gives a state's more, made where it has none yet.
func (t *Tracker) more(s *state) *more {
	if s.more == 0 {
		h, m := t.mores.take()
		s.more = h
		return m
	}
	return t.mores.all[s.more-1]
}

// hasMore gives a state's more, or nil.
func (t *Tracker) hasMore(s *state) *more {
	if s.more == 0 {
		return nil
	}
	return t.mores.all[s.more-1]
}
