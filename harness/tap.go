package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/pipe"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	record "github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/watch"
)

// TapOptions say what is captured by Tap, and what is done with it.
type TapOptions struct {
	Bench string   // a bench file; Name is then one of its taps
	Name  string   // a tap of the bench, or a driver
	Words []string // the driver's options, KEY=VALUE; with Bench only sim=DEVICE, for a tap in the carrier's network

	Write   string         // a file that it is recorded in; "-" for Out; "" for none
	Out     io.Writer      // where "-" leads to
	Rotate  int64          // see recording.Options
	Devices []netip.Prefix // only their packets; empty for all
	// VXLANPorts are UDP ports that carry VXLAN besides 4789 and those that the tap knows of itself.
	VXLANPorts []uint16

	Count    uint64        // ends after so many frames; 0 for no bound
	Duration time.Duration // ends after so long; 0 for no bound

	Every time.Duration // between two calls of Tell; 0 for a second
	Top   func() int    // how many devices Tell is told of one by one; nil for none
	Ready func(tap string, notes []string)
	Tell  func(TapView)
	// Unheard says that whoever Tell tells has gone. A capture that is not recorded ends then.
	Unheard func() bool
	// Live refuses a tap that gives no packet before its end: whoever calls shows them as they pass.
	Live bool
	// Ending is told that the capture is over, and for how long its packets may still be waited for, of a tap that gives them
	// at its end.
	Ending func(wait time.Duration)
}

// TapView is how a capture stands.
type TapView struct {
	Tap     string
	At      time.Time
	Since   time.Duration // since it began
	Stats   bench.TapStats
	Taken   uint64 // frames recorded, or looked at: those of the devices asked for
	Board   watch.View
	Trouble string // why nothing is recorded at present
	Missing uint64 // frames that could not be recorded up to now
	// Outages are the spans in which it did not capture, see bench.Restarting. The To of one that lasts is zero.
	Outages []bench.Outage
}

// TapEnd says why a capture ended.
type TapEnd int

// The ends of a capture.
const (
	TapAsked       TapEnd = iota // the count was reached, or the time was over
	TapSource                    // the source came to its end in good order, or would have had to
	TapInterrupted               // the context ended
	TapBroke                     // the tap broke: Err says how
)

// TapResult is what became of a capture.
type TapResult struct {
	End       TapEnd
	Err       error // of the tap
	Stats     bench.TapStats
	Taken     uint64
	Left      uint64 // frames of other devices than those asked for
	Capture   *trace.Capture
	Outages   []bench.Outage           // spans in which it did not capture, see bench.Restarting
	Recording *trace.RecordingEvidence // nil where nothing was recorded
}

// tapFlush is how long is waited for what has reached the tap, when a capture is interrupted or its time is over.
const tapFlush = 3 * time.Second

// lastsLess is how long before the end of its own a capture is ended that has one: it takes a while to be begun, and to be
// ended in good order.
const lastsLess = 15 * time.Second

// Tap captures with one tap, records and analyses what comes, and tells how it stands, until it is to end. A *UsageError
// is a mistake in the options; any other error means that nothing was captured.
func Tap(ctx context.Context, o TapOptions) (*TapResult, error) {
	b, err := openTap(o)
	if err != nil {
		return nil, usageOf(err)
	}
	c := &tapping{o: o, bench: b, tap: b.Taps[0], done: make(chan struct{}), began: time.Now()}
	if err := c.check(); err != nil {
		return nil, errors.Join(&UsageError{err}, b.CloseParts())
	}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(&UsageError{err}, b.CloseParts())
	}
	if err := c.tap.Start(ctx, c.take); err != nil {
		return nil, errors.Join(c.abandon(), err)
	}
	c.began = time.Now()
	if o.Ready != nil {
		o.Ready(c.tap.Name(), c.notes())
	}
	r := &TapResult{}
	r.End, r.Err = c.wait(ctx)
	return r, c.finish(r)
}

// openTap opens the tap as a bench that has nothing else but what the tap needs.
func openTap(o TapOptions) (*bench.Bench, error) {
	if o.Bench == "" {
		return catalog.OpenTap(o.Name, o.Words)
	}
	return catalog.BenchTap(o.Bench, o.Name, o.Words)
}

// tapping is a capture under way.
type tapping struct {
	o     TapOptions
	bench *bench.Bench // the tap, and what it needs
	tap   bench.Tap
	began time.Time
	board *watch.Board // nil where nobody looks at devices

	deferred bench.Deferred // the tap, where it gives its packets at its end

	mu       sync.Mutex
	recorder *record.Recorder // nil where nothing is recorded
	sieve    *record.Sieve    // nil where every device is wanted
	decoder  *packet.Decoder  // for the sieve
	packet   packet.Packet
	live     *trace.Live
	taken    uint64
	left     uint64
	full     bool          // as many as were wanted have been taken
	done     chan struct{} // closed then
}

