package catalog

import (
	"net/netip"

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
	return &scenario.Object[ringOptions]{Name: "a tap", Keys: []scenario.Key[ringOptions]{
		scenario.Needed(scenario.Field("interface", "The interface of this host that the mirror arrives on.", scenario.Text("an interface"), func(o *ringOptions) *string { return &o.tap.Interface })),
		scenario.Field("capture", "What the mirror is wrapped in, a word or a list: gre, erspan, vxlan, geneve, plain (in none of these) or all; gre where not given.",
			scenario.OneOrMany(scenario.Choice("what to capture", filter.Words()...)), func(o *ringOptions) *[]string { return &o.filter.Words }),
		scenario.Field("port", "UDP ports that carry VXLAN besides 4789: a number or a list.", scenario.OneOrMany(number[uint16](1, 1<<16-1)), func(o *ringOptions) *[]uint16 { return &o.filter.Ports }),
		scenario.Field("vni", "The network identifiers of VXLAN and GENEVE that are wanted: a number or a list; all where not given.", scenario.OneOrMany(number[uint32](0, 1<<24-1)), func(o *ringOptions) *[]uint32 { return &o.filter.VNIs }),
		scenario.Field("from", "Where the mirror sends from: an address or a network (10.0.0.0/8), or a list; from anywhere where not given.", scenario.OneOrMany(network()), func(o *ringOptions) *[]netip.Prefix { return &o.filter.Sources }),
		scenario.Field("to", "Where the mirror sends to: an address or a network, or a list; to anywhere where not given.", scenario.OneOrMany(network()), func(o *ringOptions) *[]netip.Prefix { return &o.filter.Destinations }),
		scenario.Field("promiscuous", "true: frames that are addressed to other hosts are captured too.", truth(), func(o *ringOptions) *bool { return &o.tap.Promiscuous }),
		scenario.Field("buffer", "The ring's size, such as 64MiB; 32MiB where not given.", checked("a size such as 64MiB", parseSize), func(o *ringOptions) *int { return &o.tap.Buffer }),
	}, Check: func(errs *scenario.Errors, o *ringOptions, v scenario.Value, _ bool) {
		if len(o.filter.Words) == 0 {
			o.filter.Words = []string{filter.GRE}
		}
		if len(*errs) > 0 {
			return // of values that are mistakes a filter would only say so again
		}
		var err error
		if o.tap.Filter, err = filter.New(o.filter); err != nil {
			errs.Addf(v.Pos, "%s", err)
		}
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
