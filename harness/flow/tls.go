package flow

import (
	"encoding/binary"
)

// TLS as far as it can be seen: record headers (RFC 8446, 5.1; RFC 5246, 6.2.1) and the handshake messages that are
// not encrypted. Phases by record:
//
//   - Types 20 and 22 (change cipher spec, handshake): tls_handshake, encrypted or not, so NewSessionTicket and
//     renegotiation too. Type 21: tls_alert. Type 23 up to TLS 1.2: request or response by direction.
//   - TLS 1.3 sends its encrypted handshake as type 23. The client's first such records, those that begin in the same
//     segment, are held to be its Finished flight (early data would be taken for it). The server's are handshake
//     until it acknowledges that flight. After that type 23 is request or response, except that a record of 19 bytes
//     is an alert: two bytes, their type and the tag (a record cannot be shorter). A ticket is a response then.
const (
	recordCCS       = 20
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
	recordHeartbeat = 24

	maxRecord     = 1<<14 + 2048
	sealedAlert   = 2 + 1 + 16
	maxHello      = 16 << 10
	clientHello   = 1
	serverHello   = 2
	certificate   = 11
	tls13         = 0x0304
	extServerName = 0
	extVersions   = 43
)

type tlsStream struct {
	dirs     [2]tlsDir
	client   int8 // the end that sent ClientHello, and 1, so that zero is unknown
	version  uint16
	finished bool   // the client's Finished flight has begun
	flight   uint32 // its first sequence number
	done     bool   // application data was seen
}

type tlsDir struct {
	head      [5]byte
	have      uint8
	kind      uint8
	left      int // bytes left of the record
	phase     Phase
	sealed    bool // after ChangeCipherSpec
	searching bool // for the next record's header, after a gap
	flightSeg uint32
	inFlight  bool

	messageHead [4]byte
	messageHave uint8
	messageLeft int
	hello       []byte
	collecting  bool
}

func (x *tlsStream) reset() {
	a, b := x.dirs[0].hello[:0], x.dirs[1].hello[:0]
	*x = tlsStream{}
	x.dirs[0].hello, x.dirs[1].hello = a, b
}

func (d *tlsDir) lose() {
	d.searching, d.have, d.left, d.messageHave, d.messageLeft, d.collecting = true, 0, 0, 0, 0, false
}

// startsTLS says whether bytes are the beginning of a TLS stream, or of any record where a stream was joined late.
func startsTLS(b []byte, middle bool) bool {
	if len(b) < 3 || b[1] != 3 || b[2] > 4 {
		return false
	}
	if !middle {
		return b[0] == recordHandshake || b[0] == recordAlert
	}
	return len(b) >= 5 && validRecord(b)
}

func validRecord(h []byte) bool {
	n := int(binary.BigEndian.Uint16(h[3:]))
	return h[0] >= recordCCS && h[0] <= recordHeartbeat && h[1] == 3 && h[2] <= 4 && n <= maxRecord
}

// guess is the phase of bytes that can't be read: what the direction was at.
func (x *tlsStream) guess(s *state, end int) Phase {
	if x.client != 0 && !x.done {
		return TLSHandshake
	}
	return s.plain(end)
}

// feed reads a segment. It returns false where the stream turns out not to be TLS.
func (x *tlsStream) feed(t *Tracker, s *state, m *more, seg *segment) (Phase, bool) {
	d := &x.dirs[seg.end]
	if x.client == 0 && !d.searching && s.sides[seg.end].flags&sideSYN == 0 && d.have == 0 && d.left == 0 &&
		(len(seg.data) < 5 || !validRecord(seg.data)) {
		d.lose() // joined in the middle of a record
	}
	if d.searching {
		if len(seg.data) < 5 || !validRecord(seg.data) {
			return x.guess(s, seg.end), true
		}
		d.searching = false
	}
	first, known := d.phase, d.left > 0
	data, size := seg.data, seg.size
	for size > 0 {
		if len(data) == 0 { // the rest was cut off
			x.skip(d, size)
			break
		}
		if d.left > 0 {
			n := min(d.left, len(data))
			if d.kind == recordHandshake && !d.sealed {
				x.handshake(t, s, m, seg.end, data[:n])
			}
			d.left -= n
			data, size = data[n:], size-n
			continue
		}
		n := copy(d.head[d.have:], data)
		d.have += uint8(n)
		data, size = data[n:], size-n
		if d.have < 5 {
			break
		}
		d.have = 0
		if !validRecord(d.head[:]) {
			if !known && x.client == 0 {
				return s.plain(seg.end), false
			}
			d.lose()
			break
		}
		x.begin(s, d, seg)
		if !known {
			first, known = d.phase, true
		}
	}
	if !known {
		first = x.guess(s, seg.end)
	}
	return first, true
}

