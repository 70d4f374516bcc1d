package catalog

import (
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
		scenario.Needed(scenario.Field("interface", "The interface of this host that the mirror arrives on.", scenario.Text("an interface"), func(o *ringOptions) *string { return &o.tap.Interface })),
		scenario.Field("promiscuous", "true: frames that are addressed to other hosts are captured too.", truth(), func(o *ringOptions) *bool { return &o.tap.Promiscuous }),
		scenario.Field("buffer", "The ring's size, such as 64MiB; 24MiB where not given.", checked("a size such as 64MiB", parseSize), func(o *ringOptions) *int { return &o.tap.Buffer }),
	}, filterKeys(func(o *ringOptions) *filter.Options { return &o.filter })...),
		Check: func(errs *scenario.Errors, o *ringOptions, v scenario.Value, _ bool) {
			o.tap.Filter = makeFilter(errs, o.filter, v)
		}}
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
