package packet_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/oracle"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// pair is two ends in order, and sums what was counted between them.
type pair [2]netip.AddrPort

type sums struct{ frames, payload int }

// difference is what the table says of a capture: pairs of ends that disagree, the oracle's streams between them, and why.
type difference struct {
	Pairs   int    `json:"pairs"`
	Streams int    `json:"streams"`
	Why     string `json:"why"`
}

// TestRealCaptures decodes all real captures and holds the TCP segments and their payload between each two ends against
// tshark's. testdata/segments.json says why where they differ; an entry that agrees again must go.
func TestRealCaptures(t *testing.T) {
	entries := oracle.Load(t)
	table, err := os.ReadFile("testdata/segments.json")
	require.NoError(t, err)
	var known map[string]difference
	require.NoError(t, json.Unmarshal(table, &known))

	streams, wrong := 0, 0
	for _, e := range entries {
		want, between := expected(t, e)
		got := decoded(t, oracle.Path(t, e.File))
		var found difference
		for p := range union(want, got) {
			if got[p] != want[p] {
				found.Pairs++
				found.Streams += between[p]
				if _, listed := known[e.File]; !listed {
					t.Errorf("%s: between %v and %v %+v, tshark %+v (link types %v)", e.File, p[0], p[1], got[p], want[p], e.Container.LinkTypes)
				}
			}
		}
		streams += len(e.TCPStreams)
		wrong += found.Streams
		listed, ok := known[e.File]
		delete(known, e.File)
		if ok {
			found.Why = listed.Why
			require.NotEmpty(t, listed.Why, e.File)
			require.Equal(t, listed, found, "%s is not as the table says; if it agrees now, take it off", e.File)
		}
	}
	require.Empty(t, known, "the table names captures that are not there")
	require.Less(t, float64(wrong), 0.005*float64(streams), "of %d streams", streams)
}

// expected sums the oracle's streams between each two ends, and counts them.
func expected(t *testing.T, e oracle.Entry) (map[pair]sums, map[pair]int) {
	want, between := map[pair]sums{}, map[pair]int{}
	for _, s := range e.TCPStreams {
		p := order(end(t, s.A), end(t, s.B))
		v := want[p]
		v.frames += s.AB.Frames + s.BA.Frames
		v.payload += int(s.AB.Payload + s.BA.Payload)
		want[p] = v
		between[p]++
	}
	return want, between
}

func decoded(t *testing.T, path string) map[pair]sums {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	got := map[pair]sums{}
	r, err := pcap.NewReader(f)
	if err != nil {
		return got
	}
	d := packet.NewDecoder(packet.Options{})
	var p packet.Packet
	for {
		rec, err := r.Next()
		if err != nil {
			return got
		}
		frame := packet.Frame{Number: rec.Number, Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
		if d.Decode(&frame, &p) != packet.Decoded || p.Kind != packet.TCP {
			continue
		}
		k := order(netip.AddrPortFrom(p.Src.Netip(), p.SrcPort), netip.AddrPortFrom(p.Dst.Netip(), p.DstPort))
		v := got[k]
		v.frames++
		v.payload += p.PayloadLen
		got[k] = v
	}
}

func order(a, b netip.AddrPort) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// end parses the oracle's form, IPv6 without brackets.
func end(t *testing.T, s string) netip.AddrPort {
	at := strings.LastIndexByte(s, ':')
	address, err := netip.ParseAddr(s[:at])
	require.NoError(t, err)
	port, err := strconv.ParseUint(s[at+1:], 10, 16)
	require.NoError(t, err)
	return netip.AddrPortFrom(address.Unmap(), uint16(port))
}

func union(a, b map[pair]sums) map[pair]bool {
	all := map[pair]bool{}
	for p := range a {
		all[p] = true
	}
	for p := range b {
		all[p] = true
	}
	return all
}