// check refuses what a tap that gives its packets at its end can't do.
func (c *tapping) check() error {
	d, ok := c.tap.(bench.Deferred)
	if !ok {
		return nil
	}
	lasts := c.lasts()
	switch {
	case c.o.Live:
		return fmt.Errorf("tap %s gives its packets when the capture ends: there is nothing to watch meanwhile; record them, and inspect the record", c.tap.Name())
	case c.o.Count > 0:
		return fmt.Errorf("tap %s gives its packets when the capture ends: they can't be counted before; end it after a time, or by Ctrl-C", c.tap.Name())
	case lasts > 0 && c.o.Duration > lasts:
		return fmt.Errorf("tap %s captures for %s at most: give it a higher limit, or capture for less than %s", c.tap.Name(), lasts, c.o.Duration)
	}
	c.deferred = d
	return nil
}

// lasts is how long the tap can capture by its own limit; 0 where it has none.
func (c *tapping) lasts() time.Duration {
	if l, ok := c.tap.(interface{ Lasts() time.Duration }); ok {
		return l.Lasts() - lastsLess
	}
	return 0
}

// notes is what there is to say of how the tap captures.
func (c *tapping) notes() []string {
	notes := notesOf(c.tap)
	if c.deferred == nil {
		return notes
	}
	until := "Ctrl-C"
	if c.o.Duration > 0 {
		until = "in " + c.o.Duration.String()
	} else if lasts := c.lasts(); lasts > 0 {
		until = "by Ctrl-C, or in " + lasts.String()
	}
	return append(notes, "its packets are given when the capture ends: "+until)
}

// prepare opens the file before the tap, and the analysis.
func (c *tapping) prepare() error {
	ports := c.o.VXLANPorts
	if p, ok := c.tap.(bench.Ported); ok {
		ports = append(p.VXLANPorts(), ports...)
	}
	options := trace.Options{Devices: c.o.Devices, VXLANPorts: ports, Filtered: len(c.o.Devices) > 0}
	if len(c.o.Devices) > 0 {
		c.sieve, c.decoder = record.NewSieveOf(c.o.Devices), packet.NewDecoder(packet.Options{VXLANPorts: ports})
	}
	if c.o.Top != nil {
		c.board = watch.New(c.began, c.o.Devices)
		options.Decoded = c.board.Add
	}
	if c.o.Write != "" {
		r := record.Options{File: c.o.Write, Rotate: c.o.Rotate, Comment: "tollgate tap " + c.tap.Name(), Counts: c.counts, Outages: c.untaken}
		if c.o.Write == "-" {
			r.Create = record.Stream(c.o.Out)
		}
		var err error
		if c.recorder, err = record.Create(r); err != nil {
			return err
		}
	}
	c.live = trace.NewLive(c.tap.Name(), options)
	return nil
}

func (c *tapping) counts(string) record.Counts {
	s := c.tap.Stats()
	return record.Counts{Received: s.Received, Dropped: s.Dropped}
}

// abandon takes down what was made ready for a tap that could not be started; a file without a packet is of no use.
func (c *tapping) abandon() error {
	c.live.End(0) // of nothing
	err := c.bench.CloseParts()
	if c.recorder != nil {
		err = errors.Join(err, c.recorder.Abandon())
	}
	return err
}

