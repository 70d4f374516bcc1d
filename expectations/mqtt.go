package expectations

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// mqttTypes are the control packets of MQTT 3.1.1 and 5 (OASIS MQTT 5.0, 2.1.2), in order of their numbers.
var mqttTypes = []string{"connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback",
	"unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth"}

// mqtt is a claim on the MQTT messages.
//
// Order and present are at-least claims: what was seen was sent. Absent is an at-most claim. Publish counts the
// publishes that fit: at most, at least or exactly.
type mqtt struct {
	order, present, absent []string
	publish                *publish
}

// publish describes publishes to count.
type publish struct {
	text, topic, direction string
	qos                    *int
	retain                 *bool
	count                  *bound
}

func mqttKind() kind {
	word := scenario.Choice("MQTT message", mqttTypes...)
	object := &scenario.Object[mqtt]{
		Name: "an MQTT claim", Doc: "What MQTT messages there are.",
		Keys: []scenario.Key[mqtt]{
			scenario.Field("order", "These messages in this order on one connection; others may stand between them (at least).", scenario.ListOf(1, word), func(m *mqtt) *[]string { return &m.order }),
			scenario.Field("present", "Each of these at least once.", scenario.OneOrMany(word), func(m *mqtt) *[]string { return &m.present }),
			scenario.Field("absent", "None of these (at most).", scenario.OneOrMany(word), func(m *mqtt) *[]string { return &m.absent }),
			scenario.Each("publish", "How many publishes of a kind there are; at least one where no count is given.", publishForm(), func(m *mqtt, e scenario.Entry, p publish) {
				p.text = e.Value.Text()
				m.publish = &p
			}),
		},
		Check: atLeastOneKey[mqtt]("an MQTT claim"),
	}
	return kindOf("mqtt", "Which MQTT messages there are, and in what order (at least; absent at most; publish as its count says).", object.Form(), keyWindow, keyFlow)
}

func publishForm() scenario.Form[publish] {
	object := &scenario.Object[publish]{
		Name: "publishes to count", Doc: "Which publishes, and how many.",
		Keys: []scenario.Key[publish]{
			scenario.Field("topic", "The topic; +, # as in a subscription.", scenario.Text("a topic"), func(p *publish) *string { return &p.topic }),
			scenario.Each("qos", "The quality of service.", scenario.Count(0, 2), func(p *publish, _ scenario.Entry, n int) { p.qos = &n }),
			scenario.Each("retain", "Whether the broker is to keep it.", scenario.Choice("truth value", "true", "false"), func(p *publish, _ scenario.Entry, w string) {
				yes := w == "true"
				p.retain = &yes
			}),
			scenario.Field("direction", "up from the device (the default), down to it.", scenario.Choice("direction", "up", "down"), func(p *publish) *string { return &p.direction }),
			scenario.Each("count", "How many.", boundForm(pieces), func(p *publish, _ scenario.Entry, b bound) { p.count = &b }),
		},
	}
	return object.Form()
}

func (c mqtt) wantsNothing() bool {
	return c.order == nil && c.present == nil && (c.publish == nil || c.publish.count != nil && c.publish.count.high == 0)
}

// message is an MQTT message with its place in its connection.
type message struct {
	*flow.Message
	flow   *flow.Flow
	packet *flow.Packet // that completed it; nil where not kept
}

// messagesOf gives the messages of a flow in view.
func messagesOf(v *view, p part) []message {
	if len(p.Messages) == 0 {
		return nil
	}
	// Where several taps were merged, packets do not lie in the file as they passed.
	packets := make(map[uint64]*flow.Packet, len(p.Packets))
	for i := range p.Packets {
		packets[p.Packets[i].Number] = &p.Packets[i]
	}
	var out []message
	for i := range p.Messages {
		if m := &p.Messages[i]; m.Time >= v.from && m.Time < v.to {
			out = append(out, message{Message: m, flow: p.Flow, packet: packets[m.Number]})
		}
	}
	return out
}

func (m message) witness(note string) verdict.Witness {
	return verdict.Witness{Number: m.Number, Time: m.Time, Flow: m.flow.ID, Note: note}
}

