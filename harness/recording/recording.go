// Package recording writes what taps capture to the disk while it is being captured: pcapng, an interface for each tap and
// link type, in one file or in several of a given size, each complete in itself.
//
// # What a reader can rely on
//
// A frame is in the recorder before anything else is made of it, and a quarter of a second later at most it is with the
// operating system: a process that is killed leaves a file that is whole up to there. It says itself that it was not
// completed (pcap.Recording); so does one that is still being written. Against a machine that loses power nothing is done.
//
// # A disk that is full
//
// Recording never holds up capturing, and never fails it. What can't be written is counted and let go, and writing is
// tried again every second: a disk that has room again is used again. Nothing written is lost: a block that fits only in
// part is taken back. The next frame that is recorded says how many before it are missing (epb_dropcount), and Evidence
// tells from when to when, how many and why.
package recording

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Options of a recording.
type Options struct {
	// File is the first file. Others are named after it; see trace.PartName.
	File string
	// Rotate is how large a file may become before the recording goes on in another one, in bytes; 0 for no limit. A
	// file has at least one frame.
	Rotate int64
	// Comment is put into each file's header.
	Comment string
	// Counts gives what a tap has counted up to now. It is asked now and then, never while a frame is being written, and
	// for the last time by Close. Nil where nothing counts.
	Counts func(tap string) Counts
	// Outages gives, by tap, the spans in which it did not capture, oldest first; it is asked when Counts is. Nil where nobody
	// knows.
	Outages func() map[string][]trace.Outage
	// Reserve is how much room is kept on the disk while recording, for what is written when it is over: a trace is of no
	// use where the disk was filled with packets to the last byte.
	Reserve int64
	// Now is the clock that counts are told on; nil for this machine's.
	Now func() time.Time
	// Create makes a file; nil for one of this machine's that is not there yet, or empty.
	Create func(name string) (File, error)
}

// Counts are a tap's since it was started.
type Counts struct {
	Received uint64 // given to be recorded
	Dropped  uint64 // lost before
}

// File is what a recording needs of a file.
type File interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
}

const (
	// tickEvery is how long a frame waits at most before it is handed to the operating system.
	tickEvery = 250 * time.Millisecond
	// retryTicks is how many of them pass before a disk that was full is tried again.
	retryTicks = 4
	// countTicks is how many pass before new counts are written as interface statistics.
	countTicks = 40
	// bufferBytes is how much is written at once at high rates.
	bufferBytes = 256 << 10
)

// Recorder writes a recording. Its methods may be called from several goroutines.
type Recorder struct {
	o       Options
	own     bool // the files are this machine's, and made here
	quit    chan struct{}
	done    chan struct{}
	reserve *reserve

	mu         sync.Mutex
	part       *part // nil where none could be begun
	parts      int
	interfaces []*origin
	frames     uint64 // recorded, those still in the buffer among them
	counts     map[string]Counts
	told       map[string]Counts // those that were written last
	outages    map[string][]trace.Outage
	toldOf     map[string]int // how many of them are written
	trouble    error          // why nothing is written now
	rest       int            // ticks until it is tried again
	over       bool           // a stream's other end is gone: it is never tried again
	gaps       []trace.RecordingGap
	missing    bool // the last gap is not over
	unended    error
	closed     bool
}

// origin is where frames come from: a tap, and one of its link types. It is an interface of every part.
type origin struct {
	tap   string
	link  pcap.LinkType
	first bool   // of the tap, which the tap's counts are told with
	owed  losses // not told of yet: the next frame tells
	told  uint64 // frames not written that the present part tells of
}

// losses are frames that could not be written, and with them what the source itself had dropped before them.
type losses struct{ frames, drops uint64 }

func (l losses) total() uint64 { return l.frames + l.drops }

