package sim

import (
	"sync"
	"time"
)

// wire carries packets one way: each takes its time to be sent, one after the other, and then its time to arrive. It
// never changes their order.
type wire struct {
	clock   *Clock
	latency time.Duration
	gap     time.Duration // a packet takes at least so long to be sent
	to      func([]byte)

	mu   sync.Mutex
	rate int       // bits a second, 0 is without limit
	free time.Time // when the packet before has been sent
}

// send puts a packet on its way.
func (w *wire) send(packet []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	begin := w.clock.Now()
	if w.free.After(begin) {
		begin = w.free
	}
	w.free = begin.Add(w.takes(len(packet)))
	w.clock.at(w.free.Add(w.latency), func() {
		w.clock.Touch()
		w.to(packet)
	})
	w.clock.Touch()
}

func (w *wire) takes(bytes int) time.Duration {
	if w.rate == 0 {
		return w.gap
	}
	return max(w.gap, time.Duration(bytes)*8*time.Second/time.Duration(w.rate))
}

// setRate changes how fast packets are sent from now on.
func (w *wire) setRate(bitsPerSecond int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rate = bitsPerSecond
}
