// Package afpacket captures a mirror on an interface of this host, by a ring of memory that the kernel and the tap share
// (PACKET_RX_RING, TPACKET_V3: Linux' Documentation/networking/packet_mmap.rst): no copy and no system call for a packet.
//
// It needs Linux, and CAP_NET_RAW to open its socket, nothing for the rest; see package privilege for what becomes of the
// capability afterwards. The error without it gives the command that grants it.
//
// What is captured: the frames that the Filter takes, going in and, but for the loopback interface, where they would be
// there twice, out. The socket is made without a protocol and gets its filter and ring before it is bound, so no frame
// that the filter does not take ever comes in, and none has to be thrown away. VLAN tags that the kernel keeps beside
// the frame are put back into it. Interfaces without Ethernet (tun, WireGuard, PPP, IP tunnels) give frames of raw IP.
// A frame may be as long as segmentation offload makes it: more than 64 KiB.
//
// What is lost: the kernel counts each frame that the filter took and the ring had no room for (PACKET_STATISTICS, whose
// reading clears it; the tap adds up), and Stats tells exactly that as Dropped. What the filter did not take is counted
// by nobody: Filtered stays 0.
//
// When it wakes: after a sleep packets cost more for a while, the first five hundred twice as much on average, most likely
// because the processor's caches and branch predictor were somebody else's meanwhile. So where frames fill the blocks the tap
// waits for some of them and not for each, as a network adapter holds its interrupts back.
//
// What has reached the tap, for Flush: the kernel counts a frame in the same step in which it gives it a place in the
// ring. Flush reads that count and returns when so many frames have been given to the sink. The block that they are in is
// handed over when it is full or 20 ms old, and the tap waits for no longer than that to take several, so Flush takes little
// longer. A frame still in the sender's or an adapter's queues has not reached the tap; that is what a canary is for.
//
// An interface that goes down, loses its carrier or vanishes is an outage, told by Outages. The tap goes on by itself
// when an interface of that name is up again. No privileges are needed for that.
package afpacket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// DefaultBuffer is the ring's size: as much as 340 thousand packets a second fill in a quarter of a second, and so small that
// a tap with the whole analysis stays below 64 MiB.
const DefaultBuffer = 24 << 20

const (
	// blockSize is what the kernel hands over at a time. It holds one frame of segmentation offload however long that is,
	// and there are many: each that is handed over because of its age counts against the ring, however few frames it
	// holds, so 48 blocks of 20 ms bear a sink that stands still for nearly a second.
	blockSize = 512 << 10
	// blockAge is when a block is handed over though it is not full, in milliseconds.
	blockAge = 20
	// restShare is the part of the ring that may fill while the tap rests, an eighth: until eight times as many frames come as
	// before, all have room. With the default ring that is some 13,000 packets of a mirror, which share the cost of one wake.
	restShare = 8
	// maxFrame is what fits into a block beside the headers.
	maxFrame = blockSize - 256
)

// Options of a tap.
type Options struct {
	Name      string // the interface's where empty
	Interface string
	Filter    *filter.Filter // nil takes every frame
	// Promiscuous has the adapter take frames that are addressed to other hosts, as a mirror's without a tunnel are.
	Promiscuous bool
	// Buffer is the ring's size in bytes, rounded up to blocks of 512 KiB, of which there are two at least; 0 is DefaultBuffer.
	Buffer int
	// Snap is how many bytes of a frame are captured at most; 0 is as many as a block holds, 524,032.
	Snap int
}

// Tap captures on an interface. It implements bench.Tap, bench.Restarting, bench.Noting and bench.Ported.
type Tap struct {
	o       Options
	closing atomic.Bool // no sink any more
	done    chan struct{}

	mu      sync.Mutex
	state   state
	source  source
	stats   bench.TapStats
	arrived uint64 // frames that got a place in the ring, as far as was asked
	given   uint64 // of them, done with
	flushes []flushing
	outages []bench.Outage
	err     error
}

type state int

const (
	fresh state = iota
	started
	stopped
)

// flushing is a Flush that waits until so many frames are done with.
type flushing struct {
	target uint64
	done   chan struct{}
}

// source is the system's part of a tap. All but run may be called at any time until close.
type source interface {
	// run gives frames to the sink until stop; it tells the keeper what becomes of them and of the interface.
	run(k keeper, sink func(pcap.Record)) error
	stop()
	// counts gives the frames that got a place in the ring and those that did not, since it was asked last.
	counts() (arrived, dropped uint64, err error)
	notes() []string
	close() error
}

// keeper keeps account of a source.
type keeper interface {
	// ending says whether the sink must not be called any more.
	ending() bool
	// settle takes what became of a block's frames.
	settle(truncated, given uint64)
	// lost says that nothing is captured since a moment, or, while that lasts, that there is more to tell of the cause; back
	// says that it is again.
	lost(since time.Time, cause string)
	back(at time.Time)
}

// New makes a tap. It opens nothing.
func New(o Options) (*Tap, error) {
	switch {
	case o.Interface == "":
		return nil, fmt.Errorf("make tap %s: no interface is given: `ip -brief link` lists what there is", o.Name)
	case o.Buffer < 0 || int64(o.Buffer) > 2<<30:
		return nil, fmt.Errorf("make tap %s: a buffer of %d bytes: give up to 2 GiB", o.Name, o.Buffer)
	case o.Snap < 0 || o.Snap > maxFrame:
		return nil, fmt.Errorf("make tap %s: a snap length of %d bytes: give up to %d, or 0 for all of a frame", o.Name, o.Snap, maxFrame)
	}
	o.Name, o.Buffer, o.Snap = cmp.Or(o.Name, o.Interface), cmp.Or(o.Buffer, DefaultBuffer), cmp.Or(o.Snap, maxFrame)
	if o.Filter == nil {
		var err error
		if o.Filter, err = filter.New(filter.Options{}); err != nil {
			return nil, fmt.Errorf("make tap %s: %w", o.Name, err)
		}
	}
	return &Tap{o: o, done: make(chan struct{})}, nil
}

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.o.Name }