// Create begins a recording: its first file is there, with its header, when Create returns. No file is written over: one
// that holds anything is refused.
func Create(o Options) (*Recorder, error) {
	own := o.Create == nil
	if own {
		if err := alone(o.File); err != nil {
			return nil, fmt.Errorf("begin recording: %w", err)
		}
		o.Create = fresh
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Recorder{o: o, own: own, quit: make(chan struct{}), done: make(chan struct{}), counts: map[string]Counts{}, told: map[string]Counts{},
		toldOf: map[string]int{}}
	if err := r.begin(); err != nil {
		return nil, fmt.Errorf("begin recording: %w", explained(err, filepath.Dir(o.File)))
	}
	if o.Reserve > 0 {
		r.reserve = newReserve(filepath.Dir(o.File), o.Reserve)
	}
	go r.tend()
	return r, nil
}

// alone refuses to begin a recording where files of an earlier one would be taken for its parts.
func alone(first string) error {
	files, err := trace.Parts(first)
	if err == nil && len(files) < 2 {
		return nil
	}
	return fmt.Errorf("files such as %s are there, of an earlier recording, and would be taken for parts of this one: remove them, or record under another name",
		filepath.Base(trace.PartName(first, 2)))
}

// Write records a frame of a tap with its drops and comments. rec.Interface is not looked at. What can't be written is
// noted for Evidence; a caller goes on in any case.
func (r *Recorder) Write(tap string, rec pcap.Record, comments ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, from := r.origin(tap, rec.Link)
	if r.trouble == nil && !r.closed {
		r.room(len(rec.Data))
	}
	if r.trouble != nil || r.closed {
		r.lose(from, rec.Time, losses{1, rec.Drops}, r.cause())
		return
	}
	own := rec.Drops
	rec.Interface, rec.Drops = i, own+from.owed.total()
	if err := r.part.add(r.interfaces, rec, comments, losses{1 + from.owed.frames, own + from.owed.drops}); err != nil {
		r.missing = false // no file can hold it; it says nothing of the others
		r.lose(from, rec.Time, losses{1, own}, err.Error())
		return
	}
	from.told += from.owed.frames
	from.owed = losses{}
	r.frames++
	if len(r.part.buffer) >= bufferBytes {
		r.flush()
	}
}

// origin gives the interface of a tap's link type, and makes it known where it is new.
func (r *Recorder) origin(tap string, link pcap.LinkType) (int, *origin) {
	first := true
	for i, o := range r.interfaces {
		if o.tap != tap {
			continue
		}
		if o.link == link {
			return i, o
		}
		first = false
	}
	o := &origin{tap: tap, link: link, first: first}
	r.interfaces = append(r.interfaces, o)
	return len(r.interfaces) - 1, o
}

// room sees to it that there is a part that may take so many bytes more, unless there is trouble.
func (r *Recorder) room(bytes int) {
	if r.part != nil && r.o.Rotate > 0 && r.part.frames > 0 && r.part.length()+int64(bytes) > r.o.Rotate {
		r.end(false)
	}
	if r.part == nil && r.trouble == nil {
		if err := r.begin(); err != nil {
			r.fail(err)
		}
	}
}

// begin begins the next part.
func (r *Recorder) begin() error {
	name := trace.PartName(r.o.File, r.parts+1)
	p, err := newPart(name, r.o)
	if err != nil {
		return err
	}
	r.part = p
	r.parts++
	for _, o := range r.interfaces {
		o.told = 0
	}
	p.since = map[string]Counts{}
	for tap, c := range r.told {
		p.since[tap] = c
	}
	return nil
}

// end completes the present part; last says that none follows. A part that can't be written to its end is gone on with
// when there is room again, and where none follows it is left as it is: its readers see that it is not complete.
func (r *Recorder) end(last bool) {
	r.statistics(last)
	r.flush()
	if r.trouble != nil && !last || r.part == nil {
		return
	}
	err := r.trouble
	if err == nil {
		err = r.part.complete()
	}
	r.incomplete(errors.Join(err, r.part.file.Close()))
	r.part = nil
}

// incomplete notes that a part could not be completed; the first reason stays.
func (r *Recorder) incomplete(err error) {
	if r.unended == nil {
		r.unended = err
	}
}

// statistics writes what the taps have counted since the part began, and what was lost here.
func (r *Recorder) statistics(last bool) {
	for i, o := range r.interfaces {
		if last && o.owed.frames > 0 {
			r.part.describe(r.interfaces[:i+1]) // its loss is told by nothing else
		}
	}
	r.tellOutages(last)
	for i, o := range r.interfaces[:r.part.known] {
		s := pcap.Stats{Time: r.o.Now().UnixNano(), Dropped: o.told}
		if last {
			s.Dropped += o.owed.frames
		}
		if o.first {
			c, since := r.counts[o.tap], r.part.since[o.tap]
			r.told[o.tap] = c
			s.Dropped += c.Dropped - since.Dropped
			s.Received = c.Received - since.Received + c.Dropped - since.Dropped
		}
		if s != (pcap.Stats{Time: s.Time}) {
			r.part.stats(i, s)
		}
	}
}

// tellOutages writes the spans in which a tap did not capture: each when it is over, or, of one that lasts, at the end.
func (r *Recorder) tellOutages(last bool) {
	for _, tap := range slices.Sorted(maps.Keys(r.outages)) {
		i := slices.IndexFunc(r.interfaces, func(o *origin) bool { return o.tap == tap })
		for _, out := range r.outages[tap][r.toldOf[tap]:] {
			if !last && (out.To.IsZero() || i < 0) {
				break
			}
			if out.To.IsZero() {
				out.To = r.o.Now()
			}
			if i < 0 { // of no link type, for it never gave a frame
				i, _ = r.origin(tap, pcap.LinkEthernet)
			}
			r.part.describe(r.interfaces[:i+1])
			r.part.span(i, pcap.Span{From: out.From.UnixNano(), To: out.To.UnixNano(), Comment: trace.OutageMark + out.Cause})
			r.toldOf[tap]++
		}
	}
}

// flush hands the buffer to the operating system.
func (r *Recorder) flush() {
	if r.part == nil {
		return
	}
	unwritten, err := r.part.flush()
	if err == nil {
		if r.part.wrote {
			r.missing, r.part.wrote = false, false
		}
		return
	}
	r.fail(err)
	for _, q := range unwritten {
		from := r.interfaces[q.origin]
		r.frames--
		from.told -= q.carries.frames - 1
		r.gap(q.time, r.cause())
		from.owed.frames += q.carries.frames
		from.owed.drops += q.carries.drops
	}
	if r.part.torn {
		r.incomplete(errors.Join(r.trouble, r.part.file.Close()))
		r.part = nil
	}
}

// fail notes why nothing can be written.
func (r *Recorder) fail(err error) {
	r.trouble, r.rest = explained(err, filepath.Dir(r.o.File)), retryTicks
	r.over = r.over || errors.Is(err, errStream)
}

// lose counts a frame that is not recorded, with the drops that it would have told.
func (r *Recorder) lose(from *origin, at int64, l losses, cause string) {
	from.owed.frames += l.frames
	from.owed.drops += l.drops
	r.gap(at, cause)
}

// gap notes one frame more that is missing.
func (r *Recorder) gap(at int64, cause string) {
	when := time.Unix(0, at).UTC()
	if !r.missing && len(r.gaps) < maxGaps {
		r.gaps = append(r.gaps, trace.RecordingGap{From: when, To: when, Cause: cause})
	}
	r.missing = true
	g := &r.gaps[len(r.gaps)-1]
	g.Frames++
	if when.Before(g.From) {
		g.From = when
	}
	if when.After(g.To) {
		g.To = when
	}
}

// maxGaps bounds the list of gaps; the last one takes in what comes later.
const maxGaps = 1000

func (r *Recorder) cause() string {
	if r.trouble != nil {
		return r.trouble.Error()
	}
	return "the recording is over"
}

// Missed notes frames that were captured and that nobody can record any more, with the reason.
func (r *Recorder) Missed(from, to time.Time, frames uint64, cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.gaps) < maxGaps {
		r.gaps = append(r.gaps, trace.RecordingGap{From: from, To: to, Frames: frames, Cause: cause})
		r.missing = false
		return
	}
	g := &r.gaps[len(r.gaps)-1]
	g.Frames += frames
	if from.Before(g.From) {
		g.From = from
	}
	if to.After(g.To) {
		g.To = to
	}
}

