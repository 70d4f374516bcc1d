package catalog

import (
	"errors"
	"sync"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/hub"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Shared holds the taps that several runs of one process share: those that a bench file calls shared. Benches that are
// opened with the same Shared (Options.Shared) capture each of them once. Its methods may be called from several goroutines.
type Shared struct {
	mu   sync.Mutex
	hubs map[sharedTap]*hub.Hub
}

// sharedTap names a tap of a bench file.
type sharedTap struct{ bench, tap string }

// Close ends the taps, whatever runs still have one.
func (s *Shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, h := range s.hubs {
		errs = append(errs, h.Close())
	}
	s.hubs = nil
	return errors.Join(errs...)
}

// hub gives the tap's hub, made by the first who asks.
func (s *Shared) hub(p *bench.Part, b *bench.Bench) *hub.Hub {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sharedTap{p.Pos.File, p.Name}
	if h := s.hubs[key]; h != nil {
		return h
	}
	if s.hubs == nil {
		s.hubs = map[sharedTap]*hub.Hub{}
	}
	part := *p
	// The bench of the run that opens it may be gone while others still share it: only its clock outlives it.
	own := &bench.Bench{Name: b.Name, Clock: b.Clock}
	h := hub.New(hub.Options{Name: p.Name, Clock: b.Clock, Open: func() (bench.Tap, error) { return taps[part.Driver].open(&part, own) }})
	s.hubs[key] = h
	return h
}

// openTap opens a run's tap: one of its own, or its part of a shared one.
func openTap(p *bench.Part, b *bench.Bench, o Options) (bench.Tap, error) {
	if !p.Shared {
		return taps[p.Driver].open(p, b)
	}
	shared := o.Shared
	if shared == nil {
		shared = &Shared{} // the last run closes the tap: nothing else is to be closed
	}
	return shared.hub(p, b).Tap(p.Name), nil
}

// checkShared tells of a device that can't be found in a shared tap's traffic.
func checkShared(inv *bench.Inventory, d *bench.DevicePart) error {
	var errs scenario.Errors
	for i := range inv.Taps {
		p := &inv.Taps[i]
		switch {
		case p.Shared && d.Carrier == "":
			errs.Addf(p.Pos, "tap %q is shared, and device %q has no carrier: nothing tells which packets are the device's; give it a carrier and its imsi, or a tap of its own", p.Name, d.Name)
		case p.Shared && p.Driver == "peek":
			errs.Addf(p.Pos, "tap %q is shared, and peek captures the packets of one SIM alone: leave shared out", p.Name)
		}
	}
	return errs.Err()
}
