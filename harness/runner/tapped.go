package runner

import (
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// tapped is a tap that was started.
type tapped struct {
	tap      bench.Tap
	evidence trace.TapEvidence
	clock    tapClock
	pinged   map[netip.Addr]int64 // time of the last ICMP packet to an address
	answered map[netip.Addr]int64 // time of the last ICMP packet from an address
	pings    []seenPing           // all ICMP packets, of a deferred tap
}

func newTapped(tap bench.Tap, place string) *tapped {
	return &tapped{tap: tap, evidence: trace.TapEvidence{Name: tap.Name(), Place: place},
		pinged: map[netip.Addr]int64{}, answered: map[netip.Addr]int64{}}
}

// ping notes an ICMP packet, the mirror's copies too: another tap may have shown it before.
func (t *tapped) ping(p *packet.Packet) {
	if p.Kind != packet.ICMP && p.Kind != packet.ICMPv6 {
		return
	}
	from, to := p.Src.Netip(), p.Dst.Netip()
	t.answered[from] = max(t.answered[from], p.Time)
	t.pinged[to] = max(t.pinged[to], p.Time)
	t.keepPing(p)
}

// tapPlaces says where a bench's taps are.
func tapPlaces(b *bench.Bench) []trace.TapPlace {
	out := make([]trace.TapPlace, len(b.Taps))
	for i, tap := range b.Taps {
		out[i] = trace.TapPlace{Name: tap.Name(), Place: b.Places[tap.Name()]}
	}
	return out
}

// pingedSince says whether a tap saw an ICMP packet to the address at or after a time, and whether it saw one from it.
func (w *wire) pingedSince(t *tapped, a netip.Addr, since time.Time) (pinged, answered bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to, isTo := t.pinged[a.Unmap()]
	from, isFrom := t.answered[a.Unmap()]
	return isTo && to >= since.UnixNano(), isFrom && from >= since.UnixNano()
}

// allPingedSince says whether every live tap saw an ICMP packet to the address at or after a time, and one from it.
func (w *wire) allPingedSince(a netip.Addr, since time.Time) (pinged, answered bool) {
	pinged, answered = w.live(), w.live()
	for _, t := range w.tapped {
		if isDeferred(t.tap) {
			continue
		}
		to, from := w.pingedSince(t, a, since)
		pinged, answered = pinged && to, answered && from
	}
	return pinged, answered
}