// tend hands frames over that have waited, tries a full disk again, and asks for counts, until Close.
func (r *Recorder) tend() {
	defer close(r.done)
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-r.quit:
			return
		case <-ticker.C:
		}
		if n%countTicks == 0 {
			r.count()
		}
		r.tick(n%countTicks == 0)
	}
}

func (r *Recorder) tick(counted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != nil {
		if r.rest--; r.rest <= 0 && !r.over {
			r.trouble = nil // the next frame tries it
		}
		return
	}
	if r.part != nil && counted && r.changed() {
		r.statistics(false)
	}
	r.flush()
}

func (r *Recorder) changed() bool {
	for tap, c := range r.counts {
		if c != r.told[tap] {
			return true
		}
	}
	for tap, all := range r.outages {
		if told := r.toldOf[tap]; told < len(all) && !all[told].To.IsZero() {
			return true
		}
	}
	return false
}

// count asks every tap for its counts and outages, without holding up whoever writes.
func (r *Recorder) count() {
	if r.o.Outages != nil {
		outages := r.o.Outages()
		r.mu.Lock()
		r.outages = outages
		r.mu.Unlock()
	}
	if r.o.Counts == nil {
		return
	}
	r.mu.Lock()
	var taps []string
	for _, o := range r.interfaces {
		if o.first {
			taps = append(taps, o.tap)
		}
	}
	r.mu.Unlock()
	for _, tap := range taps {
		c := r.o.Counts(tap)
		r.mu.Lock()
		r.counts[tap] = c
		r.mu.Unlock()
	}
}

// Flush hands over to the operating system all that was written before.
func (r *Recorder) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble == nil {
		r.flush()
	}
}

// Err is why nothing can be written at present, nil while recording goes on.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

// Evidence gives the recording's account of itself. It is settled after Close.
func (r *Recorder) Evidence() *trace.RecordingEvidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &trace.RecordingEvidence{Parts: r.parts, Frames: r.frames, Gaps: append([]trace.RecordingGap(nil), r.gaps...)}
	if r.unended != nil {
		e.Unended = r.unended.Error()
	}
	return e
}

// Close completes the recording with what the taps counted, and gives the reserve back. It may be called twice. Its error
// is that the recording is not complete: Evidence says the same.
func (r *Recorder) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.quit)
	<-r.done
	r.count()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reserve.release()
	if r.part != nil {
		if !r.over {
			r.trouble = nil // the reserve has made room
		}
		r.end(true)
	}
	if r.trouble != nil {
		r.incomplete(r.trouble)
	}
	return r.unended
}

// Abandon closes a recording that nothing came of, and takes its file away again. A device (/dev/null) stays, and so does
// what Options.Create gave.
func (r *Recorder) Abandon() error {
	err := r.Close()
	if !r.own {
		return err
	}
	if info, missing := os.Lstat(r.o.File); missing == nil && info.Mode().IsRegular() {
		err = errors.Join(err, os.Remove(r.o.File))
	}
	return err
}
