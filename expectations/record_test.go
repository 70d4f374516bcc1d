package expectations

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// Records made by hand, so that a rule can be tested without an analyser.

var epoch = time.Date(2026, 3, 8, 11, 58, 50, 0, time.UTC)

// at gives a moment so many seconds into a record.
func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

// sent is one packet of a hand-made flow.
type sent struct {
	at      float64
	dir     flow.Direction
	phase   flow.Phase
	flags   packet.Flags
	payload int
	mark    flow.Mark
	air     int
	seq     uint32
	ack     uint32
}

const (
	up   = flow.Up
	down = flow.Down
)

// conversation makes a flow from its packets.
func conversation(kind packet.Kind, peer, name string, packets ...sent) *flow.Flow {
	f := &flow.Flow{Kind: kind, Device: netip.MustParseAddrPort("10.213.7.42:40001"), Peer: netip.MustParseAddrPort(peer), Name: name}
	header := map[packet.Kind]int{packet.TCP: 54, packet.UDP: 42, packet.ICMP: 42}[kind]
	for _, s := range packets {
		air := max(s.air, 1)
		wire := header + s.payload
		p := flow.Packet{Time: at(s.at).UnixNano(), Dir: s.dir, Phase: s.phase, Flags: s.flags, Mark: s.mark, Payload: uint32(s.payload), Seq: s.seq, Ack: s.ack,
			Wire: uint32(wire), Air: uint16(air), AirWire: uint32(wire + (air-1)*header)}
		f.Packets = append(f.Packets, p)
		side := &f.Sides[s.dir]
		side.Tally.Add(flow.Tally{Packets: 1, Bytes: uint64(p.Wire), AirPackets: uint64(air), AirBytes: uint64(p.AirWire)})
		for flag, count := range map[packet.Flags]*int{packet.SYN: &side.SYN, packet.FIN: &side.FIN, packet.RST: &side.RST} {
			if s.flags&flag != 0 {
				*count++
			}
		}
	}
	f.Sides[up].MSS, f.Sides[down].MSS = 1400, 1400
	return f
}

// withNumbers gives the segments of a connection the numbers that they have where nothing is lost or sent again.
func withNumbers(segments []sent) []sent {
	next := [2]uint32{up: 1000, down: 5000}
	for i := range segments {
		s := &segments[i]
		s.seq, s.ack = next[s.dir], next[1-s.dir]
		next[s.dir] += uint32(s.payload)
		if s.flags&(packet.SYN|packet.FIN) != 0 {
			next[s.dir]++
		}
	}
	return segments
}

// record makes a whole trace of flows: numbered in the order of time, the tap proved good.
func record(flows ...*flow.Flow) *trace.Trace {
	c := &trace.Capture{File: "made.pcap", Total: trace.Total{Flows: map[string]uint64{}}}
	device := trace.Device{Address: netip.MustParseAddr("10.213.7.42")}
	var number uint64
	for id, f := range flows {
		f.ID = id
		for i := range f.Packets {
			number++
			f.Packets[i].Number = number
			when := f.Packets[i].Time
			if c.First == 0 || when < c.First {
				c.First = when
			}
			c.Last = max(c.Last, when)
		}
		f.Start, f.End = f.Packets[0].Time, f.Packets[len(f.Packets)-1].Time
		for d := range f.Sides {
			device.Tally[d].Add(f.Sides[d].Tally)
			c.Total.Tally[d].Add(f.Sides[d].Tally)
		}
		c.Flows = append(c.Flows, f)
	}
	c.Frames = number
	if number > 0 {
		c.Devices = []trace.Device{device}
	}
	return &trace.Trace{Scenario: "made", Account: trace.Wire, Begin: at(-10), End: at(600), Capture: c, Evidence: allEvidence(number)}
}

// allEvidence is all that a run's evidence can say: its tap was not blind, and its mirror counted every packet.
func allEvidence(frames uint64) trace.Evidence {
	return trace.Evidence{
		Taps:   []trace.TapEvidence{{Name: "sim", ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true, Received: frames}},
		Mirror: &trace.MirrorEvidence{Whole: "the mirror counted every packet"},
	}
}

// unproven takes away the count: that the tap was not blind proves nothing whole.
func unproven(t *trace.Trace) *trace.Trace {
	t.Evidence.Mirror = nil
	return t
}

// broken makes something be known to be missing.
func broken(t *trace.Trace) *trace.Trace {
	t.Evidence = trace.Evidence{}
	t.Capture.Completeness = trace.Completeness{State: trace.Broken,
		Holes: []trace.Hole{{Kind: trace.HoleSequence, Flow: -1, Bytes: 1000, Reason: "1,000 bytes down never seen"}}, Reasons: []string{"1,000 bytes down never seen"}}
	return t
}

