package filter

import (
	"fmt"
	"net/netip"
	"strings"
)

// Expression gives the filter in tcpdump's language (pcap-filter(7)), for a tcpdump on another host; "" takes everything.
// It takes whatever Takes does of frames without a VLAN tag in them. Linux keeps an outer tag beside the frame, so tagged
// mirrors are taken too, with one tag; behind more tags `vlan and (…)` is needed, which interfaces without Ethernet refuse.
// It may take more where a datagram over IPv6 has options: the language has no way to pass over several headers.
func (f *Filter) Expression() string {
	var all []string
	for _, side := range []struct {
		name string
		list []netip.Prefix
	}{{"src", f.from}, {"dst", f.to}} {
		if len(side.list) > 0 {
			all = append(all, or(each(side.list, func(p netip.Prefix) string { return network(side.name, p) })))
		}
	}
	if !f.all {
		all = append(all, or([]string{f.four(), f.six(), f.rest()}))
	}
	return and(all)
}

func network(side string, p netip.Prefix) string {
	family := "ip"
	if p.Addr().Is6() {
		family = "ip6"
	}
	return fmt.Sprintf("%s %s net %s", family, side, p)
}

// four says what is taken of GRE and UDP over IPv4.
func (f *Filter) four() string {
	var any []string
	for _, proto := range []byte{protoGRE, protoUDP} {
		if parts, can := f.fragments(proto, "ip[6:2] & 0x1fff", "ip", "((ip[0] & 0xf) << 2)"); can {
			any = append(any, and([]string{fmt.Sprintf("ip[9] = %d", proto), parts}))
		}
	}
	return or(any)
}

// six says what is taken of GRE and UDP over IPv6: with no header between, in fragments, and behind options, of which the
// first is looked at only for what it says is next.
func (f *Filter) six() string {
	var any, behind []string
	for _, proto := range []byte{protoGRE, protoUDP} {
		if first, can := f.first(proto, "ip6", "40"); can {
			any = append(any, and([]string{fmt.Sprintf("ip6[6] = %d", proto), first}))
		}
		if parts, can := f.fragments(proto, "ip6[42:2] & 0xfff8", "ip6", "48"); can {
			behind = append(behind, fmt.Sprintf("ip6[40] = %d", proto))
			any = append(any, and([]string{fmt.Sprintf("ip6[6] = %d", extFragment), behind[len(behind)-1], parts}))
		}
	}
	if len(behind) == 0 {
		return ""
	}
	further := anyOf("ip6[40]", append([]byte{extFragment}, options...)...)
	behind = append(behind, further)
	return or(append(any, and([]string{fmt.Sprintf("ip6[6] = %d", extFragment), further}),
		and([]string{anyOf("ip6[6]", options...), or(behind)})))
}

// rest says what else is taken: the frames that are in no tunnel, whatever they are, but for GRE and UDP.
func (f *Filter) rest() string {
	if !f.plain {
		return ""
	}
	tunnels := []string{fmt.Sprintf("ip[9] = %d", protoGRE), fmt.Sprintf("ip[9] = %d", protoUDP), fmt.Sprintf("ip6[6] = %d", protoGRE),
		fmt.Sprintf("ip6[6] = %d", protoUDP), and([]string{fmt.Sprintf("ip6[6] = %d", extFragment), anyOf("ip6[40]", protoGRE, protoUDP)})}
	return "not " + bracket(or(tunnels))
}

// fragments says whether any packets of an IP protocol are taken, and by which test of their place in the datagram and of
// what the first fragment has behind the IP header; "" where they all are.
func (f *Filter) fragments(proto byte, place, ip, at string) (test string, can bool) {
	first, can := f.first(proto, ip, at)
	later := f.later(proto)
	switch {
	case can && later && first == "":
		return "", true
	case can && later:
		return or([]string{place + " != 0", first}), true
	case can:
		return and([]string{place + " = 0", first}), true
	}
	return place + " != 0", later
}

// first says whether any packets of an IP protocol are taken, of those that are whole or a first fragment, and by which
// test of what is behind the IP header, at an offset; "" where they all are.
func (f *Filter) first(proto byte, ip, at string) (test string, can bool) {
	if proto == protoGRE {
		if f.erspan && !f.gre {
			test = anyOf(fmt.Sprintf("%s[%s + 2:2]", ip, at), erspanII, erspanIII)
		}
		return test, f.gre || f.erspan
	}
	to := fmt.Sprintf("%s[%s + 2:2]", ip, at)
	var tunnels, wanted []string
	for _, t := range f.tunnels {
		is := fmt.Sprintf("%s = %d", to, t.number)
		tunnels = append(tunnels, is)
		switch {
		case t.wanted && len(f.vnis) > 0:
			vni := fmt.Sprintf("%s[%s + 12:4] >> 8", ip, at)
			wanted = append(wanted, and([]string{is, anyOf(vni, f.vnis...)}))
		case t.wanted:
			wanted = append(wanted, is)
		}
	}
	if f.plain {
		wanted = append(wanted, "not "+bracket(or(tunnels)))
	}
	return or(wanted), len(wanted) > 0
}

func anyOf[T byte | uint16 | uint32 | int](what string, values ...T) string {
	return or(each(values, func(v T) string { return fmt.Sprintf("%s = %d", what, v) }))
}

func each[T any](list []T, text func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return out
}

// or joins alternatives; those left out ("") count for nothing.
func or(terms []string) string { return join(terms, " or ") }

// and joins conditions; those left out ("") count for nothing.
func and(terms []string) string { return join(terms, " and ") }

func join(terms []string, with string) string {
	var out []string
	for _, t := range terms {
		if t != "" {
			out = append(out, t)
		}
	}
	if len(out) == 1 {
		return out[0]
	}
	for i, t := range out {
		out[i] = bracket(t)
	}
	return strings.Join(out, with)
}

// bracket puts a term that joins others in brackets.
func bracket(t string) string {
	if strings.Contains(t, " or ") || strings.Contains(t, " and ") || strings.HasPrefix(t, "not ") {
		return "(" + t + ")"
	}
	return t
}
