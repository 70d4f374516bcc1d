package line

import (
	"bytes"
	"time"
)

// MaxLine is the longest line that is given as one, in bytes. A longer one is given in pieces: a device that prints
// without ever ending a line costs no more memory than this.
const MaxLine = 4096

// Line is a line of the console, without its end, bytes as they came.
type Line struct {
	Time time.Time // when its last byte was read
	Text string
}

// splitter makes lines of the bytes read.
type splitter struct {
	buf  []byte
	emit func(Line)
}

// add takes bytes that were read at a time, and emits the lines that they complete.
func (s *splitter) add(b []byte, at time.Time) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.hold(b, at)
			return
		}
		s.hold(b[:end], at)
		s.emit(Line{Time: at, Text: string(bytes.TrimSuffix(s.buf, []byte{'\r'}))})
		s.buf = s.buf[:0]
		b = b[end+1:]
	}
}

// hold keeps the beginning of a line, and emits what is too long of it.
func (s *splitter) hold(b []byte, at time.Time) {
	for len(s.buf)+len(b) > MaxLine {
		n := MaxLine - len(s.buf)
		s.buf = append(s.buf, b[:n]...)
		s.emit(Line{Time: at, Text: string(s.buf)})
		s.buf, b = s.buf[:0], b[n:]
	}
	s.buf = append(s.buf, b...)
}

// flush emits a line that was begun and not ended.
func (s *splitter) flush(at time.Time) {
	if len(s.buf) == 0 {
		return
	}
	s.emit(Line{Time: at, Text: string(bytes.TrimSuffix(s.buf, []byte{'\r'}))})
	s.buf = s.buf[:0]
}
