package socket

import "fmt"

// Notes implements bench.Noting: whether the receive buffer is as large as was asked for, and how that can be had.
func (t *Tap) Notes() []string {
	granted := t.Buffer()
	if granted == 0 || granted >= t.buffer {
		return nil
	}
	return []string{fmt.Sprintf("the receive buffer has %s, not the %s that were asked for: more packets are lost in bursts; %s", size(granted), size(t.buffer), raise(t.buffer))}
}

// Buffer is the size of the receive buffer that was granted, in bytes; 0 before Start.
func (t *Tap) Buffer() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rx == nil {
		return 0
	}
	return t.rx.granted()
}

// Doubt implements bench.Doubtful.
func (t *Tap) Doubt() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == started {
		t.torn = t.rx.torn()
	}
	return uncounted(t.torn)
}

// size writes bytes for people.
func size(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
}
