// Package socket captures what a mirror sends to this host on an ordinary socket: VXLAN on a UDP port, which needs no
// privilege at all, and GRE on a raw socket, which needs CAP_NET_RAW on Linux and is not to be had elsewhere.
//
// # What its records hold
//
// A socket gives what is inside of UDP, and the ends that it came from and went to. Records are of pcap.LinkRaw: the
// outer IP and UDP headers are written anew from what is known (addresses, ports, lengths), so that the tunnel can be told
// from others. Not known, and not to be relied on, are the outer identification (0), time to live (64), the service type (0)
// and the UDP checksum (0: none). A raw IPv4 socket gives the IP header as it came; for IPv6 it is written anew too. The
// kernel has put fragments together before, and has thrown away those of which one was missing without telling anybody.
//
// # What it loses
//
// On Linux the kernel counts, for each socket, every datagram that found the receive buffer full, and those whose
// checksum was wrong. That count is read exactly: with the datagrams (SO_RXQ_OVFL, which tells between which two the
// loss was) and whenever Stats is called (SO_MEMINFO, which counts the losses after the last datagram too). It has 32 bits
// there and is carried on beyond. Datagrams of which a fragment is missing never reach a socket; the kernel counts them for
// the whole host, and Doubt tells of them. On other systems nothing is counted, and Doubt says so. The buffer is asked for at Start; where
// less is granted, Notes says how much and how to raise the limit.
//
// # What Flush knows
//
// What reached the tap is what lies in the socket's receive queue when Flush is called, and what was taken from it before.
// On Linux the queue is then read until it is found empty, which proves that everything from before the call was read; or,
// where so much comes that it never is, until as many datagrams were read as can have been in it, which the kernel tells
// in bytes. Elsewhere a datagram is sent to the tap's own address, and everything before it in the queue has been read
// when it comes out; where the queue is full it is sent again. What is still in the network card, in the kernel's queues
// before the socket's, or a fragment that waits for others has not reached the tap: that is what a canary is for.
package socket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// DefaultPort is VXLAN's (RFC 7348, 5).
const DefaultPort = 4789

// DefaultBuffer is the receive buffer that is asked for, in bytes. The kernel counts its own overhead in twice that.
const DefaultBuffer = 32 << 20

// Options of a tap.
type Options struct {
	Name string
	// Listen is the address that the mirror sends to: ADDRESS:PORT or ADDRESS for VXLAN, ADDRESS for GRE, numbers only.
	// 0.0.0.0 is every IPv4 address of this host, [::] every address (for GRE: every IPv6 address). Empty is 127.0.0.1.
	Listen string
	// IDs are the tunnels that are wanted: VXLAN's network identifiers (24 bits), GRE's keys. Empty: all.
	IDs []uint32
	// From are the addresses that the mirror sends from. Empty: all.
	From []netip.Prefix
	// Buffer is the receive buffer to ask for, in bytes; 0 is DefaultBuffer.
	Buffer int
}

// Tap captures on a socket. It implements bench.Tap, bench.Noting, bench.Doubtful and bench.Ported.
type Tap struct {
	name   string
	proto  protocol
	listen netip.AddrPort
	from   []netip.Prefix
	ids    []uint32 // sorted
	buffer int
	room   int // bytes of a datagram that are received at most
	open   func(p protocol, listen netip.AddrPort, buffer, room int) (receiver, netip.AddrPort, error)

	closing atomic.Bool // no sink any more
	done    chan struct{}

	mu        sync.Mutex
	state     state
	rx        receiver
	stats     bench.TapStats
	delivered uint64 // datagrams done with, wanted or not
	flushes   []*flushing
	marks     uint64
	torn      uint64 // datagrams of which fragments are missing
	err       error
}

type protocol uint8

const (
	vxlan protocol = iota
	gre
)

type state uint8

const (
	fresh state = iota
	started
	stopped
)

// flushing is a Flush that waits.
type flushing struct {
	id     uint64 // its mark, where marks are sent
	target uint64 // what delivered must reach where the queue is never found empty; 0: not known
	done   chan struct{}
}

