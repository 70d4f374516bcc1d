package expectations

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// scope is the part of the record that a claim is about: what stands beside it.
type scope struct {
	window   windowRef
	flow     *selector
	phase    *flow.Phase
	account  string
	captured bool
}

// windowRef names a window, or one cycle of a window that repeats: get, cycle[3].
type windowRef struct {
	text, name string
	index      int  // 0 for all cycles
	shared     bool // named for the whole file, not for this claim
}

var windowShape = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.-]*)(?:\[([1-9][0-9]{0,8})\])?$`)

func parseWindow(text string) (windowRef, bool) {
	m := windowShape.FindStringSubmatch(text)
	if m == nil {
		return windowRef{}, false
	}
	index, _ := strconv.Atoi(m[2]) // nothing or at most nine digits
	return windowRef{text: text, name: m[1], index: index}, true
}

// label says what the scope is, for Finding.Scope: "phase dns, window get".
func (s *scope) label(t *trace.Trace) string {
	var parts []string
	if s.phase != nil {
		parts = append(parts, "phase "+s.phase.String())
	}
	if s.flow != nil {
		parts = append(parts, "flow "+s.flow.text)
	}
	if s.window.name != "" && !s.standsFor(t) {
		parts = append(parts, "window "+s.window.text)
	}
	if s.account != "" {
		parts = append(parts, "account "+s.account)
	}
	return strings.Join(parts, ", ")
}

// part is a flow with those of its packets that are in scope.
type part struct {
	*flow.Flow
	packets []flow.Packet
}

// view is the record as a claim sees it.
type view struct {
	t        *trace.Trace
	scope    *scope
	label    string // of the window's cycle: "cycle[3]"; "" where the scope has one window or none
	from, to int64  // nanoseconds since the Unix epoch, [from, to)
	parts    []part
	limits   trace.Scope
	proof    proof // for what a packet shows by itself
	derived  proof // for what is derived from more than what is in view
	strict   bool
	account  trace.Account
}

// whole run, in nanoseconds
const (
	always = math.MinInt64
	never  = math.MaxInt64
)

// views gives what the scope shows of the record: one view, or one for each cycle of a window that repeats.
// Where there is nothing to see the cause says why.
func (s *scope) views(t *trace.Trace, o Options) (views []*view, cause string) {
	if t.Capture == nil {
		return nil, "the record holds no capture"
	}
	for _, f := range t.Capture.Flows {
		if len(f.Packets) == 0 && f.Sides[flow.Up].Tally.Packets+f.Sides[flow.Down].Tally.Packets > 0 {
			return nil, "the packets of the flows were not kept when the capture was read"
		}
	}
	account := t.Account
	if s.account != "" {
		account, _ = trace.ParseAccount(s.account) // checked when the file was read
	}
	if s.window.name == "" || s.standsFor(t) {
		return []*view{s.see(t, o, account, "", always, never)}, ""
	}
	var names []string
	for _, w := range t.Windows {
		if !slices.Contains(names, w.Name) {
			names = append(names, w.Name)
		}
		if w.Name == s.window.name && (s.window.index == 0 || s.window.index == w.Index) {
			label := w.Name
			if w.Index > 0 {
				label = fmt.Sprintf("%s[%d]", w.Name, w.Index)
			}
			views = append(views, s.see(t, o, account, label, w.From.UnixNano(), w.To.UnixNano()))
		}
	}
	switch {
	case len(views) > 0:
		return views, ""
	case len(names) == 0:
		return nil, fmt.Sprintf("the record has no window %s, nor any other", s.window.text)
	}
	return nil, fmt.Sprintf("the record has no window %s, only %s", s.window.text, strings.Join(names, ", "))
}

// standsFor says whether the whole record is taken for the window: a capture that belongs to no run has no windows, and
// who judges it by a file about one window means that it shows just that.
func (s *scope) standsFor(t *trace.Trace) bool {
	return s.window.shared && t.Begin.IsZero() && len(t.Windows) == 0 && len(t.Timeline) == 0
}

// see takes a stretch of the record.
func (s *scope) see(t *trace.Trace, o Options, account trace.Account, label string, from, to int64) *view {
	v := &view{t: t, scope: s, label: label, from: from, to: to, account: account, strict: o.Strict}
	var ids []int
	for _, f := range t.Capture.Flows {
		if nobodys(f) || s.flow != nil && !s.flow.takes(f) {
			continue
		}
		if ps := during(f.Packets, from, to); len(ps) > 0 {
			v.parts = append(v.parts, part{f, ps})
			ids = append(ids, f.ID)
		}
	}
	limits := trace.Scope{}
	if from != always || to != never {
		limits.From, limits.To = time.Unix(0, from).UTC(), time.Unix(0, to).UTC()
	}
	if s.flow != nil && len(ids) > 0 {
		limits.Flows = ids
	}
	v.limits = limits
	v.prove()
	return v
}

// prove judges what is in view.
func (v *view) prove() {
	v.proof, v.derived = prove(v.t, v.limits, v.strict)
	if v.byName() {
		v.proof = v.derived // the name may come from anywhere in the record
	}
}

// byName says whether what is in view was chosen by what a peer is called.
func (v *view) byName() bool { return v.scope.flow != nil && v.scope.flow.byName() }

// shell is the view of a claim about packets as their headers show them, and not about what they carry: with a snap length
// the headers are all that a capture holds, and all that such a claim needs. It is no other view where the claim's scope is
// told by what packets carry, names and most phases.
func (v *view) shell() *view {
	if v.byName() || v.scope.phase != nil && !headersTell(*v.scope.phase) {
		return v
	}
	shell := *v
	shell.limits.Headers = true
	shell.prove()
	return &shell
}

// headersTell says whether ports, flags and sequence numbers tell a phase, whatever the packets of its flow carry.
func headersTell(p flow.Phase) bool {
	switch p {
	case flow.TCPHandshake, flow.TeardownPhase, flow.Keepalive:
		return true
	}
	return shows(p)
}

// deep is the view of a claim that is derived from more than the packets in view.
func (v *view) deep() *view {
	deep := *v
	deep.proof = v.derived
	return &deep
}

// nobodys says whether a flow is of no device: frames of which no address could be read, and frames cut off before the
// device's own packet begins, which show no more than the ends of the mirror's tunnel.
func nobodys(f *flow.Flow) bool {
	if f.Kind == packet.Other && f.Device.Addr().IsUnspecified() && f.Peer.Addr().IsUnspecified() {
		return true
	}
	tunnel := f.Kind == packet.Other && slices.Contains(tunnelProtos, f.Proto) ||
		f.Kind == packet.UDP && (slices.Contains(tunnelPorts, f.Peer.Port()) || slices.Contains(tunnelPorts, f.Device.Port()))
	return tunnel && stumps(f)
}

// What carries a mirror: IP in IP, IPv6 in IP, GRE and EtherIP by IP protocol; VXLAN, GENEVE and GTP-U by UDP port.
var (
	tunnelProtos = []uint8{4, 41, 47, 97}
	tunnelPorts  = []uint16{4789, 6081, 2152}
)

// stumps says whether the capture holds no packet of the flow in full.
func stumps(f *flow.Flow) bool {
	return len(f.Packets) > 0 && !slices.ContainsFunc(f.Packets, func(p flow.Packet) bool { return p.Mark&flow.Cut == 0 })
}

// stump says whether a packet was cut off before its ports: it may be the mirror's copy of one that is counted already, or
// no packet of the device at all.
func stump(f *flow.Flow, p *flow.Packet) bool { return f.Kind == packet.Other && p.Mark&flow.Cut != 0 }

// during gives the packets of a stretch, without copying where all of them are in it.
func during(ps []flow.Packet, from, to int64) []flow.Packet {
	outside := func(p flow.Packet) bool { return p.Time < from || p.Time >= to }
	if !slices.ContainsFunc(ps, outside) {
		return ps
	}
	return slices.DeleteFunc(slices.Clone(ps), outside)
}

// where ends a sentence about something that was not found: " in window get to beam.soracom.io".
func (v *view) where() string {
	var b strings.Builder
	if v.scope.phase != nil {
		fmt.Fprintf(&b, " of phase %s", v.scope.phase)
	}
	if v.scope.flow != nil {
		fmt.Fprintf(&b, " with %s", v.scope.flow.text)
	}
	switch {
	case v.label != "":
		fmt.Fprintf(&b, " in window %s", v.label)
	case v.scope.window.name != "":
		fmt.Fprintf(&b, " in window %s", v.scope.window.text)
	}
	return b.String()
}

// sure says whether the flows in view are there by what their packets themselves show. A name comes from other packets,
// a DNS answer above all: where those may be missing, flows are taken in or left out wrongly.
func (v *view) sure() bool {
	return !v.proof.wary() || !v.byName()
}

// oriented says whether it is certain which side of the flow is the device. Where devices had to be inferred it is the
// opener, and a record with holes may lack the opening.
func (v *view) oriented(f *flow.Flow) bool {
	if !f.Inferred || !v.proof.wary() {
		return true
	}
	if f.Kind == packet.UDP && f.Peer.Port() == 53 {
		return true
	}
	for i := range f.Packets {
		p := &f.Packets[i]
		if p.Flags&packet.SYN != 0 && (p.Flags&packet.ACK == 0) == (p.Dir == flow.Up) {
			return true
		}
	}
	return false
}

// selector picks flows.
type selector struct {
	text   string
	peer   *target
	proto  string
	port   int
	device *target
}

// protos are the names of the kinds of flows.
var protos = map[packet.Kind]string{packet.TCP: "tcp", packet.UDP: "udp", packet.ICMP: "icmp", packet.ICMPv6: "icmpv6",
	packet.ARP: "arp", packet.Other: "other"}

func (s *selector) takes(f *flow.Flow) bool {
	return (s.proto == "" || protos[f.Kind] == s.proto) &&
		(s.port == 0 || int(f.Peer.Port()) == s.port) &&
		(s.device == nil || s.device.holds(f.Device.Addr(), 0, nil)) &&
		(s.peer == nil || s.peer.flow(f))
}

func (s *selector) byName() bool { return s.peer != nil && s.peer.name != "" }

// selectorForm is the form of a flow selector: a place, or a mapping.
func selectorForm() scenario.Form[*selector] {
	object := &scenario.Object[selector]{
		Name: "a flow selector", Doc: "Which flows the claim is about: all that it says must fit.",
		Keys: []scenario.Key[selector]{
			scenario.Field("peer", "Who the device talked to: a name, an address, a network, with or without a port.", targetForm(),
				func(s *selector) **target { return &s.peer }),
			scenario.Field("proto", "The protocol.", scenario.Choice("protocol", "tcp", "udp", "icmp", "icmpv6", "arp", "other"),
				func(s *selector) *string { return &s.proto }),
			scenario.Field("port", "The peer's port.", scenario.Count(1, 65535), func(s *selector) *int { return &s.port }),
			scenario.Field("device", "The device's address or network, where a record has several.", deviceForm(),
				func(s *selector) **target { return &s.device }),
		},
	}
	return either(
		scenario.Form[*selector]{
			Schema: targetForm().Schema,
			Read: func(errs *scenario.Errors, name string, v scenario.Value) *selector {
				return &selector{text: v.Text(), peer: targetForm().Read(errs, name, v)}
			},
		},
		scenario.Form[*selector]{
			Schema: object.Schema,
			Read: func(errs *scenario.Errors, name string, v scenario.Value) *selector {
				s := object.Read(errs, name, v)
				s.text = strings.Trim(v.Text(), "{}")
				return &s
			},
		})
}
