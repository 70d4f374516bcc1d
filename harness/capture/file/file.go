// Package file replays a capture file as a tap: at once or at its own pace, with its times as recorded or from now on.
// It reads whatever package pcap reads.
//
// A file is all that there is: at its end the tap is not broken, Flush succeeds and Err stays nil. What a replay reaches,
// for Flush, is the whole file, or at its own pace all that is due by now.
package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// Options of a tap.
type Options struct {
	Name string // the file's where empty
	Path string
	// Paced gives each record when it is due: as long after Start, on the bench's clock, as it was captured after the first.
	// Otherwise all are given as fast as they are taken.
	Paced bool
	// Shifted gives records the times at which they would be captured if the first were at Start; otherwise they keep theirs.
	Shifted bool
	// Clock is the bench's.
	Clock bench.Clock

	open func() (io.ReadCloser, error) // for tests, in place of Path
}

// Tap replays a file. It implements bench.Tap.
type Tap struct {
	o      Options
	quit   context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when replay has returned

	mu      sync.Mutex
	state   state
	src     io.ReadCloser
	stats   bench.TapStats
	due     time.Time     // of the record that is given next; all before it have been
	changed chan struct{} // closed and replaced when due changes
	err     error
}

type state int

const (
	fresh state = iota
	started
	stopped
)

// New makes a tap. It opens nothing.
func New(o Options) (*Tap, error) {
	if o.Path == "" && o.open == nil {
		return nil, fmt.Errorf("make tap %s: no file was given", cmp.Or(o.Name, "file"))
	}
	if o.Clock == nil {
		return nil, fmt.Errorf("make tap %s: no clock was given", cmp.Or(o.Name, o.Path))
	}
	o.Name = cmp.Or(o.Name, filepath.Base(o.Path))
	if o.open == nil {
		o.open = func() (io.ReadCloser, error) { return openFile(o.Path) }
	}
	t := &Tap{o: o, done: make(chan struct{}), changed: make(chan struct{})}
	t.quit, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// openFile refuses what is no file: a named pipe is the driver pipe's.
func openFile(path string) (io.ReadCloser, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open %s: it is no regular file; for a named pipe there is the driver pipe", path)
	}
	return os.Open(path)
}

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.o.Name }

// Start implements bench.Tap: it returns when the file is found to be a capture, and begins the replay. A tap can be
// started once.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	reader, err := t.begin(ctx)
	if err != nil {
		return fmt.Errorf("start tap %s: %w", t.o.Name, err)
	}
	go t.replay(reader, t.due, sink)
	return nil
}

func (t *Tap) begin(ctx context.Context) (*pcap.Reader, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != fresh {
		return nil, errors.New("it was started or closed before; a tap is started once")
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	src, err := t.o.open()
	if err != nil {
		return nil, err
	}
	reader, err := pcap.NewReader(src)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", cmp.Or(t.o.Path, t.o.Name), err), src.Close())
	}
	t.src, t.state, t.due = src, started, t.o.Clock.Now()
	return reader, nil
}

// replay gives the file's records; it is the tap's one goroutine.
func (t *Tap) replay(reader *pcap.Reader, start time.Time, sink func(pcap.Record)) {
	defer close(t.done)
	p := pace{start: start}
	for {
		rec, err := reader.Next()
		if err != nil {
			t.ended(reader, err)
			return
		}
		at := p.of(rec.Time)
		if t.o.Paced && !t.await(at) {
			return
		}
		if t.o.Shifted {
			rec.Time = at.UnixNano()
		}
		if !t.count(rec, reader.Drops()) {
			return
		}
		sink(rec)
	}
}

// pace places a file's records on the bench's clock.
type pace struct {
	start time.Time // the first record's place
	first int64     // its time in the file
	begun bool
	last  time.Time
}

// of gives a record's place. Records without a time are with those before them, and none comes before the first: a clock that
// was set back in the middle of a capture does not take the replay back before its begin.
func (p *pace) of(at int64) time.Time {
	if !p.begun && at != 0 {
		p.begun, p.first = true, at
	}
	if at == 0 || at < p.first {
		if p.last.IsZero() {
			return p.start
		}
		return p.last
	}
	p.last = p.start.Add(time.Duration(at - p.first))
	return p.last
}

// await waits until a record is due, and says whether the tap is still open.
func (t *Tap) await(at time.Time) bool {
	t.mu.Lock()
	t.due = at
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()
	for {
		left := at.Sub(t.o.Clock.Now())
		if left <= 0 {
			return t.quit.Err() == nil
		}
		if t.o.Clock.Sleep(t.quit, left) != nil && t.quit.Err() != nil {
			return false
		}
	}
}

// count counts a record that is to be given, and says whether the tap is still open.
func (t *Tap) count(rec pcap.Record, drops uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != started {
		return false
	}
	t.stats.Received++
	t.stats.Dropped = max(t.stats.Dropped, drops)
	if len(rec.Data) < rec.Length {
		t.stats.Truncated++
	}
	return true
}

// ended notes how the file ended: in good order, or not.
func (t *Tap) ended(reader *pcap.Reader, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Dropped = max(t.stats.Dropped, reader.Drops())
	switch {
	case t.state != started:
	case errors.Is(err, io.EOF) && !reader.Cut():
	case errors.Is(err, io.EOF):
		t.stats.Dropped++
		t.err = fmt.Errorf("tap %s: the file ends inside its record %d: it was cut, or is still being written", t.o.Name, t.stats.Received+1)
	default:
		t.err = fmt.Errorf("tap %s: %w", t.o.Name, err)
	}
}

// Flush implements bench.Tap: it returns when the whole file has been given; at its own pace, all of it that is due.
func (t *Tap) Flush(ctx context.Context) error {
	now := t.o.Clock.Now()
	for {
		t.mu.Lock()
		s, err, due, changed := t.state, t.err, t.due, t.changed
		t.mu.Unlock()
		switch {
		case s != started:
			return fmt.Errorf("flush tap %s: it is not capturing", t.o.Name)
		case err != nil:
			return fmt.Errorf("flush: %w", err)
		case t.o.Paced && due.After(now):
			return nil
		}
		select {
		case <-t.done:
			return t.Err()
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("flush tap %s: %w", t.o.Name, context.Cause(ctx))
		}
	}
}

// Done implements bench.Finite.
func (t *Tap) Done() <-chan struct{} { return t.done }

// Stats implements bench.Tap. Dropped is what the file says of it, and a record that it ends in.
func (t *Tap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Err implements bench.Tap: nil at the file's end, too, unless it ends inside a record or contradicts itself.
func (t *Tap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Close implements bench.Tap. It must not be called by the sink.
func (t *Tap) Close() error {
	t.mu.Lock()
	was := t.state
	t.state = stopped
	t.mu.Unlock()
	t.cancel()
	if was == fresh {
		close(t.done)
	}
	if was != started {
		return nil
	}
	err := t.src.Close()
	<-t.done
	if err != nil {
		return fmt.Errorf("close tap %s: %w", t.o.Name, err)
	}
	return nil
}
