package flow

import "encoding/binary"

// MQTT control packets (MQTT 3.1.1 and 5.0, section 2). A segment's phase is that of the control packet that its
// first byte belongs to.
const (
	mqttConnect     = 1
	mqttConnack     = 2
	mqttPublish     = 3
	mqttPuback      = 4
	mqttPubrec      = 5
	mqttPubrel      = 6
	mqttPubcomp     = 7
	mqttSubscribe   = 8
	mqttSuback      = 9
	mqttUnsubscribe = 10
	mqttUnsuback    = 11
	mqttPingreq     = 12
	mqttPingresp    = 13
	mqttDisconnect  = 14
	mqttAuth        = 15

	maxMQTTPrefix = 1024 // bytes of a control packet's body that are kept until it is complete
)

var mqttNames = [16]string{"", "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback",
	"unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth"}

var mqttPhases = [16]Phase{Other, MQTTConnect, MQTTConnect, MQTTPublish, MQTTPublish, MQTTPublish, MQTTPublish, MQTTPublish,
	MQTTSubscribe, MQTTSubscribe, MQTTSubscribe, MQTTSubscribe, MQTTPing, MQTTPing, MQTTDisconnect, MQTTConnect}

type mqttStream struct {
	dirs    [2]mqttDir
	version int // of CONNECT, 0 while unknown
}

type mqttDir struct {
	first   uint8 // type and flags
	phase   Phase
	state   mqttState
	shift   uint8
	left    int // of the body
	length  int // of the whole body
	header  int // bytes of the fixed header
	prefix  []byte
	readAny bool
}

type mqttState uint8

const (
	mqttType mqttState = iota
	mqttLength
	mqttBody
	mqttLost
)

func (x *mqttStream) reset() {
	a, b := x.dirs[0].prefix[:0], x.dirs[1].prefix[:0]
	*x = mqttStream{}
	x.dirs[0].prefix, x.dirs[1].prefix = a, b
}

func (d *mqttDir) lose() { d.state = mqttLost }

// validMQTT says whether a first byte is one that a control packet may begin with (MQTT 5.0, 2.1.3).
func validMQTT(b byte) bool {
	switch b >> 4 {
	case 0:
		return false
	case mqttPublish:
		return b&6 != 6
	case mqttPubrel, mqttSubscribe, mqttUnsubscribe:
		return b&15 == 2
	}
	return b&15 == 0
}

// startsConnect recognises a CONNECT packet: its type, a length, and the protocol's name.
func startsConnect(b []byte) bool {
	if len(b) < 8 || b[0] != mqttConnect<<4 {
		return false
	}
	i := 1
	for i < 4 && b[i]&0x80 != 0 {
		i++
	}
	name := string(b[i+1 : min(len(b), i+9)])
	return len(name) >= 6 && name[:6] == "\x00\x04MQTT" || name == "\x00\x06MQIsdp"
}

func startsMQTT(b []byte) bool { return len(b) > 0 && validMQTT(b[0]) }

// guess is the likely phase of what can't be read: that of the last control packet of its end, where there was one.
func (x *mqttStream) guess(s *state, end int) Phase {
	if phase := x.dirs[end].phase; phase != DNS { // the zero value: no MQTT
		return phase
	}
	return s.plain(end)
}

// feed reads a segment. It returns false where the stream turns out not to be MQTT.
func (x *mqttStream) feed(t *Tracker, s *state, m *more, seg *segment) (Phase, bool) {
	d := &x.dirs[seg.end]
	if d.state == mqttLost {
		// After a gap control packets are looked for where segments begin.
		if !startsMQTT(seg.data) {
			return x.guess(s, seg.end), true
		}
		d.state = mqttType
	}
	first, known := x.guess(s, seg.end), d.state != mqttType
	data, size := seg.data, seg.size
	for size > 0 {
		if d.state == mqttBody {
			n := min(d.left, size)
			have := min(n, len(data))
			if t.detail {
				d.prefix = append(d.prefix, data[:min(have, maxMQTTPrefix-len(d.prefix))]...)
			}
			d.left -= n
			data, size = data[have:], size-n
			if d.left == 0 {
				x.done(t, s, m, seg)
			}
			continue
		}
		if len(data) == 0 {
			d.lose()
			break
		}
		if !x.header(d, data[0]) {
			if !d.readAny {
				return s.plain(seg.end), false
			}
			d.lose()
			break
		}
		if !known {
			first, known = d.phase, true
		}
		data, size = data[1:], size-1
		if d.state == mqttBody && d.left == 0 {
			x.done(t, s, m, seg)
		}
	}
	return first, true
}

// header reads one byte of a fixed header.
func (x *mqttStream) header(d *mqttDir, b byte) bool {
	if d.state == mqttType {
		if !validMQTT(b) {
			return false
		}
		d.first, d.phase = b, mqttPhases[b>>4]
		d.state, d.shift, d.length, d.header = mqttLength, 0, 0, 1
		return true
	}
	d.length |= int(b&0x7f) << d.shift
	d.header++
	if b&0x80 == 0 {
		d.state, d.left, d.prefix, d.readAny = mqttBody, d.length, d.prefix[:0], true
		return true
	}
	d.shift += 7
	return d.shift <= 21
}

// done notes a whole control packet.
func (x *mqttStream) done(t *Tracker, s *state, m *more, seg *segment) {
	d := &x.dirs[seg.end]
	d.state = mqttType
	kind := d.first >> 4
	if kind == mqttConnect {
		x.version = connectVersion(d.prefix, x.version)
	}
	if !t.detail || len(m.flow.Messages) >= MaxDetail {
		return
	}
	msg := Message{Type: mqttNames[kind], Dir: s.dir(seg.end), Time: seg.time, Number: seg.number, Version: x.version, Bytes: d.header + d.length}
	x.body(d, &msg)
	m.flow.Messages = append(m.flow.Messages, msg)
}

func connectVersion(body []byte, before int) int {
	r := reader{b: body}
	r.skip(int(r.u16()))
	if v := int(r.u8()); !r.bad {
		return v
	}
	return before
}

// body reads the fields that a Message has.
func (x *mqttStream) body(d *mqttDir, msg *Message) {
	r := reader{b: d.prefix}
	switch d.first >> 4 {
	case mqttConnack:
		r.skip(1)
		msg.Reason = int(r.u8())
	case mqttPublish:
		msg.QoS, msg.Retain = int(d.first>>1&3), d.first&1 != 0
		msg.Topic = clean(r.take(int(r.u16())))
		if msg.QoS > 0 {
			msg.ID = r.u16()
		}
	case mqttPuback, mqttPubrec, mqttPubrel, mqttPubcomp:
		msg.ID = r.u16()
		if x.version == 5 {
			msg.Reason = int(r.u8())
		}
	case mqttSubscribe, mqttUnsubscribe:
		msg.ID = r.u16()
		x.properties(&r)
		msg.Topic = clean(r.take(int(r.u16())))
		if d.first>>4 == mqttSubscribe {
			msg.QoS = int(r.u8() & 3)
		}
	case mqttSuback, mqttUnsuback:
		msg.ID = r.u16()
		x.properties(&r)
		if len(r.b) > 0 {
			msg.Reason = int(r.u8())
		}
	case mqttDisconnect, mqttAuth:
		if x.version == 5 {
			msg.Reason = int(r.u8())
		}
	}
}

// properties passes over the properties of version 5.
func (x *mqttStream) properties(r *reader) {
	if x.version != 5 {
		return
	}
	n, used := binary.Uvarint(r.b)
	if used <= 0 || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return
	}
	r.skip(used + int(n))
}
