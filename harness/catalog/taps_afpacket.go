package catalog

import (
	"errors"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// ringOptions are the options of afpacket.
type ringOptions struct {
	tap    afpacket.Options
	filter filter.Options
}

func afpacketObject() *scenario.Object[ringOptions] {
	return &scenario.Object[ringOptions]{Name: "a tap", Keys: append([]scenario.Key[ringOptions]{
		scenario.Needed(scenario.Field("interface", "The interface of this host that the mirror arrives on.", interfaceName(), func(o *ringOptions) *string { return &o.tap.Interface })),
		scenario.Field("promiscuous", "true: frames that are addressed to other hosts are captured too.", scenario.Truth(), func(o *ringOptions) *bool { return &o.tap.Promiscuous }),
		scenario.Field("buffer", "The ring's size, such as 64MiB; 24MiB where not given.", checked("a size such as 64MiB", parseSize), func(o *ringOptions) *int { return &o.tap.Buffer }),
	}, filterKeys(func(o *ringOptions) *filter.Options { return &o.filter })...),
		Check: func(errs *scenario.Errors, o *ringOptions, v scenario.Value, _ bool) {
			o.tap.Filter = makeFilter(errs, o.filter, v)
		}}
}

// interfaceName is the name of an interface of this host; whether there is such a one is seen when the tap is started.
func interfaceName() scenario.Form[string] {
	return checked("an interface", func(text string) (string, error) {
		if text == "" {
			return "", errors.New("no name is given: `ip -brief link` lists what there is")
		}
		return text, nil
	})
}

// number is a whole number of a smaller type.
func number[T uint16 | uint32](least, most int) scenario.Form[T] {
	whole := scenario.Count(least, most)
	return scenario.Form[T]{Schema: whole.Schema, Read: func(errs *scenario.Errors, name string, v scenario.Value) T {
		return T(whole.Read(errs, name, v))
	}}
}

func openAFPacket(name string, o ringOptions, _ *bench.Bench) (bench.Tap, error) {
	o.tap.Name = name
	return afpacket.New(o.tap)
}
