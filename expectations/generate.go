package expectations

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Bounds on what FromTrace writes: a longer list is no longer read by anybody.
const (
	mostPlaces   = 24
	mostNames    = 24
	mostMessages = 16
	mostTopics   = 3
)

// FromTrace writes an expectations file from a record known to be good: what it cost as limits, how its connections
// ended, whom it talked to. What a later good run may well do otherwise is left out. The file passes on the record
// itself, or is inconclusive where the record has holes; it never fails.
func FromTrace(t *trace.Trace) ([]byte, error) {
	scope := scope{window: onlyWindow(t)}
	views, cause := scope.views(t, Options{})
	if cause == "" && (t.Capture == nil || !anyPacket(t)) {
		cause = "the record holds no packet of a device"
	}
	if cause != "" {
		return nil, fmt.Errorf("no expectations can be written: %s", cause)
	}
	d := &draft{views: views}
	d.line("# yaml-language-server: $schema=../expectation.schema.json")
	d.line("about: %s", quoted(aboutOf(t)))
	if name := views[0].account.Name; name != "" && name != trace.Wire.Name {
		d.line("account: %s", name)
	}
	if scope.window.name != "" {
		d.line("window: %s", scope.window.name)
	}
	d.line("expect:")
	d.volumes()
	d.closes()
	d.lookups()
	d.places()
	d.sessions()
	d.messages()
	return []byte(d.text.String()), nil
}

func aboutOf(t *trace.Trace) string {
	switch {
	case t.About != "":
		return t.About
	case len(t.Timeline) == 0 && len(t.Windows) == 0: // of no run, whatever it is called
		return "What a good capture shows: " + filepath.Base(t.Capture.File)
	}
	return "What a good run of " + t.Scenario + " did."
}

// onlyWindow gives the window of a run that has one, repeated or not.
func onlyWindow(t *trace.Trace) windowRef {
	var names []string
	for _, w := range t.Windows {
		if !slices.Contains(names, w.Name) {
			names = append(names, w.Name)
		}
	}
	if len(names) != 1 {
		return windowRef{}
	}
	w, _ := parseWindow(names[0])
	return w
}

// draft is a file being written.
type draft struct {
	views []*view
	text  strings.Builder
}

func (d *draft) line(format string, args ...any) { fmt.Fprintf(&d.text, format+"\n", args...) }

func (d *draft) claim(format string, args ...any) { d.line("  - "+format, args...) }

// most gives the highest value over all views.
func (d *draft) most(value func(*view) int64) int64 {
	var n int64
	for _, v := range d.views {
		n = max(n, value(v))
	}
	return n
}

// sum counts something over the packets of one direction.
func sum(dir flow.Direction, value func(*view, *flow.Packet) int64) func(*view) int64 {
	return func(v *view) (n int64) {
		for _, part := range v.parts {
			for i := range part.packets {
				if p := &part.packets[i]; p.Dir == dir {
					n += value(v, p)
				}
			}
		}
		return n
	}
}

func upTo(n int64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("<= %d", n)
}

func (d *draft) volumes() {
	d.claim("packets: {up: %s, down: %s}", upTo(d.most(sum(flow.Up, (*view).packetsOf))), upTo(d.most(sum(flow.Down, (*view).packetsOf))))
	d.claim("bytes: {up: %s, down: %s}", upTo(d.most(sum(flow.Up, (*view).bytesOf))), upTo(d.most(sum(flow.Down, (*view).bytesOf))))
}

// closes says how TCP ended, with its resets and retransmissions; nothing where there was no TCP.
func (d *draft) closes() {
	var ways []string
	for _, v := range d.views {
		tcp := false
		for _, part := range v.parts {
			if part.Kind == packet.TCP && !resumed(v.t.Capture.Flows, part.Flow) {
				ways, tcp = appendNew(ways, part.Close.String()), true
			}
		}
		if !tcp {
			return // not in every cycle: nothing to demand
		}
	}
	d.claim("teardown: %s", list(ways))
	d.directed("resets", func(_ *view, p *flow.Packet) int64 { return flag(p.Flags&packet.RST != 0) })
	d.directed("retransmissions", func(_ *view, p *flow.Packet) int64 { return flag(p.Mark&flow.Retransmission != 0) })
}

