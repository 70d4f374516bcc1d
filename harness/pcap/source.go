package pcap

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// readSize is how much is asked of the input at once: larger pieces, and a memory map, were measured to be no faster.
const readSize = 256 << 10

// source is the input with a buffer that callers look into directly, so that a record is never copied.
type source struct {
	in       io.Reader
	buf      []byte
	pos, end int   // buf[pos:end] is read and not yet used
	err      error // that ended the input
}

func newSource(in io.Reader) source { return source{in: in, buf: make([]byte, readSize)} }

// need makes at least n unused bytes available at pos and says whether it could.
func (s *source) need(n int) bool {
	return s.end-s.pos >= n || s.fill(n)
}

// fill is need's slow half. It takes what the input has and asks no further than n needs, so a live pipe's record is
// there as soon as its last byte is. The buffer grows only when it is full of bytes really read.
func (s *source) fill(n int) bool {
	if s.pos > 0 {
		s.end = copy(s.buf, s.buf[s.pos:s.end])
		s.pos = 0
	}
	for idle := 0; s.end < n; {
		if s.err != nil {
			return false
		}
		if s.end == len(s.buf) {
			s.buf = append(s.buf, make([]byte, len(s.buf))...)
		}
		m, err := s.in.Read(s.buf[s.end:])
		s.end += m
		s.err = err
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			s.err = io.ErrNoProgress
		}
	}
	return true
}

// skip drops n bytes without ever holding them, and says whether there were so many.
func (s *source) skip(n uint64) bool {
	for uint64(s.end-s.pos) < n {
		n -= uint64(s.end - s.pos)
		s.pos = s.end
		if !s.fill(1) {
			return false
		}
	}
	s.pos += int(n)
	return true
}

// rest gives the unused bytes.
func (s *source) rest() []byte { return s.buf[s.pos:s.end] }

// Read serves a decompressor that continues where the look at the first bytes stopped.
func (s *source) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !s.need(1) {
		return 0, s.err
	}
	n := copy(p, s.rest())
	s.pos += n
	return n, nil
}

// ended says how the input ended, after need or skip failed: io.EOF where it is all read, and whether bytes of
// an unfinished record were left over.
func (s *source) ended() (cut bool, err error) {
	switch {
	case errors.Is(s.err, io.ErrUnexpectedEOF): // a compressed file that was cut
		return true, io.EOF
	case errors.Is(s.err, io.EOF):
		return s.end > s.pos, io.EOF
	}
	return false, s.failure()
}

// failure explains an error of the input.
func (s *source) failure() error {
	if errors.Is(s.err, zstd.ErrWindowSizeExceeded) {
		return fmt.Errorf("read capture: %w: it needs more than %d MiB of history; unpack it: zstd -dc --long=31 FILE | tollgate inspect -", s.err, maxWindow>>20)
	}
	return fmt.Errorf("read capture: %w", s.err)
}
