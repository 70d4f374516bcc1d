// Package filter says which frames a tap takes: the tunnels that a mirror wraps packets in, by name, and the outer
// addresses they come from and go to. One Filter is a classic BPF program for a socket of this host, an expression for
// a tcpdump elsewhere, and a plain function to hold both against.
//
// What can't be told from a frame is taken rather than missed. A mirror without a larger MTU than the mirrored network
// sends most packets in IP fragments, and of those only the first has ports: later fragments of UDP are taken wherever
// a tunnel over UDP is asked for, those of GRE wherever GRE is. What is not the mirror's is sorted out by the decoder.
//
// The outer frame may be Ethernet with up to three VLAN tags, or begin with its IP header. Over IPv6, hop-by-hop,
// routing and destination options and fragment headers are passed over, four of them at most (RFC 8200, 4.1).
package filter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The words that name what is taken.
const (
	GRE    = "gre"    // IP protocol 47, whatever it carries: Junction mirroring (RFC 2784, RFC 2890)
	ERSPAN = "erspan" // GRE with protocol 0x88BE or 0x22EB only (draft-foschiano-erspan-03)
	VXLAN  = "vxlan"  // UDP to port 4789 and to the ports given (RFC 7348)
	GENEVE = "geneve" // UDP to port 6081 (RFC 8926)
	Plain  = "plain"  // whatever is in none of the tunnels above, ARP and the like included
	All    = "all"    // every frame
)

// Words gives all words, in the order in which they are explained.
func Words() []string { return []string{GRE, ERSPAN, VXLAN, GENEVE, Plain, All} }

// The UDP ports of tunnels.
const (
	PortVXLAN  = 4789
	PortGENEVE = 6081
)

// maxList bounds each list of Options: a BPF program has 4,096 instructions at most.
const maxList = 64

// Options say what is taken. Lists have 64 entries at most.
type Options struct {
	Words        []string       // any of them; none means All
	Ports        []uint16       // UDP ports that carry VXLAN, besides 4789
	VNIs         []uint32       // network identifiers of VXLAN and GENEVE that are taken; none means every one
	Sources      []netip.Prefix // outer source addresses that are taken; none means every one
	Destinations []netip.Prefix // the same of outer destinations
}

// Framing is how a frame begins.
type Framing uint8

// The framings.
const (
	Ethernet Framing = iota
	RawIP            // with the IP header
)

// Filter says which frames are taken. It is immutable.
type Filter struct {
	all, gre, erspan, plain bool
	tunnels                 []port // of UDP, wanted or not, each port once
	vnis                    []uint32
	from, to                []netip.Prefix
	words                   []string
}

// port is a UDP port that carries a tunnel.
type port struct {
	number uint16
	wanted bool
}

// New makes a Filter. Errors name the option and what it may be.
func New(o Options) (*Filter, error) {
	words := o.Words
	if len(words) == 0 {
		words = []string{All}
	}
	f := &Filter{vnis: sorted(o.VNIs), words: slices.Clone(words)}
	vxlan, geneve := false, false
	for _, w := range words {
		known := map[string]*bool{GRE: &f.gre, ERSPAN: &f.erspan, VXLAN: &vxlan, GENEVE: &geneve, Plain: &f.plain, All: &f.all}
		if known[w] == nil {
			return nil, fmt.Errorf("make filter: %q is nothing to capture: give any of %s", w, strings.Join(Words(), ", "))
		}
		*known[w] = true
	}
	for _, p := range sorted(append(slices.Clone(o.Ports), PortVXLAN)) {
		if p == 0 || p == PortGENEVE {
			return nil, fmt.Errorf("make filter: port %d can't be one of VXLAN", p)
		}
		f.tunnels = append(f.tunnels, port{p, vxlan})
	}
	f.tunnels = append(f.tunnels, port{PortGENEVE, geneve})
	var err error
	if f.from, err = prefixes("source", o.Sources); err != nil {
		return nil, err
	}
	if f.to, err = prefixes("destination", o.Destinations); err != nil {
		return nil, err
	}
	if err := o.check(f, vxlan, geneve); err != nil {
		return nil, err
	}
	return f, nil
}

