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

// peekTap is its driver: on a bench the device's carrier is known, and by itself the tap must say whose SIM is captured.
func peekTap() tapDriver {
	object := &scenario.Object[peek.Options]{Name: "a tap", Keys: peekKeys(func(o *peek.Options) *peek.Options { return o })}
	inner := func(o *peekAlone) *peek.Options { return &o.tap }
	alone := &scenario.Object[peekAlone]{Name: "a tap", Keys: append(peekKeys(inner),
		scenario.Needed(scenario.Field("sim", "The SIM whose packets are captured, by its IMSI or SIM ID; with --bench it may be a device's name, and is that of the only one. (On a command line alone.)", scenario.Text("an IMSI or a SIM ID"), func(o *peekAlone) *string { return &o.sim })),
		scenario.Field("profile", "The vendor command's profile to sign in with; default where not given. (On a command line alone.)", scenario.Text("a profile's name"), func(o *peekAlone) *string { return &o.carrier.profile }),
		scenario.Field("endpoint", "Another address of the API; SORACOM_ENDPOINT, or the profile's, where not given. (On a command line alone.)", scenario.Text("a URL"), func(o *peekAlone) *string { return &o.carrier.endpoint }),
	)}
	d, byItself := tapOf(object, openPeek), tapOf(alone, openPeekAlone)
	d.alone = &byItself
	return d
}

// peekAlone are the options of a tap by itself, which has no device's carrier.
type peekAlone struct {
	tap     peek.Options
	sim     string
	carrier carrierOptions
}

func peekKeys[T any](at func(*T) *peek.Options) []scenario.Key[T] {
	return []scenario.Key[T]{
		scenario.Each("limit", "How long a packet capture session may last, from 30s to 24h: longer than the longest run, for a session that was forgotten costs until then. 2h where not given.", sessionLength(),
			func(o *T, _ scenario.Entry, v scenario.Span) { at(o).Most = v.Length }),
		scenario.Field("keep", "true: the carrier keeps the session's file, for a week; otherwise it is deleted once it has been read.", scenario.Truth(), func(o *T) *bool { return &at(o).Keep }),
	}
}

// sessionLength is how long a session may last.
func sessionLength() scenario.Form[scenario.Span] {
	length := scenario.Length()
	return scenario.Form[scenario.Span]{Schema: length.Schema, Read: func(errs *scenario.Errors, name string, v scenario.Value) scenario.Span {
		before := len(*errs)
		s := length.Read(errs, name, v)
		if len(*errs) == before && (s.Length < soracom.CaptureLeast || s.Length > soracom.CaptureMost) {
			errs.Addf(v.Pos, "%s: a packet capture session lasts from %s to %s", name, soracom.CaptureLeast, soracom.CaptureMost)
		}
		return s
	}}
}

// openPeekAlone captures the sessions of the SIM that the tap names, and leaves its carrier with the bench.
func openPeekAlone(name string, o peekAlone, b *bench.Bench) (bench.Tap, error) {
	carrier, err := openSoracom(o.carrier, o.sim, b.Clock)
	if err != nil {
		return nil, err
	}
	b.Carrier = carrier
	return openPeek(name, o.tap, b)
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
