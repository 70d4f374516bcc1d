package sim

import (
	"io"
	"sync"
)

// stream is a pipe whose writer never waits: what was written stays until it is read. Both ends may be closed.
type stream struct {
	mu      sync.Mutex
	more    sync.Cond
	buf     []byte
	written uint64
	ended   bool // nothing will be written any more
	closed  bool // nobody reads any more
	onClose func()
}

func newStream(onClose func()) *stream {
	s := &stream{onClose: onClose}
	s.more.L = &s.mu
	return s
}

// write adds bytes, all in one piece.
func (s *stream) write(parts ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.closed {
		return
	}
	for _, p := range parts {
		s.buf = append(s.buf, p...)
		s.written += uint64(len(p))
	}
	s.more.Broadcast()
}

// end makes readers see io.EOF after what is left.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.more.Broadcast()
}

// finish closes it and gives what was written and not read.
func (s *stream) finish() []byte {
	s.mu.Lock()
	left := s.buf
	s.mu.Unlock()
	_ = s.Close() // never fails
	return left
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) == 0 && !s.ended && !s.closed {
		s.more.Wait()
	}
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	if len(s.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.buf)
	s.buf = s.buf[n:]
	return n, nil
}

// Close implements io.Closer: a Read in progress returns.
func (s *stream) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed, s.buf = true, nil
	s.more.Broadcast()
	s.mu.Unlock()
	if first {
		s.onClose()
	}
	return nil
}