// check refuses options that could have no effect, and lists without measure.
func (o Options) check(f *Filter, vxlan, geneve bool) error {
	switch {
	case max(len(o.Ports), len(o.VNIs), len(o.Sources), len(o.Destinations)) > maxList:
		return fmt.Errorf("make filter: a list of ports, VNIs or addresses has more than %d entries", maxList)
	case len(o.Ports) > 0 && !vxlan && !f.plain && !f.all:
		return fmt.Errorf("make filter: ports are those of VXLAN, and %s is not asked for", VXLAN)
	case len(o.VNIs) > 0 && (f.all || !vxlan && !geneve):
		return fmt.Errorf("make filter: VNIs choose among the networks of %s and %s, which are not asked for by those names", VXLAN, GENEVE)
	case len(f.vnis) > 0 && f.vnis[len(f.vnis)-1] > 0xffffff:
		return errors.New("make filter: a VNI has 24 bits: 0 to 16777215")
	case disjoint(f.from, f.to):
		return errors.New("make filter: the outer sources and destinations are of different IP versions: no packet has both")
	}
	return nil
}

// disjoint says whether two lists of networks have no version of IP in common. An empty list is of both.
func disjoint(a, b []netip.Prefix) bool {
	return len(a) > 0 && len(b) > 0 && !slices.ContainsFunc(a, func(p netip.Prefix) bool {
		return slices.ContainsFunc(b, func(q netip.Prefix) bool { return p.Addr().Is4() == q.Addr().Is4() })
	})
}

// prefixes gives what the addresses have in common with all others of theirs, sorted, each once.
func prefixes(what string, list []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, p := range list {
		if !p.IsValid() || p.Addr().Zone() != "" || p.Addr().Is4In6() {
			return nil, fmt.Errorf("make filter: outer %s %s is no IPv4 or IPv6 network", what, p)
		}
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
	})
	return slices.Compact(out), nil
}

func sorted[T cmp.Ordered](list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }

// udpWanted says whether any tunnel over UDP is asked for.
func (f *Filter) udpWanted() bool {
	return slices.ContainsFunc(f.tunnels, func(p port) bool { return p.wanted })
}

// later says whether a later fragment of an IP protocol is taken: the tunnel it belongs to can't be read from it.
func (f *Filter) later(proto byte) bool {
	switch proto {
	case protoUDP:
		return f.plain || f.udpWanted()
	case protoGRE:
		return f.gre || f.erspan
	}
	return f.plain
}

// laterBehind is later for IPv6 where the fragment begins with an extension header: only the first says what is behind it.
func (f *Filter) laterBehind() bool { return f.later(protoUDP) || f.later(protoGRE) }

// everything says whether the filter lets every frame through.
func (f *Filter) everything() bool { return f.all && len(f.from) == 0 && len(f.to) == 0 }

// String describes the filter for people: "gre, vxlan (ports 4789, 8472; VNI 42) from 10.0.0.0/8".
func (f *Filter) String() string {
	var b strings.Builder
	b.WriteString(strings.Join(f.words, ", "))
	var more []string
	if len(f.tunnels) > 2 {
		more = append(more, "VXLAN ports "+list(f.tunnels[:len(f.tunnels)-1], func(p port) string { return fmt.Sprint(p.number) }))
	}
	if len(f.vnis) > 0 {
		more = append(more, "VNI "+list(f.vnis, func(v uint32) string { return fmt.Sprint(v) }))
	}
	if len(more) > 0 {
		b.WriteString(" (" + strings.Join(more, "; ") + ")")
	}
	if len(f.from) > 0 {
		b.WriteString(" from " + list(f.from, netip.Prefix.String))
	}
	if len(f.to) > 0 {
		b.WriteString(" to " + list(f.to, netip.Prefix.String))
	}
	return b.String()
}

func list[T any](of []T, text func(T) string) string { return strings.Join(each(of, text), ", ") }

// VXLANPorts gives the UDP ports of VXLAN besides 4789, which a decoder must be told.
func (f *Filter) VXLANPorts() []uint16 {
	var out []uint16
	for _, p := range f.tunnels {
		if p.number != PortVXLAN && p.number != PortGENEVE {
			out = append(out, p.number)
		}
	}
	return out
}