// NewVXLAN makes a tap on a UDP port. It opens nothing.
func NewVXLAN(o Options) (*Tap, error) {
	listen, err := ParseListen(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("make tap %s: %w", o.Name, err)
	}
	for _, id := range o.IDs {
		if id >= 1<<24 {
			return nil, fmt.Errorf("make tap %s: VXLAN network identifier %d has more than 24 bits", o.Name, id)
		}
	}
	return newTap(vxlan, "vxlan", listen, o), nil
}

// NewGRE makes a tap on a raw socket. It opens nothing.
func NewGRE(o Options) (*Tap, error) {
	addr, err := netip.ParseAddr(cmp.Or(strings.Trim(o.Listen, "[]"), "127.0.0.1"))
	if err != nil {
		return nil, fmt.Errorf("make tap %s: listen on %q: write an address of this host such as 10.0.0.2, or 0.0.0.0 for all of them; GRE has no ports", o.Name, o.Listen)
	}
	return newTap(gre, "gre", netip.AddrPortFrom(addr, 0), o), nil
}

func newTap(p protocol, kind string, listen netip.AddrPort, o Options) *Tap {
	return &Tap{
		name: cmp.Or(o.Name, kind), proto: p, listen: listen, from: o.From, ids: slices.Sorted(slices.Values(o.IDs)),
		buffer: cmp.Or(o.Buffer, DefaultBuffer), room: maxDatagram, open: open, done: make(chan struct{}),
	}
}

// ParseListen reads where a VXLAN tap is to listen: ADDRESS:PORT or ADDRESS, in numbers; "" is 127.0.0.1:4789.
func ParseListen(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), DefaultPort), nil
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(a, DefaultPort), nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap, nil
	}
	return netip.AddrPort{}, fmt.Errorf("listen on %q: write ADDRESS:PORT with an address of this host, such as 10.0.0.2:%s, or 0.0.0.0:%[2]s for all of them", text, strconv.Itoa(DefaultPort))
}

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.name }

// Listening is where the tap listens, with the port that the system chose where none was asked for.
func (t *Tap) Listening() netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listen
}

// VXLANPorts implements bench.Ported.
func (t *Tap) VXLANPorts() []uint16 {
	if port := t.Listening().Port(); t.proto == vxlan && port != 0 && port != DefaultPort {
		return []uint16{port}
	}
	return nil
}

// Start implements bench.Tap: it returns when the socket is bound, so that the kernel keeps for the tap whatever comes. A
// tap is started once.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != fresh {
		return fmt.Errorf("start tap %s: it was started or closed before; a tap is started once", t.name)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("start tap %s: %w", t.name, err)
	}
	rx, bound, err := t.open(t.proto, t.listen, t.buffer, t.room)
	if err != nil {
		return fmt.Errorf("start tap %s: %w", t.name, err)
	}
	t.rx, t.listen, t.state = rx, bound, started
	go t.run(sink)
	return nil
}

// run receives until the socket is closed; it is the tap's one goroutine.
func (t *Tap) run(sink func(pcap.Record)) {
	defer close(t.done)
	var p progress
	for {
		waiting := t.waiting()
		batch, err := t.rx.receive(waiting == 0)
		for i := range batch {
			if t.closing.Load() {
				t.settle(&p, batch[:i], 0, false)
				return
			}
			t.give(&batch[i], &p, sink)
		}
		if err != nil && !errors.Is(err, errEmpty) {
			t.end(err)
			return
		}
		t.settle(&p, batch, waiting, err != nil)
	}
}

// progress is what the tap's goroutine keeps between datagrams.
type progress struct {
	number uint64         // of the last record
	lost   uint64         // since the last record
	got    bench.TapStats // not counted yet
}

// give gives a datagram to the sink where it is wanted, and counts it.
func (t *Tap) give(d *datagram, p *progress, sink func(pcap.Record)) {
	if d.mark != 0 {
		return
	}
	p.lost += d.lost
	data, wanted := t.frame(d)
	if !wanted {
		p.got.Filtered++
		return
	}
	p.got.Received++
	if d.n < d.length {
		p.got.Truncated++
	}
	p.number++
	lost := p.lost
	p.lost = 0
	sink(pcap.Record{Number: p.number, Time: d.time, Link: pcap.LinkRaw, Data: data, Length: len(data) + d.length - d.n, Drops: lost})
}

