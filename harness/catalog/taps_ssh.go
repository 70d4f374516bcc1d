package catalog

import (
	"net/netip"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/ssh"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// sshOptions are the options of ssh.
type sshOptions struct {
	tap    ssh.Options
	filter filter.Options
}

func sshObject() *scenario.Object[sshOptions] {
	return &scenario.Object[sshOptions]{Name: "a tap", Keys: append([]scenario.Key[sshOptions]{
		scenario.Needed(scenario.Field("host", "A host as your own ssh knows it: a name of its configuration, user@host.", scenario.Text("a host"), func(o *sshOptions) *string { return &o.tap.Host })),
		scenario.Field("interface", "The interface there that the mirror arrives on; eth0 where not given.", scenario.Text("an interface"), func(o *sshOptions) *string { return &o.tap.Interface }),
		scenario.Field("sudo", "true: tcpdump there is run by sudo, which must not ask for a password.", scenario.Truth(), func(o *sshOptions) *bool { return &o.tap.Sudo }),
	}, filterKeys(func(o *sshOptions) *filter.Options { return &o.filter })...),
		Check: func(errs *scenario.Errors, o *sshOptions, v scenario.Value, _ bool) {
			o.tap.Filter = makeFilter(errs, o.filter, v)
			if len(*errs) > 0 {
				return
			}
			if _, err := ssh.New(o.tap); err != nil {
				errs.Addf(v.Pos, "%s", err)
			}
		}}
}

func openSSH(name string, o sshOptions, b *bench.Bench) (bench.Tap, error) {
	o.tap.Name = name
	if b != nil {
		o.tap.Clock = b.Clock
	}
	return ssh.New(o.tap)
}

// filterKeys are the options that the taps share which see every frame of an interface.
func filterKeys[T any](at func(*T) *filter.Options) []scenario.Key[T] {
	return []scenario.Key[T]{
		scenario.Field("capture", "What the mirror is wrapped in, a word or a list: gre, erspan, vxlan, geneve, plain (in none of these) or all; gre where not given.",
			scenario.OneOrMany(scenario.Choice("kind of mirror", filter.Words()...)), func(o *T) *[]string { return &at(o).Words }),
		scenario.Field("port", "UDP ports that carry VXLAN besides 4789: a number or a list.", scenario.OneOrMany(number[uint16](1, 1<<16-1)), func(o *T) *[]uint16 { return &at(o).Ports }),
		scenario.Field("vni", "The network identifiers of VXLAN and GENEVE that are wanted: a number or a list; all where not given.", scenario.OneOrMany(number[uint32](0, 1<<24-1)), func(o *T) *[]uint32 { return &at(o).VNIs }),
		scenario.Field("from", "Where the mirror sends from: an address or a network (10.0.0.0/8), or a list; from anywhere where not given.", scenario.OneOrMany(network()), func(o *T) *[]netip.Prefix { return &at(o).Sources }),
		scenario.Field("to", "Where the mirror sends to: an address or a network, or a list; to anywhere where not given.", scenario.OneOrMany(network()), func(o *T) *[]netip.Prefix { return &at(o).Destinations }),
	}
}

// makeFilter makes the filter of a tap's options, GRE where no word says what is wanted. Of values that are mistakes a
// filter would only say so again: there is none where there are mistakes.
func makeFilter(errs *scenario.Errors, o filter.Options, v scenario.Value) *filter.Filter {
	if len(o.Words) == 0 {
		o.Words = []string{filter.GRE}
	}
	if len(*errs) > 0 {
		return nil
	}
	f, err := filter.New(o)
	if err != nil {
		errs.Addf(v.Pos, "%s", err)
	}
	return f
}
