package catalog

import (
	"fmt"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/peek"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// peekDriver is the tap driver that captures in the carrier's network.
const peekDriver = "peek"

func peekObject() *scenario.Object[peek.Options] {
	return &scenario.Object[peek.Options]{Name: "a tap", Keys: []scenario.Key[peek.Options]{
		scenario.Each("limit", "How long a packet capture session may last, from 30s to 24h: longer than the longest run, for a session that was forgotten costs until then. 2h where not given.", scenario.Length(),
			func(o *peek.Options, _ scenario.Entry, v scenario.Span) { o.Most = v.Length }),
		scenario.Field("keep", "true: the carrier keeps the session's file, for a week; otherwise it is deleted once it has been read.", truth(), func(o *peek.Options) *bool { return &o.Keep }),
	}, Check: func(errs *scenario.Errors, o *peek.Options, v scenario.Value, _ bool) {
		if o.Most != 0 && (o.Most < soracom.CaptureLeast || o.Most > soracom.CaptureMost) {
			errs.Addf(v.Pos, "limit: a packet capture session lasts from %s to %s", soracom.CaptureLeast, soracom.CaptureMost)
		}
	}}
}

// openPeek captures the sessions of the device's own SIM: its carrier is the bench's.
func openPeek(name string, o peek.Options, b *bench.Bench) (bench.Tap, error) {
	o.Name = name
	if b == nil || b.Carrier == nil {
		return nil, fmt.Errorf("it captures the packets of a SIM in its carrier's network, and the device has no carrier: name one, with the SIM's imsi, in the bench file")
	}
	carrier, ok := b.Carrier.(peek.Carrier)
	if !ok {
		return nil, fmt.Errorf("the device's carrier has no packet capture sessions")
	}
	o.Carrier, o.Clock = carrier, b.Clock
	return peek.New(o)
}

// checkPeek refuses a tap in the carrier's network where no device has a carrier.
func checkPeek(errs *scenario.Errors, inv *bench.Inventory) {
	for _, d := range inv.Devices {
		if d.Carrier != "" {
			return
		}
	}
	for _, t := range inv.Taps {
		if t.Driver == peekDriver {
			errs.Addf(t.DriverPos, "tap %q: driver peek captures in the network of a device's carrier, and no device of the bench has a carrier: name one, with the SIM's imsi", t.Name)
		}
	}
}

// deferredTaps says whether every tap of an inventory gives its packets when the run ends.
func deferredTaps(inv *bench.Inventory) bool {
	for _, t := range inv.Taps {
		if t.Driver != peekDriver {
			return false
		}
	}
	return len(inv.Taps) > 0
}

// allDeferred is deferredTaps of taps that are there.
func allDeferred(taps []bench.Tap) bool {
	for _, t := range taps {
		if _, ok := t.(bench.Deferred); !ok {
			return false
		}
	}
	return len(taps) > 0
}