func flag(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// directed writes a limit for each direction, or none for both.
func (d *draft) directed(kind string, value func(*view, *flow.Packet) int64) {
	up, down := d.most(sum(flow.Up, value)), d.most(sum(flow.Down, value))
	if up == 0 && down == 0 {
		d.claim("%s: none", kind)
		return
	}
	d.claim("%s: {up: %s, down: %s}", kind, upTo(up), upTo(down))
}

// lookups says what was asked of the resolver. Which of the names are asked again in a later run hangs on what the device
// still remembers, so none of them is demanded.
func (d *draft) lookups() {
	var names []string
	unanswered := false
	for _, v := range d.views {
		for _, part := range v.parts {
			for _, q := range part.Queries {
				if q.Time < v.from || q.Time >= v.to {
					continue
				}
				names = appendNew(names, canonical(q.Name))
				unanswered = unanswered || !q.Answered
			}
		}
	}
	if len(names) == 0 {
		return
	}
	var parts []string
	if len(names) <= mostNames && !slices.ContainsFunc(names, func(n string) bool { return !speakable(n) }) {
		parts = append(parts, "only: "+list(names))
	}
	if !unanswered {
		parts = append(parts, "unanswered: none")
	}
	if len(parts) > 0 {
		d.claim("dns: {%s}", strings.Join(parts, ", "))
	}
}

// speakable says whether a name can stand in a file as a host name.
func speakable(name string) bool {
	return name != "" && name[0] != '.' && name != "dns" && hostName.MatchString(name) && strings.Trim(name, "0123456789.") != ""
}

// places says whom the device talked to, by name where one is known.
func (d *draft) places() {
	var places []string
	for _, v := range d.views {
		for _, part := range v.parts {
			if talk(part) != nil {
				places = appendNew(places, placeOf(part.Flow))
			}
		}
	}
	if n := len(places); n == 0 || n > mostPlaces {
		return
	}
	d.claim("destinations: %s", list(places))
}

// placeOf writes a flow's peer as a place that holds it.
func placeOf(f *flow.Flow) string {
	if lookup(f) {
		return "dns"
	}
	host := f.Peer.Addr().String()
	if f.Peer.Addr().Is6() {
		host = "[" + f.Peer.Addr().WithZone("").String() + "]"
	}
	if speakable(canonical(f.Name)) {
		host = canonical(f.Name)
	}
	if f.Peer.Port() == 0 {
		return strings.Trim(host, "[]")
	}
	return fmt.Sprintf("%s:%d", host, f.Peer.Port())
}

// sessions says what TLS was like.
func (d *draft) sessions() {
	lowest, unknown := int64(unlimited), false
	for _, v := range d.views {
		found := false
		for _, part := range v.parts {
			if part.TLS != nil {
				found = true
				version := int64(part.TLS.Version)
				unknown = unknown || version < 0x0301 || version > 0x0304
				lowest = min(lowest, version)
			}
		}
		if !found {
			return // not in every cycle: nothing to demand
		}
	}
	most := d.most(func(v *view) int64 {
		var n int64
		for _, part := range v.parts {
			if part.TLS != nil {
				n = max(n, handshakeBytes(v, part))
			}
		}
		return n
	})
	if unknown {
		d.claim("tls: {handshake: %s}", upTo(most))
		return
	}
	d.claim("tls: {version: \">= %s\", handshake: %s}", strings.TrimPrefix(versionName(lowest), "TLS "), upTo(most))
}

// messages says what MQTT messages there were: in order where the record is one short conversation.
func (d *draft) messages() {
	if len(d.views) != 1 {
		return
	}
	v := d.views[0]
	var all []message
	flows := 0
	for _, part := range v.parts {
		if ms := messagesOf(v, part); len(ms) > 0 {
			flows, all = flows+1, append(all, ms...)
		}
	}
	if len(all) == 0 {
		return
	}
	var order, types []string
	for _, m := range all {
		if !slices.Contains(mqttTypes, m.Type) {
			return
		}
		order, types = append(order, m.Type), appendNew(types, m.Type)
	}
	if flows == 1 && len(order) <= mostMessages && longest(all, order) == len(order) {
		d.claim("mqtt: {order: %s}", list(order))
	} else {
		d.claim("mqtt: {present: %s}", list(types))
	}
	d.topics(all)
}

// topics counts the publishes of each topic and quality of service, where there are few.
func (d *draft) topics(all []message) {
	type key struct {
		topic string
		qos   int
	}
	var keys []key
	counts := map[key]int{}
	for _, m := range all {
		if m.Type != "publish" || m.Dir != flow.Up {
			continue
		}
		k := key{m.Topic, m.QoS}
		if counts[k]++; counts[k] == 1 {
			keys = append(keys, k)
		}
	}
	if len(keys) > mostTopics || slices.ContainsFunc(keys, func(k key) bool { return !literal(k.topic) || k.qos > 2 }) {
		return
	}
	for _, k := range keys {
		d.claim("mqtt: {publish: {topic: %s, qos: %d, count: %d}}", quoted(k.topic), k.qos, counts[k])
	}
}

// literal says whether a topic means itself when written as a filter in a file.
func literal(topic string) bool {
	return topic != "" && !strings.ContainsAny(topic, "+#$") && strings.IndexFunc(topic, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0
}

var plainWord = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

// quoted writes a text as YAML, in quotes where it needs them. All of Go's escapes are YAML's too (1.2, 5.7), and leave
// nothing in a file that does not show itself.
func quoted(text string) string {
	if plainWord.MatchString(text) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(text)) {
		return text
	}
	return strconv.Quote(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "${", "$ {")) // no variable is meant
}

func list(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quoted(w)
	}
	if len(out) == 1 {
		return out[0]
	}
	return "[" + strings.Join(out, ", ") + "]"
}
