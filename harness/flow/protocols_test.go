package flow

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// talk makes a conversation on a port out of what each side says, each message acknowledged by the next.
func talk(port uint16, lines ...any) *conversation {
	c := newConversation()
	c.serverPort = port
	c.open()
	for i := 0; i < len(lines); i += 2 {
		c.send(lines[i].(Direction), push, lines[i+1].(string))
	}
	return c
}

func TestTLS(t *testing.T) {
	for _, c := range []struct {
		name    string
		talk    *conversation
		version uint16
		cert    int
		phases  map[Phase][2]uint64 // packets up and down
	}{
		{"1.2", talk(8443, Up, record(22, hello(clientHello, 0x0303)),
			Down, record(22, hello(serverHello, 0x0303)+"\x0b\x00\x01\x00"+strings.Repeat("c", 256)),
			Up, record(22, "\x10\x00\x00\x01k")+record(20, "\x01")+record(22, "finished"),
			Down, record(20, "\x01")+record(22, "finished"),
			Up, record(23, "request"), Down, record(23, "response"), Up, record(21, "alert")), 0x0303, 256,
			map[Phase][2]uint64{TCPHandshake: {2, 1}, TLSHandshake: {2, 2}, Request: {1, 0}, Response: {0, 1}, TLSAlert: {1, 0}}},
		{"1.3", talk(8443, Up, record(22, hello(clientHello, 0x0303)),
			Down, record(22, hello(serverHello, tls13))+record(20, "\x01")+record(23, strings.Repeat("e", 800)),
			Down, record(23, strings.Repeat("e", 400)),
			Up, record(20, "\x01")+record(23, strings.Repeat("f", 53)),
			Down, record(23, strings.Repeat("t", 250)),
			Up, record(23, "request that is long"), Down, record(23, "response that is long"),
			Up, record(23, strings.Repeat("a", sealedAlert))), tls13, 0,
			map[Phase][2]uint64{TCPHandshake: {2, 1}, TLSHandshake: {2, 2}, Request: {1, 0}, Response: {0, 2}, TLSAlert: {1, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := one(t, c.talk.packets)
			require.Equal(t, &TLS{Version: c.version, ServerName: "example.test", Certificate: c.cert}, f.TLS)
			require.Equal(t, "example.test", f.Name)
			got := map[Phase][2]uint64{}
			for p, both := range f.Phases {
				if both != (Both[Tally]{}) {
					got[Phase(p)] = [2]uint64{both[Up].Packets, both[Down].Packets}
				}
			}
			require.Equal(t, c.phases, got)
		})
	}
}

func TestTLSGoesOnAfterAGap(t *testing.T) {
	c := talk(443, Up, record(22, hello(clientHello, 0x0303)), Down, record(22, hello(serverHello, 0x0303)),
		Up, record(20, "\x01")+record(22, "finished"), Down, record(20, "\x01")+record(22, "finished"),
		Down, record(23, strings.Repeat("x", 1000)), Down, record(23, "y"), Up, record(21, "al"))
	f := one(t, append(c.packets[:7:7], c.packets[8:]...))
	require.Equal(t, uint64(1), f.Phases[Response][Down].Packets)
	require.Equal(t, uint64(1), f.Phases[TLSAlert][Up].Packets)
	require.Equal(t, uint64(1005), f.Sides[Down].Missing)
}

func TestHTTPExchanges(t *testing.T) {
	c := talk(8080,
		Up, "POST /a HTTP/1.1\r\nHost: one.test:8080\r\nContent-Length: 9\r\n\r\nGET / HTT",
		Down, "HTTP/1.1 100 Continue\r\n\r\n",
		Down, "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		Up, "HEAD /b HTTP/1.1\r\nHo", Up, "st: one.test:8080\r\n\r\n",
		Down, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
		Up, "GET /c HTTP/1.1\r\nHost: two.test\r\n\r\nGET /d HTTP/1.1\r\n\r\n",
		Down, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
	f := one(t, c.packets)
	require.Equal(t, "one.test", f.Name)
	var got []Exchange
	for _, e := range f.Exchanges {
		e.Time, e.Number = 0, 0
		got = append(got, e)
	}
	require.Equal(t, []Exchange{
		{Method: "POST", Host: "one.test:8080", Target: "/a", Status: 201},
		{Method: "HEAD", Host: "one.test:8080", Target: "/b", Status: 200},
		{Method: "GET", Host: "two.test", Target: "/c", Status: 404},
		{Method: "GET", Target: "/d"},
	}, got)
}

func TestMQTT5(t *testing.T) {
	c := talk(9999,
		Up, "\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc",
		Down, "\x20\x03\x00\x00\x00",
		Up, "\x82\x09\x00\x01\x00\x00\x03a/b\x01", Down, "\x90\x04\x00\x01\x00\x01",
		Up, "\x33\x0a\x00\x03a/b\x00\x02\x00hi\xc0\x00", // two packets in one segment
		Down, "\x40\x03\x00\x02\x10", Down, "\xd0\x00", Up, "\xe0\x01\x04")
	f := one(t, c.packets)
	var got []Message
	for _, m := range f.Messages {
		m.Time, m.Number = 0, 0
		got = append(got, m)
	}
	require.Equal(t, []Message{
		{Type: "connect", Dir: Up, Version: 5, Bytes: 18},
		{Type: "connack", Dir: Down, Version: 5, Bytes: 5},
		{Type: "subscribe", Dir: Up, Version: 5, ID: 1, Topic: "a/b", QoS: 1, Bytes: 11},
		{Type: "suback", Dir: Down, Version: 5, ID: 1, Reason: 1, Bytes: 6},
		{Type: "publish", Dir: Up, Version: 5, ID: 2, Topic: "a/b", QoS: 1, Retain: true, Bytes: 12},
		{Type: "pingreq", Dir: Up, Version: 5, Bytes: 2},
		{Type: "puback", Dir: Down, Version: 5, ID: 2, Reason: 16, Bytes: 5},
		{Type: "pingresp", Dir: Down, Version: 5, Bytes: 2},
		{Type: "disconnect", Dir: Up, Version: 5, Reason: 4, Bytes: 3},
	}, got)
	require.Equal(t, uint64(1), f.Phases[MQTTPublish][Up].Packets, "a segment belongs to its first control packet")
	require.Equal(t, uint64(1), f.Phases[MQTTPing][Down].Packets)
}

func TestDNSOverTCP(t *testing.T) {
	query, answer := dnsPackets(t)
	framed := func(b []byte) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(b)))) + string(b) }
	q := framed(query)
	f := one(t, talk(53, Up, q[:5], Up, q[5:], Down, framed(answer)).packets)
	require.Len(t, f.Queries, 1)
	require.True(t, f.Queries[0].Answered)
	require.Equal(t, uint64(2), f.Phases[DNS][Up].Packets)
}

func TestPlainPayload(t *testing.T) {
	c := talk(23080, Up, "hello", Down, "201").send(Up, packet.ACK, "")
	f := one(t, c.packets)
	require.Equal(t, uint64(1), f.Phases[Request][Up].Packets)
	require.Equal(t, Both[uint64]{1, 1}, Both[uint64]{f.Phases[Response][Up].Packets, f.Phases[Response][Down].Packets})
}

// TestPhasesWithoutDetail holds that the fast mode gives the same phases.
func TestPhasesWithoutDetail(t *testing.T) {
	c := talk(1883, Up, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", Down, "\x20\x02\x00\x00", Up, "\xc0\x00")
	want := one(t, c.packets)
	var got Phases
	tracker := NewTracker(Options{Done: func(f *Flow) { got = f.Phases }})
	for i := range c.packets {
		tracker.Add(&c.packets[i])
	}
	tracker.Flush()
	require.Equal(t, want.Phases, got)
}
