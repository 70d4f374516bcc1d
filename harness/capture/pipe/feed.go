package pipe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// feed is one opening of the stream, from its header to its end.
type feed struct {
	meter   *meter
	process *process // nil where there is no command
	shared  bool     // a FIFO: a second writer may go on where the first one died
	explain func(said string, status int) (error, bool)
	zipped  string        // compression of the stream; set before the tap is said to capture
	done    chan struct{} // closed when nothing more is read
	noted   chan struct{} // closed when the tap has noted what its end means
	drops   atomic.Uint64 // as the stream tells
	cut     atomic.Uint64 // records that it ended or went wrong in
	once    sync.Once
	err     error // of closing
}

// open opens the stream.
func (t *Tap) open() (*feed, error) {
	f := &feed{done: make(chan struct{}), noted: make(chan struct{}), explain: t.o.Explain}
	var src io.ReadCloser
	var err error
	switch {
	case t.o.Reader != nil:
		src = t.o.Reader
	case t.o.Path != "":
		src, f.shared, err = openPath(t.o.Path)
	default:
		f.process, src, err = startProcess(t.o.Command, t.o.HoldInput, t.o.Listening)
	}
	if err != nil {
		return nil, err
	}
	f.meter = newMeter(src, t.now)
	return f, nil
}

// close ends the command and closes the stream. It may be called again.
func (f *feed) close() error {
	f.once.Do(func() {
		if f.process != nil {
			f.process.stop()
		}
		f.err = f.meter.close()
	})
	return f.err
}

// dropped is what is known to have been lost of this feed.
func (f *feed) dropped() uint64 {
	n := f.drops.Load()
	if f.process != nil {
		n = max(n, f.process.drops())
	}
	return n + f.cut.Load()
}

// read reads the feed to its end and says why it ended. It calls listening once the source captures.
func (f *feed) read(quit context.Context, listening func(), record func(pcap.Record)) error {
	defer close(f.done)
	in := &remembering{Reader: f.meter}
	r, err := pcap.NewReader(in)
	switch {
	case err != nil && f.meter.count() == 0:
		return errors.New("the stream ended without a byte, not even a capture's header")
	case err != nil && f.shared && f.meter.count() < headerSize && f.meter.atEnd(), err == nil && f.shared && in.begunTwice():
		return errHeadless
	case err != nil:
		return err
	}
	f.zipped = r.Compression()
	if f.process != nil {
		if err := f.process.listens(quit); err != nil {
			return err
		}
	}
	listening()
	records := uint64(0)
	for {
		rec, err := r.Next()
		f.drops.Store(r.Drops()) // told with a record, or after the last
		switch {
		case errors.Is(err, io.EOF) && r.Cut():
			f.cut.Add(1)
			return fmt.Errorf("the stream was cut in the middle of record %d: its writer died, or the way to it broke", records+1)
		case errors.Is(err, io.EOF):
			return ErrEnded
		case err != nil:
			return err
		case f.shared && holdsHeader(rec.Data, time.Now()):
			f.cut.Add(1)
			return fmt.Errorf("the stream was cut in the middle of record %d: another writer's capture begins in it", records+1)
		}
		records++
		record(rec)
	}
}

// headerSize is that of a pcap file's header (draft-ietf-opsawg-pcap, 4).
const headerSize = 24

// errHeadless says that a writer of a FIFO died in the header of its capture. The next one may do better.
var errHeadless = errors.New("the writer died inside its capture's header")

// remembering keeps the first bytes that are read.
type remembering struct {
	io.Reader
	head []byte
}

// Read implements io.Reader.
func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if left := headerSize - len(r.head); left > 0 {
		r.head = append(r.head, p[:min(n, left)]...)
	}
	return n, err
}

// begunTwice says whether a second pcap header begins in the first: another writer's, after one that died in its own.
func (r *remembering) begunTwice() bool {
	return len(r.head) == headerSize && bytes.Contains(r.head[1:], r.head[:4])
}

// ended adds to an error what is known of the command that wrote the stream.
func (f *feed) ended(err error) error {
	e, _ := f.explained(err)
	return e
}

// explained gives the error that the command's end is explained by, where there is one, and whether running it again is
// of no use.
func (f *feed) explained(err error) (error, bool) {
	if f.process == nil {
		return err, false
	}
	how := f.process.said()
	if f.explain != nil {
		if e, permanent := f.explain(f.process.stderr.text(), f.process.status()); e != nil {
			return e, permanent
		}
	}
	return fmt.Errorf("%w; %s", err, how), false
}

// holdsHeader says whether a record's data has a pcap file's header in it (little- or big-endian, version 2.4, offsets zero), with a
// record of about now after it: a record that a dead writer left unfinished, and that a second writer of the same FIFO has gone on
// in. A capture file that a device transfers is of another time.
func holdsHeader(data []byte, now time.Time) bool {
	for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d} {
			var head [16]byte
			o.PutUint32(head[:], magic)
			o.PutUint16(head[4:], 2)
			o.PutUint16(head[6:], 4)
			at := bytes.Index(data, head[:])
			if at < 0 {
				continue
			}
			rest := data[at+len(head):]
			if len(rest) < 8+4 { // the snap length, the link type and the first record's time
				return true
			}
			age := now.Sub(time.Unix(int64(o.Uint32(rest[8:])), 0))
			if age > -24*time.Hour && age < 24*time.Hour {
				return true
			}
		}
	}
	return false
}