// lookupFlow is a DNS exchange at a moment; without an answer where answered is false.
func lookupFlow(when float64, name string, answered bool) *flow.Flow {
	packets := []sent{{at: when, dir: up, phase: flow.DNS, payload: 33}}
	if answered {
		packets = append(packets, sent{at: when + 0.1, dir: down, phase: flow.DNS, payload: 49})
	}
	f := conversation(packet.UDP, "100.127.0.53:53", "", packets...)
	f.Queries = []flow.Query{{Name: name, Type: "A", Time: at(when).UnixNano(), Number: 1, Answered: answered}}
	return f
}

// exchange is a TCP connection from its handshake to the end of the response.
func exchange(peer, name string) []sent {
	return []sent{
		{at: 1, dir: up, phase: flow.TCPHandshake, flags: packet.SYN},
		{at: 1.1, dir: down, phase: flow.TCPHandshake, flags: packet.SYN | packet.ACK},
		{at: 1.2, dir: up, phase: flow.TCPHandshake, flags: packet.ACK},
		{at: 1.3, dir: up, phase: flow.Request, flags: packet.ACK, payload: 100, seq: 1},
		{at: 1.4, dir: down, phase: flow.Request, flags: packet.ACK},
		{at: 1.5, dir: down, phase: flow.Response, flags: packet.ACK, payload: 300, seq: 1},
		{at: 1.6, dir: up, phase: flow.Response, flags: packet.ACK},
	}
}

var fins = []sent{
	{at: 2, dir: up, phase: flow.TeardownPhase, flags: packet.FIN | packet.ACK},
	{at: 2.1, dir: down, phase: flow.TeardownPhase, flags: packet.FIN | packet.ACK},
	{at: 2.2, dir: up, phase: flow.TeardownPhase, flags: packet.ACK},
}

// clean is a lookup and an HTTP exchange that ends cleanly.
func clean() []*flow.Flow {
	f := conversation(packet.TCP, "52.219.0.180:80", "files.example.com", withNumbers(append(exchange("", ""), fins...))...)
	f.Close, f.FinSeen, f.FirstClose, f.ClosedAt = flow.Clean, true, up, at(2.1).UnixNano()
	f.Exchanges = []flow.Exchange{{Method: "GET", Host: "files.example.com", Status: 200}}
	return []*flow.Flow{lookupFlow(0, "files.example.com", true), f}
}

// lateReset is the same with an RST a minute after the close.
func lateReset() []*flow.Flow {
	fs := clean()
	f := conversation(packet.TCP, "52.219.0.180:80", "files.example.com",
		withNumbers(append(append(exchange("", ""), fins...), sent{at: 62.1, dir: up, phase: flow.Reset, flags: packet.RST | packet.ACK}))...)
	f.Close, f.FinSeen, f.FirstClose, f.ClosedAt = flow.ResetAfterClose, true, up, at(2.1).UnixNano()
	f.Exchanges = fs[1].Exchanges
	return []*flow.Flow{fs[0], f}
}

// judgeOne judges one claim.
func judgeOne(t *testing.T, tr *trace.Trace, o Options, yaml string) verdict.Finding {
	t.Helper()
	set, err := Parse("claims.yaml", 1, []byte("expect:\n  - "+yaml+"\n"))
	require.NoError(t, err)
	findings := set.Judge(tr, o)
	require.Len(t, findings, 1)
	return findings[0]
}

// row is a claim with its verdict in a record that is whole, unproven, unproven and judged strictly, and broken.
type row struct {
	name   string
	record func() []*flow.Flow
	claim  string
	want   string // four letters of p, f and i
	reason string // part of the reason in the whole record
}

var letters = map[byte]verdict.Verdict{'p': verdict.Pass, 'f': verdict.Fail, 'i': verdict.Inconclusive}

func runRows(t *testing.T, rows []row) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			whole := judgeOne(t, record(r.record()...), Options{}, r.claim)
			open := judgeOne(t, unproven(record(r.record()...)), Options{}, r.claim)
			strict := judgeOne(t, unproven(record(r.record()...)), Options{Strict: true}, r.claim)
			leaky := judgeOne(t, broken(record(r.record()...)), Options{}, r.claim)
			require.Contains(t, whole.Reason, r.reason)
			for i, f := range []verdict.Finding{whole, open, strict, leaky} {
				require.Equal(t, letters[r.want[i]], f.Verdict, "%s: %s", [...]string{"whole", "unproven", "strict", "broken"}[i], f.Reason)
				require.NotEmpty(t, f.Reason)
				require.Equal(t, "claims.yaml:2:5", f.Where)
				if f.Verdict == verdict.Fail && i != 1 {
					require.Empty(t, f.Doubt, "a fail is proved")
				}
			}
			require.Equal(t, open.Verdict != strict.Verdict, open.Doubt != "" && open.Verdict != verdict.Inconclusive, "what strict does not share says why")
		})
	}
}
