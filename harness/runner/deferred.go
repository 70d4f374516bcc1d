package runner

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Taps that give their packets at the run's end only (bench.Deferred) are flushed then and no earlier, nothing waits for
// their packets, and whether a canary came through is found out afterwards.

// sentCanary is a canary whose coming through is not known yet.
type sentCanary struct {
	place        canaryPlace
	address      netip.Addr
	since, until time.Time
}

// seenPing is an ICMP packet to an address.
type seenPing struct {
	to netip.Addr
	at int64
}

// clocksApart is how far a deferred tap's clock may be from the bench's for its canaries to be known by their times.
const clocksApart = 2 * time.Second

// pingLimit bounds the pings that are remembered of a deferred tap.
const pingLimit = 1 << 16

func isDeferred(t bench.Tap) bool {
	_, ok := t.(bench.Deferred)
	return ok
}

// live says whether a tap gives packets while the run goes on.
func (w *wire) live() bool {
	return slices.ContainsFunc(w.tapped, func(t *tapped) bool { return !isDeferred(t.tap) })
}

// unseen says why nothing can wait for packets, nil where a tap gives them while the run goes on.
func (w *wire) unseen() error {
	if len(w.tapped) == 0 || w.live() {
		return nil
	}
	var names []string
	for _, t := range w.tapped {
		names = append(names, t.tap.Name())
	}
	return fmt.Errorf("tap %s gives its packets when the run ends, and nothing can wait for them before", strings.Join(names, ", "))
}

// keepPing remembers a ping of a deferred tap. It is called under mu.
func (t *tapped) keepPing(p *packet.Packet) {
	if isDeferred(t.tap) && len(t.pings) < pingLimit {
		t.pings = append(t.pings, seenPing{p.Dst.Netip(), p.Time})
	}
}

// flushDeferred ends the captures of the deferred taps, takes what they give, and looks for the canaries in it.
func (w *wire) flushDeferred(ctx context.Context) {
	for _, t := range w.tapped {
		d, ok := t.tap.(bench.Deferred)
		if !ok {
			continue
		}
		limit, cancel := w.clock.WithTimeout(ctx, d.FlushTime())
		w.flushTap(ctx, limit, t)
		cancel()
		for _, c := range w.canaries {
			w.canaryOf(t, c.place, t.gotPing(w, c), c.until)
		}
	}
}

// gotPing says whether a deferred tap saw a canary.
func (t *tapped) gotPing(w *wire, c sentCanary) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	from, to := c.since.Add(-clocksApart).UnixNano(), c.until.Add(clocksApart).UnixNano()
	return slices.ContainsFunc(t.pings, func(p seenPing) bool { return p.to == c.address.Unmap() && p.at >= from && p.at <= to })
}
