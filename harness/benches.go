package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// BenchParts is what a bench has.
type BenchParts struct {
	Name    string
	Devices []plan.Abilities
	Taps    []string
}

// Bench says what a bench has and what its devices can do, without opening anything. The name is an inventory file, or
// "" for the simulated bench.
func Bench(name string) (*BenchParts, error) {
	parts, err := catalog.List(name)
	if err != nil {
		return nil, usageOf(err)
	}
	return &BenchParts{Name: parts.Name, Devices: parts.Devices, Taps: parts.Taps}, nil
}

// Check is one thing that TestBench looked at.
type Check struct {
	What  string
	Err   error    // nil where it works
	Notes []string // what could be better, though it works
}

// checkTime bounds each check, on the bench's clock.
const checkTime = time.Minute

// TestBench opens every device of a bench in turn, with its carrier and its taps, and says what works.
func TestBench(ctx context.Context, name, sim string) ([]Check, error) {
	parts, err := catalog.List(name)
	if err != nil {
		return nil, usageOf(err)
	}
	var out []Check
	for _, d := range parts.Devices {
		want := scenario.DeviceWant{Model: d.Model, Driver: d.Driver}
		b, err := catalog.Open(ctx, want, catalog.Options{Bench: name, Sim: sim, Device: d.Device})
		var broken *catalog.BrokenError
		if err != nil && !errors.As(err, &broken) {
			return nil, usageOf(err)
		}
		if err != nil {
			out = append(out, Check{What: "bench for " + d.Device, Err: err})
			continue
		}
		out = append(out, testParts(ctx, b)...)
	}
	return out, nil
}

func testParts(ctx context.Context, b *bench.Bench) (out []Check) {
	defer b.Close()
	check := func(what string, f func(context.Context) error) {
		limited, cancel := b.Clock.WithTimeout(ctx, checkTime)
		defer cancel()
		out = append(out, Check{What: what, Err: f(limited)})
	}
	for _, t := range b.Taps {
		check(fmt.Sprintf("%s: tap %s captures", b.DevName, t.Name()), func(ctx context.Context) error {
			return t.Start(ctx, func(pcap.Record) {})
		})
		out[len(out)-1].Notes = notesOf(t)
		defer t.Close()
	}
	check(b.DevName+": port opens", func(ctx context.Context) error { return openAlone(ctx, b.Device) })
	if b.Carrier != nil {
		check(b.DevName+": carrier answers", func(ctx context.Context) error {
			_, err := b.Carrier.Address(ctx)
			return err
		})
		b.Carrier.Close()
	}
	return out
}

// notesOf is what a tap that was started says of itself.
func notesOf(t bench.Tap) (notes []string) {
	if n, ok := t.(bench.Noting); ok {
		notes = n.Notes()
	}
	if d, ok := t.(bench.Doubtful); ok && d.Doubt() != "" {
		notes = append(notes, d.Doubt())
	}
	return notes
}

// openAlone opens a device, reads its console meanwhile, and closes it.
func openAlone(ctx context.Context, d bench.Device) error {
	console, closed := make(chan bench.Line), make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			select {
			case <-console:
			case <-closed:
				return
			}
		}
	}()
	err := d.Open(ctx, console)
	d.Close()
	close(closed)
	<-read
	return err
}
