package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/oracle"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// forever keeps flows open as tshark does.
const forever = 1000 * 24 * time.Hour

// segments is what is compared of one direction of a stream.
type segments struct {
	Frames  int    `json:"frames"`
	Payload uint64 `json:"payload"`
	SYN     int    `json:"syn"`
	FIN     int    `json:"fin"`
	RST     int    `json:"rst"`
}

// trouble is what tshark's heuristics say of one direction.
type trouble struct{ retransmissions, lost int }

type streamSums struct {
	ab, ba       segments
	abBad, baBad trouble
	flows        int
}

func fromOracle(s oracle.TCPSide) segments {
	return segments{s.Frames, s.Payload, s.SYN + s.SYNACK, s.FIN, s.RST}
}

func troubleOf(s oracle.TCPSide, other oracle.TCPSide) trouble {
	// tshark counts fast and spurious retransmissions among the retransmissions too.
	return trouble{s.Retransmission, s.LostSegment + other.AckLostSegment}
}

// fromSide counts as tshark does: on the frame that completes a datagram, and the mirror's duplicates too.
func fromSide(f *Flow, d Direction) segments {
	s := f.Sides[d]
	out := segments{Frames: int(s.copies.packets), Payload: s.Payload + s.copies.payload, SYN: s.SYN + s.copies.syn, FIN: s.FIN + s.copies.fin, RST: s.RST + s.copies.rst}
	for _, p := range f.Packets {
		if p.Dir == d && !p.isPiece() {
			out.Frames++
		}
	}
	return out
}

// isPiece says whether it is a fragment that another frame completed.
func (p *Packet) isPiece() bool { return p.Mark == Fragmented && p.Flags == 0 && p.Payload == 0 }

func (s *segments) add(o segments) {
	s.Frames += o.Frames
	s.Payload += o.Payload
	s.SYN += o.SYN
	s.FIN += o.FIN
	s.RST += o.RST
}

// endpoint writes an address as the oracle does, but an IPv4 address inside an IPv6 one as IPv4: packet.Addr does not
// tell them apart.
func endpoint(f *Flow, d Direction) string {
	ap := f.Device
	if d == Down {
		ap = f.Peer
	}
	return fmt.Sprintf("%s:%d", ap.Addr().WithZone(""), ap.Port())
}

// readTable reads a checked-in table of disagreements: stream → reason.
func readTable(t *testing.T, file string) map[string]string {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	known := map[string]string{}
	require.NoError(t, json.Unmarshal(data, &known))
	return known
}

// The reasons why retransmissions and losses differ from tshark's, by kind: testdata/troubles.json names one for each
// stream.
var kinds = map[string]string{
	"ack-first":  "the capture holds acknowledgements before their data; tshark takes the data for sent again, or counts a loss",
	"ack-again":  "one hole acknowledged several times; tshark counts anew after each, or forgets",
	"keep-alive": "the flow was joined between a keep-alive probe and its answer; tshark takes the probe's number for a lost byte",
	"mixed":      "tshark's stream mixes flows of several VLANs or tunnels, so one's packets look like the other's sent again",
	"malformed":  "tshark does not analyse segments that it calls malformed",
	"overlap":    "segments that overlap without being the same, or numbers that contradict each other",
	"handshake":  "SYN-ACKs with several first numbers; tshark measures all against the first",
	"own-order":  "the capture's order contradicts its times or the senders' identifications",
}

// TestOracleStreams compares every TCP stream of the real captures with tshark's reading of it. testdata/streams.json
// says why where they differ; an entry that agrees again must go.
func TestOracleStreams(t *testing.T) {
	known := readTable(t, "testdata/streams.json")
	troubles := readTable(t, "testdata/troubles.json")
	for id, kind := range troubles {
		require.Contains(t, kinds, kind, id)
	}
	total, agree, calm := 0, 0, 0
	for _, e := range oracle.Load(t) {
		ours := sumStreams(t, e)
		for i, s := range e.TCPStreams {
			total++
			id := fmt.Sprintf("%s#%d", e.File, s.Stream)
			if checked(t, id, known, differences(s, ours[i])) {
				agree++
			}
			if checked(t, id, troubles, troubleDifferences(s, ours[i])) {
				calm++
			}
		}
	}
	require.Empty(t, known, "the table names streams that are not there")
	require.Empty(t, troubles, "the table names streams that are not there")
	t.Logf("%d of %d streams agree in every field (%.2f%%), %d in retransmission and loss (%.2f%%)",
		agree, total, 100*float64(agree)/float64(total), calm, 100*float64(calm)/float64(total))
	require.GreaterOrEqual(t, float64(agree)/float64(total), 0.995)
	require.GreaterOrEqual(t, float64(calm)/float64(total), 0.95)
}

// checked holds a stream against a table of disagreements and takes it off. It says whether the stream agrees.
func checked(t *testing.T, id string, table map[string]string, diff string) bool {
	_, listed := table[id]
	delete(table, id)
	switch {
	case diff == "" && listed:
		t.Errorf("%s agrees again: take it off the table", id)
	case diff != "" && !listed:
		t.Errorf("%s: %s", id, diff)
	}
	return diff == ""
}