func (c mqtt) check(v *view) outcome {
	v = v.deep()
	var all []message
	var flows [][]message
	for _, p := range v.parts {
		if ms := messagesOf(v, p); len(ms) > 0 {
			flows = append(flows, ms)
			all = append(all, ms...)
		}
	}
	var outs []outcome
	if c.order != nil {
		outs = append(outs, inOrder(v, flows, c.order))
	}
	for _, kind := range c.present {
		outs = append(outs, counted(v, all, bound{low: 1, high: unlimited}, kind, func(m message) bool { return m.Type == kind }))
	}
	for _, kind := range c.absent {
		outs = append(outs, counted(v, all, bound{}, kind, func(m message) bool { return m.Type == kind }))
	}
	if c.publish != nil {
		b := bound{low: 1, high: unlimited}
		if c.publish.count != nil {
			b = *c.publish.count
		}
		outs = append(outs, counted(v, all, b, "publish", c.publish.fits))
	}
	o := merge(outs...)
	o.got = listTypes(all)
	return o
}

func listTypes(all []message) string {
	if len(all) == 0 {
		return "no MQTT message"
	}
	words := make([]string, len(all))
	for i, m := range all {
		words[i] = m.Type
	}
	return atMost(words, ", ")
}

// fits says whether a message is one of the publishes to count.
func (p *publish) fits(m message) bool {
	want := flow.Up
	if p.direction == "down" {
		want = flow.Down
	}
	return m.Type == "publish" && m.Dir == want && (p.topic == "" || topicFits(p.topic, m.Topic)) &&
		(p.qos == nil || *p.qos == m.QoS) && (p.retain == nil || *p.retain == m.Retain)
}

// topicFits matches a topic with a filter (OASIS MQTT 5.0, 4.7): + is one level, # the rest.
func topicFits(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}

// counted judges how many messages fit.
func counted(v *view, all []message, b bound, what string, fits func(message) bool) outcome {
	m := measure{most: unlimited}
	var past []verdict.Witness
	for _, one := range all {
		if !fits(one) {
			continue
		}
		m.got++
		if v.sure() && v.oriented(one.flow) {
			m.least++
		}
		if m.got > b.high {
			past = append(past, one.witness(one.Type+" "+one.Dir.String()))
		}
	}
	o := v.proof.judge(pieces, m, b, plural(m.got, what+" message"))
	if o.verdict != verdict.Pass {
		o.witnesses = past
	}
	return o
}

// inOrder judges whether one connection shows the messages in the order wanted.
func inOrder(v *view, flows [][]message, order []string) outcome {
	best, bestFlow := 0, -1
	for i, ms := range flows {
		if n := longest(ms, order); n > best {
			best, bestFlow = n, i
		}
	}
	if best == len(order) {
		if !v.sure() {
			return outcome{doubt: v.proof.doubt, reason: "the order was seen"}
		}
		return outcome{verdict: verdict.Pass, reason: strings.Join(order, ", ") + " in order"}
	}
	o := outcome{verdict: v.proof.unmet(), doubt: v.proof.doubt}
	switch {
	case bestFlow < 0:
		o.reason = fmt.Sprintf("no %s%s", order[0], v.where())
	default:
		o.reason = fmt.Sprintf("no %s after %s: seen were %s", order[best], order[best-1], listTypes(flows[bestFlow]))
		for _, m := range flows[bestFlow] {
			o.witnesses = append(o.witnesses, m.witness(m.Type+" "+m.Dir.String()))
		}
	}
	if !anyPacket(v.t) {
		o.verdict = verdict.Inconclusive
	}
	return o
}

// longest gives how many of the messages wanted, from the first on, a connection shows in order. The mirror can swap
// packets of both directions: a message counts as later unless TCP itself proves it earlier.
func longest(ms []message, order []string) int {
	// ends[i] says that message i can be the last of a run of n messages.
	ends := make([]bool, len(ms))
	for n, want := range order {
		next := make([]bool, len(ms))
		found := false
		for i, m := range ms {
			if m.Type != want {
				continue
			}
			fits := n == 0
			for j := range ms {
				fits = fits || ends[j] && j != i && mayFollow(ms[j], m)
			}
			next[i] = fits
			found = found || fits
		}
		if !found {
			return n
		}
		ends = next
	}
	return len(order)
}

// mayFollow says whether b may have been sent after a: in one direction by their sequence, across directions unless a
// shows that its sender had received b already.
func mayFollow(a, b message) bool {
	if a.packet == nil || b.packet == nil {
		return a.Time <= b.Time
	}
	if a.Dir == b.Dir {
		return int32(b.packet.Seq-a.packet.Seq) > 0 || b.packet.Seq == a.packet.Seq
	}
	if a.packet.Flags&packet.ACK == 0 {
		return a.Time <= b.Time
	}
	return int32(a.packet.Ack-(b.packet.Seq+b.packet.Payload)) < 0
}
