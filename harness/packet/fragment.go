package packet

// The bounds of reassembly. A lost fragment must not hold memory for ever, and a flood of them not more than this.
const (
	maxDatagrams = 1024    // waiting at a time
	maxHeld      = 8 << 20 // bytes of payload in them
	maxSegments  = 512     // of one datagram; a path with the least MTU of IPv4 needs 120
	maxGivenUp   = 1 << 14 // fragments kept until Abandoned or Orphans is called
	maxDatagram  = 0xffff
	maxSpare     = 32 // datagrams whose memory waits for the next

	// lifetime is how long a datagram may take, in nanoseconds of the capture: 60 seconds (RFC 8200, 4.5).
	lifetime = 60_000_000_000
)

// fragmentKey names a datagram (RFC 791, 3.2; RFC 8200, 4.5) within a path.
type fragmentKey struct {
	src, dst Addr
	id       uint32
	path     uint16
	proto    uint8 // IPv4 only
	six      bool
}

// segment is a part of a datagram: its bytes from and to, and where they are in datagram.data.
type segment struct{ from, to, at int }

// datagram is an IP datagram that is not whole yet.
type datagram struct {
	key      fragmentKey
	like     Packet // what every fragment's packet has in common
	pieces   []Piece
	segments []segment // in order, without overlaps
	data     []byte    // in the order of arrival, so that memory grows by bytes received and by no header's claim
	total    int       // its length, -1 while the last fragment is missing
	have     int       // bytes in segments
	proto    uint8     // that the first fragment names

	older, newer *datagram
}

// fragments are the datagrams that wait, in the order of their first fragments.
type fragments struct {
	waiting        map[fragmentKey]*datagram
	oldest, newest *datagram
	free           *datagram // linked by older
	spare          int       // how many those are
	held           int       // bytes
	joined         []byte    // the datagram completed last
	givenUp        []Packet
	lost           uint64 // given up beyond maxGivenUp
	repeated       uint64
}

func (f *fragments) init() { f.waiting = map[fragmentKey]*datagram{} }

// fragment keeps one fragment, of room bytes of which b were captured, and decodes the datagram if that completes it.
func (d *Decoder) fragment(p *Packet, id uint32, offset int, more bool, b []byte, room int) Result {
	if offset+room > maxDatagram || room == 0 {
		return d.other(p, b, room)
	}
	if len(b) < room || d.cut {
		if offset == 0 { // it can't become whole, but its headers are here
			d.partial = true
			return d.transport(p, b, room)
		}
		return d.other(p, b, room)
	}
	p.WireLen = d.headers + room
	f := &d.fragments
	f.expire(p.Time)
	key := fragmentKey{src: p.Src, dst: p.Dst, id: id, path: d.path(), six: !p.HasIPID}
	if !key.six {
		key.proto = p.Proto
	}
	g := f.waiting[key]
	if g == nil {
		g = f.begin(key, p)
		g.like.Path = key.path
		g.like.HeaderLen = d.headers
	}
	added := g.add(offset, b)
	if added == 0 {
		f.repeated++
		return Held
	}
	f.held += added
	if offset == 0 {
		g.proto = p.Proto
	}
	if !more {
		g.total = offset + room
	}
	if g.total != g.have {
		g.pieces = append(g.pieces, Piece{Number: p.Number, Time: p.Time, WireLen: p.WireLen})
		f.bound()
		return Held
	}
	return d.whole(p, g)
}

// whole decodes a datagram that is complete.
func (d *Decoder) whole(p *Packet, g *datagram) Result {
	f := &d.fragments
	f.joined = f.joined[:0]
	for _, s := range g.segments {
		f.joined = append(f.joined, g.data[s.at:s.at+s.to-s.from]...)
	}
	p.Proto = g.proto
	p.Pieces = g.pieces
	f.remove(g)
	f.recycle(g)
	if p.HasIPID {
		return d.transport(p, f.joined, len(f.joined))
	}
	return d.extensions(p, f.joined, len(f.joined))
}

