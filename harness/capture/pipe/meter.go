package pipe

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// meter is between the source and the capture reader, and counts: what was taken from the source, and how much of that
// has been used up, which is all of it whenever the reader asks for more.
type meter struct {
	src io.ReadCloser
	// take reads from the source and adds what it took to taken, under mu in one step with the taking where exact.
	take func(p []byte) (int, error)
	// reached gives, under mu, how many bytes reached the source in all; nil where that can't be known.
	reached func() (uint64, error)

	now func() time.Time

	mu      sync.Mutex
	taken   uint64
	last    time.Time // when bytes were last taken; when it was made, before any
	end     bool      // the source has ended
	used    uint64
	changed chan struct{} // closed and replaced when taken or used changes
}

// counted is a source that counts what was put into it.
type counted interface{ Written() uint64 }

func newMeter(src io.ReadCloser, now func() time.Time) *meter {
	m := &meter{src: src, now: now, last: now(), changed: make(chan struct{})}
	m.take = m.takePlain
	if c, ok := src.(counted); ok {
		m.reached = func() (uint64, error) { return c.Written(), nil }
		return m
	}
	m.exact()
	return m
}

// Read implements io.Reader. That it is called says that all that was taken has been used.
func (m *meter) Read(p []byte) (int, error) {
	m.mu.Lock()
	m.used = m.taken
	m.change()
	m.mu.Unlock()
	n, err := m.take(p)
	if errors.Is(err, io.EOF) {
		m.mu.Lock()
		m.end = true
		m.mu.Unlock()
	}
	return n, err
}

func (m *meter) takePlain(p []byte) (int, error) {
	n, err := m.src.Read(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took(n)
	return n, err
}

// took counts bytes taken. The caller holds the lock.
func (m *meter) took(n int) {
	if n > 0 {
		m.taken += uint64(n)
		m.last = m.now()
		m.change()
	}
}

// change wakes whoever waits. The caller holds the lock.
func (m *meter) change() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *meter) close() error { return m.src.Close() }

// count is how many bytes were taken.
func (m *meter) count() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

// lastTaken is when the last bytes were taken.
func (m *meter) lastTaken() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// atEnd says whether the source has ended.
func (m *meter) atEnd() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.end
}

// flush returns when all that reached the source before the call has been used, or the reader has ended.
func (m *meter) flush(ctx context.Context, ended <-chan struct{}) error {
	if m.reached == nil {
		return m.settle(ctx, ended)
	}
	m.mu.Lock()
	target, err := m.reached()
	m.mu.Unlock()
	if err != nil {
		return m.settle(ctx, ended) // the source is closing, or is of a kind that can't be asked
	}
	for {
		m.mu.Lock()
		used, changed := m.used, m.changed
		m.mu.Unlock()
		if used >= target {
			return nil
		}
		select {
		case <-changed:
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// quiet is how long nothing must have come for a source that can't be asked to be taken for empty.
const quiet = 200 * time.Millisecond

// settle returns when all that was taken has been used and nothing has come for a while.
func (m *meter) settle(ctx context.Context, ended <-chan struct{}) error {
	for {
		m.mu.Lock()
		idle, changed := m.used == m.taken, m.changed
		m.mu.Unlock()
		timer := time.NewTimer(quiet)
		select {
		case <-changed:
		case <-ended:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
			if idle {
				return nil
			}
		}
		timer.Stop()
	}
}