// take is given each frame: it is recorded, then analysed.
func (c *tapping) take(rec pcap.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full {
		return
	}
	if c.sieve != nil {
		f := packet.Frame{Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
		if r := c.decoder.Decode(&f, &c.packet); !c.sieve.Pass(&c.packet, r) {
			c.left++
			return
		}
	}
	c.taken++
	if c.recorder != nil {
		c.recorder.Write(c.tap.Name(), rec)
	}
	c.live.Add(&rec)
	if c.o.Count > 0 && c.taken >= c.o.Count {
		c.full = true
		close(c.done)
	}
}

// wait returns when the capture is to end, and tells how it stands meanwhile.
func (c *tapping) wait(ctx context.Context) (TapEnd, error) {
	tell := time.NewTicker(cmp.Or(c.o.Every, time.Second))
	defer tell.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	var over <-chan time.Time
	atEnd := TapAsked
	if d := cmp.Or(c.o.Duration, c.lasts()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
		if c.o.Duration == 0 {
			atEnd = TapSource
		}
	}
	var finite <-chan struct{}
	if f, ok := c.tap.(bench.Finite); ok {
		finite = f.Done()
	}
	for {
		select {
		case <-c.done:
			return TapAsked, nil
		case <-over:
			return c.flush(atEnd)
		case <-ctx.Done():
			return c.flush(TapInterrupted)
		case <-tell.C:
			c.tell()
		case <-finite:
			return ending(c.tap.Err())
		case <-look.C:
			if err := c.writing(); errors.Is(err, syscall.EPIPE) {
				return TapAsked, nil // closing the program that reads is a way to end it
			} else if c.unheard() {
				return TapAsked, nil // the same
			} else if err = cmp.Or(c.tap.Err(), err); err != nil {
				return ending(err)
			}
		}
	}
}

// ending tells a source that came to its end from one that broke.
func ending(err error) (TapEnd, error) {
	if err == nil || errors.Is(err, pipe.ErrEnded) {
		return TapSource, nil
	}
	return TapBroke, err
}

// unheard says that the capture is for nobody any more.
func (c *tapping) unheard() bool {
	return c.recorder == nil && c.o.Unheard != nil && c.o.Unheard()
}

// writing is why there is no use in going on: whoever read standard output has gone.
func (c *tapping) writing() error {
	if c.o.Write != "-" {
		return nil
	}
	return c.recorder.Err()
}

// flush waits for what has reached the tap. That it can't be had is told, and ends nothing but a tap that gave nothing before.
func (c *tapping) flush(end TapEnd) (TapEnd, error) {
	most := tapFlush
	if c.deferred != nil {
		most = c.deferred.FlushTime()
		if c.o.Ending != nil {
			c.o.Ending(most)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	err := c.tap.Flush(ctx)
	switch {
	case err != nil && c.deferred != nil:
		return TapBroke, err
	case err != nil && c.tap.Err() == nil:
		return end, fmt.Errorf("the last packets may be missing: %w", err)
	}
	_, err = ending(c.tap.Err())
	return end, err
}

// tell gives the view of the moment.
func (c *tapping) tell() {
	if c.o.Tell == nil {
		return
	}
	v := TapView{Tap: c.tap.Name(), At: time.Now(), Since: time.Since(c.began), Stats: c.tap.Stats()}
	c.mu.Lock()
	c.live.Push()
	v.Taken = c.taken
	c.mu.Unlock()
	if c.board != nil {
		v.Board = c.board.View(v.At, c.o.Top())
	}
	if c.recorder != nil {
		if err := c.recorder.Err(); err != nil {
			v.Trouble = err.Error()
		}
		for _, gap := range c.recorder.Evidence().Gaps {
			v.Missing += gap.Frames
		}
	}
	v.Outages = bench.OutagesOf(c.tap)
	c.o.Tell(v)
}

// untaken is outages as a record tells them.
func (c *tapping) untaken() map[string][]trace.Outage {
	var out []trace.Outage
	for _, o := range bench.OutagesOf(c.tap) {
		out = append(out, trace.Outage(o))
	}
	return map[string][]trace.Outage{c.tap.Name(): out}
}

// finish ends the tap, completes the file and settles the analysis.
func (c *tapping) finish(r *TapResult) error {
	if err := c.bench.CloseParts(); err != nil && r.Err == nil {
		r.Err = err
	}
	r.Stats = c.tap.Stats()
	r.Outages = bench.OutagesOf(c.tap)
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Taken, r.Left = c.taken, c.left
	if c.recorder != nil {
		c.recorder.Close() // its evidence says the same
		r.Recording = c.recorder.Evidence()
	}
	var err error
	if r.Capture, err = c.live.End(r.Stats.Dropped); errors.Is(err, trace.ErrLinkType) {
		err = nil // it was recorded all the same
	}
	r.account(c.tap.Name(), c.untaken()[c.tap.Name()])
	return err
}

// account adds to what the packets show of the capture's completeness what the tap knows of itself: the spans in which it
// did not capture, and that it broke.
func (r *TapResult) account(tap string, outages []trace.Outage) {
	e := trace.TapEvidence{Name: tap, ReadyBefore: true, Flushed: true, Outages: outages}
	if r.End == TapBroke && r.Err != nil {
		e.Error = r.Err.Error()
	}
	if r.Capture == nil || len(e.Outages) == 0 && e.Error == "" {
		return
	}
	t := trace.Trace{Capture: r.Capture, Evidence: trace.Evidence{Taps: []trace.TapEvidence{e}}}
	r.Capture.Completeness = t.Completeness(trace.Scope{})
}
