package flow

import (
	"bytes"
	"strconv"
)

// HTTP/1 (RFC 9112), read for its exchanges only: request lines, Host, status, and the lengths of bodies, so that the
// next message is found where it begins.
const (
	maxHTTPHead = 16 << 10
	maxLine     = 1 << 10
)

type httpStream struct {
	dirs     [2]httpDir
	answered int // exchanges that have their status
}

type httpDir struct {
	state httpState
	left  int64
	buf   []byte
}

type httpState uint8

const (
	httpHead    httpState = iota
	httpBody              // left bytes of body
	httpChunk             // the line of a chunk's size
	httpData              // left bytes of a chunk, its CRLF included
	httpTrailer           // lines after the last chunk
	httpRest              // until the close, or of another protocol
)

func (d *httpDir) lose() { d.state, d.buf = httpRest, nil }

var httpMethods = []string{"GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ",
	"PROPFIND ", "PROPPATCH ", "MKCOL ", "COPY ", "MOVE ", "LOCK ", "UNLOCK "} // the latter of WebDAV (RFC 4918)

// startsHTTP says whether bytes begin a request or an answer.
func startsHTTP(b []byte) bool {
	if bytes.HasPrefix(b, []byte("HTTP/1.")) {
		return true
	}
	for _, m := range httpMethods {
		if n := min(len(m), len(b)); n >= 3 && string(b[:n]) == m[:n] {
			return true
		}
	}
	return false
}

// httpFeed reads a segment.
func (t *Tracker) httpFeed(s *state, m *more, seg *segment) {
	if m.http == nil {
		m.http = &httpStream{}
	}
	d := &m.http.dirs[seg.end]
	if d.state == httpRest && startsHTTP(seg.data) {
		d.state, d.buf = httpHead, nil // a gap ends where a message begins with its segment
	}
	data, size := seg.data, seg.size
	for size > 0 && d.state != httpRest {
		if d.state == httpBody || d.state == httpData {
			n := int(min(d.left, int64(size)))
			d.left -= int64(n)
			data, size = data[min(n, len(data)):], size-n
			if d.left == 0 {
				d.state = map[httpState]httpState{httpBody: httpHead, httpData: httpChunk}[d.state]
			}
			continue
		}
		if len(data) == 0 {
			d.lose()
			return
		}
		n := m.httpLine(s, d, seg, data)
		data, size = data[n:], size-n
	}
}

// httpLine reads as much as ends a head or a line, and gives how much that was.
func (m *more) httpLine(s *state, d *httpDir, seg *segment, data []byte) int {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		d.buf = append(d.buf, data...)
		if len(d.buf) > maxHTTPHead {
			d.lose()
		}
		return len(data)
	}
	d.buf = append(d.buf, data[:i+1]...)
	switch d.state {
	case httpHead:
		if !bytes.HasSuffix(d.buf, []byte("\n\r\n")) && !bytes.HasSuffix(d.buf, []byte("\n\n")) {
			if len(d.buf) <= 2 && len(bytes.TrimSpace(d.buf)) == 0 {
				d.buf = d.buf[:0] // empty lines before a message (RFC 9112, 2.2)
			}
			if len(d.buf) > maxHTTPHead {
				d.lose()
			}
			return i + 1
		}
		head := d.buf
		d.buf = d.buf[:0]
		m.http.head(m.flow, d, seg, head)
	case httpChunk:
		d.chunk()
	case httpTrailer:
		if len(bytes.TrimSpace(d.buf)) == 0 {
			d.state = httpHead
		}
		d.buf = d.buf[:0]
	}
	return i + 1
}

func (d *httpDir) chunk() {
	line, _, _ := bytes.Cut(d.buf, []byte(";"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 48)
	d.buf = d.buf[:0]
	switch {
	case err != nil || n < 0:
		d.lose()
	case n == 0:
		d.state = httpTrailer
	default:
		d.state, d.left = httpData, n+2
	}
}

// head reads the head of a message.
func (x *httpStream) head(f *Flow, d *httpDir, seg *segment, head []byte) {
	first, rest, _ := bytes.Cut(head, []byte("\n"))
	words := bytes.Fields(first)
	fields := httpFields(rest)
	if len(words) >= 2 && bytes.HasPrefix(words[0], []byte("HTTP/1.")) {
		status, err := strconv.Atoi(string(words[1]))
		if err != nil || status < 100 || status > 999 {
			d.lose()
			return
		}
		x.answer(f, d, status, fields)
		return
	}
	if len(words) < 3 || !bytes.HasPrefix(words[2], []byte("HTTP/1.")) {
		d.lose()
		return
	}
	if len(f.Exchanges) < MaxDetail {
		f.Exchanges = append(f.Exchanges, Exchange{Method: clean(words[0]), Target: clean(words[1]), Host: clean(fields.host), Time: seg.time, Number: seg.number})
	}
	d.body(fields, false)
}

// answer gives the oldest exchange without a status this one.
func (x *httpStream) answer(f *Flow, d *httpDir, status int, fields httpHeader) {
	if status >= 100 && status < 200 && status != 101 {
		return
	}
	method := ""
	if x.answered < len(f.Exchanges) {
		e := &f.Exchanges[x.answered]
		e.Status, method = status, e.Method
		x.answered++
	}
	switch {
	case status == 101 || method == "CONNECT" && status < 300:
		x.dirs[0].lose()
		x.dirs[1].lose()
	case method == "HEAD" || status == 204 || status == 304:
	default:
		d.body(fields, true)
	}
}

// body says what follows a head (RFC 9112, 6.3).
func (d *httpDir) body(f httpHeader, answer bool) {
	switch {
	case f.chunked:
		d.state = httpChunk
	case f.length > 0:
		d.state, d.left = httpBody, f.length
	case f.length < 0 && answer:
		d.state = httpRest
	}
}

type httpHeader struct {
	host    []byte
	length  int64 // -1 where not said
	chunked bool
}

func httpFields(b []byte) httpHeader {
	f := httpHeader{length: -1}
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte("\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Host")):
			f.host = value
		case bytes.EqualFold(name, []byte("Content-Length")):
			if n, err := strconv.ParseInt(string(value), 10, 63); err == nil && n >= 0 {
				f.length = n
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			f.chunked = bytes.Contains(bytes.ToLower(value), []byte("chunked"))
		}
	}
	return f
}

// clean makes a string of a stranger's bytes: bounded, and without what would not print.
func clean(b []byte) string {
	b = b[:min(len(b), maxLine)]
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, b))
}