// skip passes over bytes that the capture cut off.
func (x *tlsStream) skip(d *tlsDir, size int) {
	if d.have == 0 && size <= d.left {
		d.left -= size
		d.messageLeft = max(0, d.messageLeft-size)
		d.collecting = false
		return
	}
	d.lose()
}

// begin starts the record whose header is complete.
func (x *tlsStream) begin(s *state, d *tlsDir, seg *segment) {
	d.kind = d.head[0]
	d.left = int(binary.BigEndian.Uint16(d.head[3:]))
	switch d.kind {
	case recordCCS:
		d.phase, d.sealed = TLSHandshake, true
	case recordHandshake:
		d.phase = TLSHandshake
	case recordAlert:
		d.phase = TLSAlert
	case recordData:
		d.phase = x.dataPhase(s, d, seg)
	default:
		d.phase = s.plain(seg.end)
	}
}

// dataPhase gives the phase of a record of type 23.
func (x *tlsStream) dataPhase(s *state, d *tlsDir, seg *segment) Phase {
	if x.version == tls13 && x.client != 0 {
		if int(x.client)-1 == seg.end {
			if !x.finished {
				x.finished, x.flight = true, seg.seq
				d.inFlight, d.flightSeg = true, seg.seq
			}
			if d.inFlight && d.flightSeg == seg.seq {
				return TLSHandshake
			}
		} else if !x.finished || !after(seg.ack, x.flight) {
			return TLSHandshake
		}
		if d.left == sealedAlert {
			return TLSAlert
		}
	}
	x.done = true
	return s.plain(seg.end)
}

// handshake reads handshake messages, which may span records.
func (x *tlsStream) handshake(t *Tracker, s *state, m *more, end int, b []byte) {
	d := &x.dirs[end]
	for len(b) > 0 {
		if d.messageLeft > 0 {
			n := min(d.messageLeft, len(b))
			if d.collecting {
				d.hello = append(d.hello, b[:n]...)
			}
			d.messageLeft -= n
			b = b[n:]
			if d.messageLeft == 0 && d.collecting {
				x.helloDone(t, m, d.messageHead[0], d.hello)
				d.collecting = false
			}
			continue
		}
		n := copy(d.messageHead[d.messageHave:], b)
		d.messageHave += uint8(n)
		b = b[n:]
		if d.messageHave < 4 {
			return
		}
		d.messageHave = 0
		x.message(t, s, m, end)
	}
}

// message begins the handshake message whose header is complete.
func (x *tlsStream) message(t *Tracker, s *state, m *more, end int) {
	d := &x.dirs[end]
	kind := d.messageHead[0]
	d.messageLeft = int(d.messageHead[1])<<16 | int(d.messageHead[2])<<8 | int(d.messageHead[3])
	switch kind {
	case clientHello:
		x.client = int8(end) + 1
	case serverHello:
		x.client = int8(1-end) + 1
	case certificate:
		if t.detail && int(x.client)-1 != end {
			x.detail(m).Certificate = d.messageLeft
		}
	}
	d.hello = d.hello[:0]
	d.collecting = kind == serverHello || kind == clientHello && t.detail
	if d.messageLeft > maxHello {
		d.collecting = false
	}
}

func (x *tlsStream) detail(m *more) *TLS {
	if m.flow.TLS == nil {
		m.flow.TLS = &TLS{}
	}
	return m.flow.TLS
}

// helloDone reads a whole ClientHello or ServerHello (RFC 8446, 4.1.2 and 4.1.3).
func (x *tlsStream) helloDone(t *Tracker, m *more, kind uint8, b []byte) {
	r := reader{b: b}
	version := r.u16()
	r.skip(32)
	r.skip(int(r.u8())) // session id
	if kind == clientHello {
		r.skip(int(r.u16())) // cipher suites
		r.skip(int(r.u8()))  // compression methods
	} else {
		r.skip(3)
	}
	name := ""
	for ext := (reader{b: r.take(int(r.u16()))}); len(ext.b) > 0 && !ext.bad; {
		id := ext.u16()
		body := reader{b: ext.take(int(ext.u16()))}
		switch {
		case id == extVersions && kind == serverHello:
			version = body.u16()
		case id == extServerName && kind == clientHello:
			body.skip(3) // length of the list, type host_name
			name = string(body.take(int(body.u16())))
		}
	}
	if kind == serverHello {
		x.version = version
	}
	if !t.detail {
		return
	}
	d := x.detail(m)
	if kind == serverHello {
		d.Version = version
	} else if d.ServerName == "" {
		d.ServerName = name
	}
}

// reader takes numbers off the front of bytes. Reading beyond the end gives zeros and sets bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}