// VXLANPorts implements bench.Ported.
func (t *Tap) VXLANPorts() []uint16 { return t.o.Filter.VXLANPorts() }

// Start implements bench.Tap: it returns when the kernel puts frames into the ring. A tap is started once. The socket is
// opened on the calling thread, so in the network namespace that this is in.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != fresh {
		return fmt.Errorf("start tap %s: it was started or closed before; a tap is started once", t.o.Name)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("start tap %s: %w", t.o.Name, err)
	}
	source, err := open(t.o)
	if err != nil {
		return fmt.Errorf("start tap %s: %w", t.o.Name, err)
	}
	t.source, t.state = source, started
	go t.run(sink)
	return nil
}

// run is the tap's one goroutine.
func (t *Tap) run(sink func(pcap.Record)) {
	defer close(t.done)
	err := t.source.run(t, sink)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.state == started {
		t.err = fmt.Errorf("tap %s: %w", t.o.Name, err)
	}
}

func (t *Tap) ending() bool { return t.closing.Load() }

func (t *Tap) settle(truncated, given uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Received += given
	t.stats.Truncated += truncated
	t.given += given
	t.flushes = slices.DeleteFunc(t.flushes, func(f flushing) bool {
		if f.target > t.given {
			return false
		}
		close(f.done)
		return true
	})
}

func (t *Tap) lost(since time.Time, cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.outages); n > 0 && t.outages[n-1].To.IsZero() {
		t.outages[n-1].Cause = cause
		return
	}
	t.outages = append(t.outages, bench.Outage{From: since.UTC(), Cause: cause})
}

func (t *Tap) back(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outages[len(t.outages)-1].To = at.UTC()
}

// count adds what the kernel counted since the last time. It is called under mu, with the source open.
func (t *Tap) count() error {
	arrived, dropped, err := t.source.counts()
	t.arrived += arrived
	t.stats.Dropped += dropped
	return err
}

// Flush implements bench.Tap. What it can know is in the package's description. It fails while an outage lasts, and on a
// tap that ended by itself, with Err.
func (t *Tap) Flush(ctx context.Context) error {
	f, err := t.ask()
	if err != nil {
		return err
	}
	select {
	case <-f.done:
	case <-t.done:
		if err := t.Err(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		return fmt.Errorf("flush tap %s: it was closed", t.o.Name)
	case <-ctx.Done():
		return fmt.Errorf("flush tap %s: %w", t.o.Name, context.Cause(ctx))
	}
	return t.whileOut()
}

// ask enters a Flush that waits for the frames that have arrived.
func (t *Tap) ask() (flushing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
		return flushing{}, fmt.Errorf("flush: %w", t.err)
	case t.state != started:
		return flushing{}, fmt.Errorf("flush tap %s: it is not capturing", t.o.Name)
	}
	if err := t.count(); err != nil {
		return flushing{}, fmt.Errorf("flush tap %s: %w", t.o.Name, err)
	}
	f := flushing{target: t.arrived, done: make(chan struct{})}
	if t.given >= f.target {
		close(f.done)
		return f, nil
	}
	t.flushes = append(t.flushes, f)
	return f, nil
}

// whileOut is the error of a Flush while an outage lasts.
func (t *Tap) whileOut() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.outages); n > 0 && t.outages[n-1].To.IsZero() {
		return fmt.Errorf("flush tap %s: nothing is captured since %s: %s", t.o.Name, t.outages[n-1].From.Format(time.TimeOnly), t.outages[n-1].Cause)
	}
	return nil
}

// Stats implements bench.Tap. Received and Truncated are those of the blocks that are done with.
func (t *Tap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == started {
		_ = t.count() // the kernel refuses it for no socket that is open
	}
	return t.stats
}

// Outages implements bench.Restarting.
func (t *Tap) Outages() []bench.Outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.outages)
}

// Notes implements bench.Noting: what is particular of the interface.
func (t *Tap) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != started {
		return nil
	}
	return t.source.notes()
}

// Err implements bench.Tap.
func (t *Tap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Close implements bench.Tap. It must not be called by the sink.
func (t *Tap) Close() error {
	t.closing.Store(true)
	t.mu.Lock()
	was := t.state
	var last error
	if was == started {
		last = t.count()
		t.source.stop()
	}
	t.state = stopped
	t.mu.Unlock()
	if was != started {
		return nil
	}
	<-t.done
	if err := errors.Join(last, t.source.close()); err != nil {
		return fmt.Errorf("close tap %s: %w", t.o.Name, err)
	}
	return nil
}

// rest gives how long a tap that has taken all there was may leave a ring of some blocks to itself, where frames took so long to
// fill the last of them: not at all where they did not fill it, or a clock was set back meanwhile.
func rest(filled time.Duration, blocks uint32) time.Duration {
	const most = blockAge * time.Millisecond
	return min(min(max(0, filled), most)*time.Duration(blocks)/restShare, most)
}