// add takes in the bytes of b that are not there yet, as what came first counts, and gives their number. It is 0 too where
// there are too many segments.
func (g *datagram) add(offset int, b []byte) int {
	if len(g.segments) >= maxSegments {
		return 0
	}
	had := g.have
	for from, end := offset, offset+len(b); from < end; {
		i := 0
		for i < len(g.segments) && g.segments[i].to <= from {
			i++
		}
		to := end
		if i < len(g.segments) {
			if g.segments[i].from <= from {
				from = g.segments[i].to
				continue
			}
			to = min(to, g.segments[i].from)
		}
		g.insert(i, segment{from: from, to: to, at: len(g.data)})
		g.data = append(g.data, b[from-offset:to-offset]...)
		g.have += to - from
		from = to
	}
	return g.have - had
}

func (g *datagram) insert(i int, s segment) {
	g.segments = append(g.segments, segment{})
	copy(g.segments[i+1:], g.segments[i:])
	g.segments[i] = s
}

// begin makes an empty datagram like p.
func (f *fragments) begin(key fragmentKey, p *Packet) *datagram {
	g := f.free
	if g != nil {
		f.free = g.older
		f.spare--
	} else {
		g = &datagram{}
	}
	*g = datagram{key: key, like: *p, total: -1, proto: p.Proto, pieces: g.pieces[:0], segments: g.segments[:0], data: g.data[:0], older: f.newest}
	if f.newest != nil {
		f.newest.newer = g
	} else {
		f.oldest = g
	}
	f.newest = g
	f.waiting[key] = g
	return g
}

// remove takes a datagram off the waiting ones.
func (f *fragments) remove(g *datagram) {
	delete(f.waiting, g.key)
	f.held -= g.have
	if g.older != nil {
		g.older.newer = g.newer
	} else {
		f.oldest = g.newer
	}
	if g.newer != nil {
		g.newer.older = g.older
	} else {
		f.newest = g.older
	}
	g.older, g.newer = nil, nil
}

// recycle keeps the memory of some datagrams for the next ones. What they hold stays valid until then.
func (f *fragments) recycle(g *datagram) {
	if f.spare < maxSpare {
		g.older, f.free = f.free, g
		f.spare++
	}
}

// expire gives up what waits for too long.
func (f *fragments) expire(now int64) {
	for f.oldest != nil && now-f.oldest.like.Time > lifetime {
		f.giveUp(f.oldest)
	}
}

// bound gives up the oldest where too much waits.
func (f *fragments) bound() {
	for len(f.waiting) > maxDatagrams || f.held > maxHeld {
		f.giveUp(f.oldest)
	}
}

// giveUp makes a packet of each fragment of a datagram.
func (f *fragments) giveUp(g *datagram) {
	f.remove(g)
	for _, piece := range g.pieces {
		if len(f.givenUp) >= maxGivenUp {
			f.lost++
			continue
		}
		p := g.like
		p.Number, p.Time, p.WireLen = piece.Number, piece.Time, piece.WireLen
		p.Kind, p.Proto = Other, g.proto
		p.PayloadLen = p.WireLen - p.HeaderLen
		p.Payload, p.Pieces = nil, nil
		f.givenUp = append(f.givenUp, p)
	}
	f.recycle(g)
}

// Abandoned gives the fragments that were given up since the last call, because their datagrams did not become whole
// within 60 seconds of the capture or too many waited. Who reads for days calls it now and then: only 16,384 are kept.
// Each is a packet of Kind Other, without payload.
func (d *Decoder) Abandoned(see func(*Packet)) {
	for i := range d.fragments.givenUp {
		see(&d.fragments.givenUp[i])
	}
	d.fragments.givenUp = d.fragments.givenUp[:0]
}

// Orphans is Abandoned, and gives up everything that still waits: for the end of a capture.
func (d *Decoder) Orphans(see func(*Packet)) {
	for {
		for d.fragments.oldest != nil && len(d.fragments.givenUp) < maxGivenUp-maxSegments {
			d.fragments.giveUp(d.fragments.oldest)
		}
		if len(d.fragments.givenUp) == 0 {
			return
		}
		d.Abandoned(see)
	}
}

// FragmentCounts says how many fragments were repeats of others, which are in no packet's Pieces, and how many were lost
// because nobody called Abandoned.
func (d *Decoder) FragmentCounts() (repeated, lost uint64) {
	return d.fragments.repeated, d.fragments.lost
}