// troubleDifferences compares what is sent again and lost. What repeats bytes that were seen is a retransmission here
// whatever its timing; tshark calls it out of order where it comes soon.
func troubleDifferences(s oracle.TCPStream, got streamSums) string {
	var out []string
	for _, c := range []struct {
		name      string
		want, got trouble
		disorder  int
	}{{"ab", troubleOf(s.AB, s.BA), got.abBad, s.AB.OutOfOrder}, {"ba", troubleOf(s.BA, s.AB), got.baBad, s.BA.OutOfOrder}} {
		more := c.got.retransmissions - c.want.retransmissions
		if more < 0 || more > c.disorder || c.got.lost != c.want.lost {
			out = append(out, fmt.Sprintf("%s %+v (%d out of order), ours %+v", c.name, c.want, c.disorder, c.got))
		}
	}
	return strings.Join(out, "; ")
}

// sumStreams follows a capture and sums its flows up by the oracle's streams: tshark looks past VLANs and tunnels, so
// several flows may be one stream of it. A flow belongs to the stream of its addresses that began last before it.
func sumStreams(t *testing.T, e oracle.Entry) []streamSums {
	out := make([]streamSums, len(e.TCPStreams))
	for _, f := range readCapture(t, oracle.Path(t, e.File), Options{KeepPackets: true, Idle: forever, Linger: forever}) {
		if f.Kind != packet.TCP || len(f.Packets) == 0 {
			continue
		}
		a, b := endpoint(f, Up), endpoint(f, Down)
		first := f.Packets[slices.IndexFunc(f.Packets, func(p Packet) bool { return !p.isPiece() })].Number
		best := -1
		for i, s := range e.TCPStreams {
			x, y := strings.TrimPrefix(s.A, "::ffff:"), strings.TrimPrefix(s.B, "::ffff:")
			if (x == a && y == b || x == b && y == a) && uint64(s.FirstFrame) <= first {
				best = i
			}
		}
		if best < 0 {
			continue
		}
		up, down := Up, Down
		if strings.TrimPrefix(e.TCPStreams[best].A, "::ffff:") != a {
			up, down = Down, Up
		}
		o := &out[best]
		o.ab.add(fromSide(f, up))
		o.ba.add(fromSide(f, down))
		o.abBad.add(f, up)
		o.baBad.add(f, down)
		o.flows++
	}
	return out
}

func (x *trouble) add(f *Flow, d Direction) {
	s, o := f.Sides[d], f.Sides[1-d]
	x.retransmissions += s.Retransmissions + s.copies.segments
	x.lost += s.LostSegments + s.reordered
	if s.Tally.Packets > 0 {
		x.lost += o.AckedUnseen // of a direction that it never saw, tshark does not ask what was acknowledged
	}
}

func differences(s oracle.TCPStream, got streamSums) string {
	var out []string
	for _, c := range []struct {
		name      string
		want, got segments
	}{{"ab", fromOracle(s.AB), got.ab}, {"ba", fromOracle(s.BA), got.ba}} {
		if c.want != c.got {
			out = append(out, fmt.Sprintf("%s %+v, ours %+v in %d flows", c.name, c.want, c.got, got.flows))
		}
	}
	return strings.Join(out, "; ")
}

// TestOracleMessages compares the MQTT control packets and HTTP requests of the real captures with tshark's. HTTP
// differs where tshark looks into SOCKS or shuns ports of other protocols, and where requests are not well-formed.
func TestOracleMessages(t *testing.T) {
	captures, agree := 0, 0
	for _, e := range oracle.Load(t) {
		mqtt, http := map[string]int{}, map[string]int{}
		for _, f := range readCapture(t, oracle.Path(t, e.File), Options{Idle: forever, Linger: forever}) {
			for _, m := range f.Messages {
				mqtt[strconv.Itoa(slices.Index(mqttNames[:], m.Type))]++
			}
			for _, x := range f.Exchanges {
				http[x.Method]++
			}
		}
		if len(mqtt)+len(e.MQTT) > 0 {
			require.Equal(t, e.MQTT, mqtt, e.File)
		}
		if len(http)+len(e.HTTPRequests) > 0 {
			captures++
			if maps.Equal(http, e.HTTPRequests) {
				agree++
			}
		}
	}
	t.Logf("HTTP requests agree in %d of %d captures", agree, captures)
	require.GreaterOrEqual(t, float64(agree)/float64(captures), 0.93)
}

// TestOracleMemory follows every real capture, with all that can be kept, and holds the memory in use: looked at every
// few thousand packets, and before the flows are let go.
func TestOracleMemory(t *testing.T) {
	const bound, every = 256 << 20, 2_000
	var most uint64
	for _, e := range oracle.Load(t) {
		look := func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			require.Less(t, m.HeapInuse, uint64(bound), e.File)
		}
		n := 0
		tracker := NewTracker(Options{KeepPackets: true})
		decodeCapture(t, oracle.Path(t, e.File), func(p *packet.Packet) {
			tracker.Add(p)
			if n++; n%every == 0 {
				look()
			}
		})
		look()
		tracker.Flush()
	}
	require.NotZero(t, most)
	t.Logf("at most %d MiB of heap in use", most>>20)
}