// waiting is how many Flushes wait: what is read from now on was read after they were called.
func (t *Tap) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.flushes)
}

// settle counts a batch that was given and ends the Flushes that are done: the first so many waited when the queue was
// found empty, if it was.
func (t *Tap) settle(p *progress, batch []datagram, waited int, empty bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Received += p.got.Received
	t.stats.Filtered += p.got.Filtered
	t.stats.Truncated += p.got.Truncated
	p.got = bench.TapStats{}
	t.stats.Dropped = max(t.stats.Dropped, t.rx.lost())
	t.delivered += uint64(len(batch))
	kept := t.flushes[:0]
	for i, f := range t.flushes {
		if empty && i < waited || f.target > 0 && t.delivered >= f.target || marked(batch, f.id) {
			close(f.done)
			continue
		}
		kept = append(kept, f)
	}
	clear(t.flushes[len(kept):])
	t.flushes = kept
}

// marked says whether a Flush's mark, or a later one, came with a batch.
func marked(batch []datagram, id uint64) bool {
	return slices.ContainsFunc(batch, func(d datagram) bool { return d.mark >= id })
}

// end notes why the socket can't be read any more, unless that is because it was closed.
func (t *Tap) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == started {
		t.count()
		t.err = fmt.Errorf("tap %s: receive on %s: %w", t.name, t.listen, err)
	}
}

// count asks the kernel for what was lost up to now. It is called under mu, while the socket is open.
func (t *Tap) count() { t.stats.Dropped = max(t.stats.Dropped, t.rx.count()) }

// again is how long Flush waits before it sends its mark again, which was lost where the queue was full.
const again = 50 * time.Millisecond

// Flush implements bench.Tap. What it can know is in the package's description. A tap that ended by itself can't be
// flushed: Flush gives Err.
func (t *Tap) Flush(ctx context.Context) error {
	f, err := t.ask()
	if err != nil {
		return err
	}
	timer := time.NewTicker(again)
	defer timer.Stop()
	for {
		if err := t.rx.nudge(f.id); err != nil && !errors.Is(err, net.ErrClosed) && t.Err() == nil {
			return fmt.Errorf("flush tap %s: %w", t.name, err)
		}
		select {
		case <-f.done:
			return nil
		case <-t.done:
			return t.unflushed(f)
		case <-ctx.Done():
			return fmt.Errorf("flush tap %s: %w", t.name, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// ask enters a Flush that waits.
func (t *Tap) ask() (*flushing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
		return nil, fmt.Errorf("flush: %w", t.err)
	case t.state != started:
		return nil, fmt.Errorf("flush tap %s: it is not capturing", t.name)
	}
	t.marks++
	f := &flushing{id: t.marks, done: make(chan struct{})}
	if n, ok := t.rx.queued(); ok {
		f.target = t.delivered + n
	}
	t.flushes = append(t.flushes, f)
	return f, nil
}

// unflushed says why a Flush was not done when the tap's goroutine ended.
func (t *Tap) unflushed(f *flushing) error {
	select {
	case <-f.done: // both at once
		return nil
	default:
	}
	if err := t.Err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return fmt.Errorf("flush tap %s: it was closed", t.name)
}

// Stats implements bench.Tap.
func (t *Tap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == started {
		t.count()
	}
	return t.stats
}

// Err implements bench.Tap.
func (t *Tap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Close implements bench.Tap: the socket is closed, and what lies in it unread is lost. It must not be called by the sink.
func (t *Tap) Close() error {
	t.closing.Store(true)
	t.mu.Lock()
	was := t.state
	if was == started {
		t.count()
		t.torn = t.rx.torn()
	}
	t.state = stopped
	t.mu.Unlock()
	if was != started {
		return nil
	}
	err := t.rx.close()
	<-t.done
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close tap %s: %w", t.name, err)
	}
	return nil
}
