package expectations

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// target is a place that a device may talk to: the word dns, or a name, an address, a network or any (one of them),
// with or without a port.
type target struct {
	text string
	dns  bool
	name string // lower case, without the last dot; one that begins with a dot stands for all names below it
	addr netip.Prefix
	port int // 0 for any
}

const dnsPort = 53

// holds says whether an address and port, known by some names, is the place.
func (t *target) holds(addr netip.Addr, port uint16, names []string) bool {
	if t.port != 0 && int(port) != t.port {
		return false
	}
	switch {
	case t.addr.IsValid():
		return t.addr.Contains(addr.Unmap())
	case t.name == "":
		return true // a port alone
	}
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if n == t.name || t.name[0] == '.' && strings.HasSuffix(n, t.name) {
			return true
		}
	}
	return false
}

// flow says whether the flow's peer is the place.
func (t *target) flow(f *flow.Flow) bool {
	if t.dns {
		return lookup(f)
	}
	return t.holds(f.Peer.Addr(), f.Peer.Port(), namesOf(f))
}

// lookup says whether a flow is the device's talk with its resolver (RFC 1035, 4.2).
func lookup(f *flow.Flow) bool {
	return (f.Kind == packet.UDP || f.Kind == packet.TCP) && f.Peer.Port() == dnsPort
}

// namesOf gives every name by which a flow's peer is known: of the DNS answers, of SNI, of HTTP's Host.
func namesOf(f *flow.Flow) []string {
	names := ownNames(f)
	if f.Name != "" {
		names = append(names, f.Name)
	}
	return names
}

// ownNames gives the names that stand in the flow's own packets.
func ownNames(f *flow.Flow) []string {
	var names []string
	if f.TLS != nil && f.TLS.ServerName != "" {
		names = append(names, f.TLS.ServerName)
	}
	for _, x := range f.Exchanges {
		host := x.Host
		if h, port, ok := strings.Cut(host, ":"); ok && !strings.Contains(port, ":") {
			host = h
		}
		if host != "" {
			names = append(names, host)
		}
	}
	return names
}

var hostName = regexp.MustCompile(`^\.?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// parseTarget reads a place: dns, beam.soracom.io, beam.soracom.io:8888, .soracom.io (and *.soracom.io), 100.127.69.42,
// 100.127.0.0/16:53, [2001:db8::1]:443, 2001:db8::/32, :123.
func parseTarget(text string) (*target, error) {
	t := &target{text: text}
	if text == "dns" {
		t.dns = true
		return t, nil
	}
	host := text
	if !bareIPv6(text) {
		before, port, ok := cutLast(text, ":")
		if ok {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("%q has no port from 1 to 65535 after its colon", text)
			}
			t.port, host = int(n), strings.TrimSuffix(strings.TrimPrefix(before, "["), "]")
			if host == "" {
				return t, nil
			}
		}
	}
	if p, err := netip.ParsePrefix(host); err == nil {
		t.addr = p.Masked()
		return t, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		t.addr = netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen())
		return t, nil
	}
	host = strings.TrimPrefix(host, "*")
	if !hostName.MatchString(host) || strings.Trim(host, "0123456789.") == "" {
		return nil, fmt.Errorf("%q is no place: write a name, an address, a network (10.0.0.0/8), each with :port if wanted, a port alone (:123), or dns", text)
	}
	t.name = strings.ToLower(strings.TrimSuffix(host, "."))
	return t, nil
}

// bareIPv6 says whether the text is an IPv6 address or network without a port.
func bareIPv6(text string) bool {
	host, _, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || !a.Is6() {
		return false
	}
	_, rest, _ := strings.Cut(text, "/")
	return !strings.Contains(rest, ":")
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// targetForm is the form of a place.
func targetForm() scenario.Form[*target] {
	return scenario.Form[*target]{
		Schema: func(map[string]any) map[string]any { return scenario.Filled() },
		Read: func(errs *scenario.Errors, name string, v scenario.Value) *target {
			if v.Scalar == nil {
				errs.Addf(v.Pos, "%s: want a place such as beam.soracom.io:8888, got %s", name, v.Kind())
				return &target{}
			}
			t, err := parseTarget(*v.Scalar)
			if err != nil {
				errs.Addf(v.Pos, "%s: %s", name, err)
				return &target{}
			}
			return t
		},
	}
}

// deviceForm is the form of a device's address or network.
func deviceForm() scenario.Form[*target] {
	form := targetForm()
	read := form.Read
	form.Read = func(errs *scenario.Errors, name string, v scenario.Value) *target {
		t := read(errs, name, v)
		if v.Scalar != nil && t.text != "" && (!t.addr.IsValid() || t.port != 0) {
			errs.Addf(v.Pos, "%s: %q is no address or network", name, t.text)
		}
		return t
	}
	return form
}
