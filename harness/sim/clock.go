package sim

import (
	"container/heap"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// DefaultSpeed is how many simulated seconds pass in a second of idleness: a minute costs a second.
const DefaultSpeed = 60

const (
	// tick is how often the clock advances, and how far while there is activity.
	tick = time.Millisecond
	// quietTicks is how many ticks without activity make the clock hurry. It is above a packet's time on the air, so
	// a conversation passes at the wall's speed from its first packet to its last.
	quietTicks = 40
	// rampTicks is how many ticks the clock then hurries only a little: a peer whose goroutine was kept waiting by a
	// busy machine has answered before a retransmission timer could run out.
	rampTicks = 20
	rampSpeed = 8
)

// ErrStopped is what Sleep returns when the clock has been stopped meanwhile.
var ErrStopped = errors.New("the simulated clock has stopped")

// Clock is the time of a simulated bench, for the bench itself (bench.Clock) and for the TCP/IP stacks in it
// (tcpip.Clock).
//
// It runs at the wall's speed while something happens (a packet arrives, a byte passes the console, somebody holds it)
// and faster when nothing does. It is driven by ticks and not by the wall's time: each tick advances it by a fixed
// amount, so a machine that stalls for a second makes simulated time stand still and not leap. Timers fire one by one
// in the order of their times, those of the same time in the order in which they were set, with Now exactly at the
// timer's time; a timer that turns out to be activity ends the tick, so that what reacts to it sees hardly more than
// that time.
type Clock struct {
	start time.Time
	speed time.Duration

	mu     sync.Mutex
	now    time.Time
	timers timerHeap
	serial uint64
	holds  int
	idle   int // ticks since the last activity

	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}
}

// NewClock starts a clock at the wall's present second. A speed of 0 means DefaultSpeed, 1 the wall's speed always.
func NewClock(speed float64) *Clock {
	if speed <= 0 {
		speed = DefaultSpeed
	}
	start := time.Now().UTC().Truncate(time.Second)
	c := newClock(start, speed)
	go c.run()
	return c
}

// newClock gives a clock that nothing drives yet.
func newClock(start time.Time, speed float64) *Clock {
	return &Clock{
		start: start,
		now:   start,
		speed: max(time.Duration(speed*float64(tick)), tick),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
}

// Now is the present simulated time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// NowMonotonic implements tcpip.Clock.
func (c *Clock) NowMonotonic() tcpip.MonotonicTime {
	var zero tcpip.MonotonicTime
	return zero.Add(c.Now().Sub(c.start) + time.Second) // never zero: the stacks take zero for "not set"
}

// Touch says that something happened: the clock goes at the wall's speed for a moment.
func (c *Clock) Touch() {
	c.mu.Lock()
	c.idle = 0
	c.mu.Unlock()
}

// Hold keeps the clock at the wall's speed until release is called: for whatever waits for the wall's own work, like
// an HTTP call on loopback. release may be called more than once.
func (c *Clock) Hold() (release func()) {
	c.mu.Lock()
	c.holds++
	c.idle = 0
	c.mu.Unlock()
	var once sync.Once
	return func() {
		once.Do(func() {
			c.mu.Lock()
			c.holds--
			c.idle = 0
			c.mu.Unlock()
		})
	}
}

// Sleep returns after d on this clock, or earlier with ctx's cause, or with ErrStopped.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	fired := make(chan struct{})
	t := c.AfterFunc(d, func() { close(fired) })
	defer t.Stop()
	select {
	case <-fired:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.stop:
		return ErrStopped
	}
}

// WithTimeout gives a context that ends after d on this clock, with context.DeadlineExceeded as its cause.
func (c *Clock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := c.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		t.Stop()
		cancel(context.Canceled)
	}
}

// AfterFunc implements tcpip.Clock: f is called once d has passed. It is called by the clock's own goroutine, one
// timer after the other, so f must not wait for anything that needs the clock to go on.
func (c *Clock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &timer{clock: c, f: f, index: -1}
	t.Reset(d)
	return t
}

// at calls f once a time has come: AfterFunc with a time that stays what it is however the clock goes meanwhile.
func (c *Clock) at(when time.Time, f func()) tcpip.Timer {
	t := &timer{clock: c, f: f, index: -1}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.set(when)
	return t
}

// Stop ends the clock: time stands still, no timer fires any more, sleepers wake with ErrStopped.
func (c *Clock) Stop() {
	c.stopOnce.Do(func() { close(c.stop) })
	<-c.done
}

func (c *Clock) run() {
	defer close(c.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
		}
		// Whatever is ready to run goes first, so that time passes only when everybody has had a turn.
		for range 4 {
			runtime.Gosched()
		}
		c.tick()
	}
}

// tick advances the clock by one tick's worth of time and fires what becomes due.
func (c *Clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.now.Add(c.pace())
	hurried := c.idle > quietTicks
	for len(c.timers) > 0 && !c.timers[0].at.After(until) {
		t := heap.Pop(&c.timers).(*timer)
		if t.at.After(c.now) {
			c.now = t.at
		}
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
		if hurried && c.idle == 0 {
			return
		}
	}
	c.now = until
}

// pace counts the tick and says how far it goes. c.mu is held.
func (c *Clock) pace() time.Duration {
	if c.holds > 0 {
		c.idle = 0
		return tick
	}
	c.idle++
	switch {
	case c.idle <= quietTicks:
		return tick
	case c.idle <= quietTicks+rampTicks:
		return min(rampSpeed*tick, c.speed)
	default:
		return c.speed
	}
}

// timer is one timer of a Clock; its fields belong to the clock's lock.
type timer struct {
	clock  *Clock
	f      func()
	at     time.Time
	serial uint64
	index  int // in the heap, -1 while not set
}

// Stop implements tcpip.Timer.
func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

// Reset implements tcpip.Timer.
func (t *timer) Reset(d time.Duration) {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&c.timers, t.index)
	}
	t.set(c.now.Add(max(d, 0)))
}

// set puts the timer among those that run. The clock's lock is held.
func (t *timer) set(when time.Time) {
	t.clock.serial++
	t.at, t.serial = when, t.clock.serial
	heap.Push(&t.clock.timers, t)
}

// timerHeap is a min-heap by time, then by the order in which timers were set.
type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].serial < h[j].serial
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	t.index = -1
	*h = old[:len(old)-1]
	return t
}
