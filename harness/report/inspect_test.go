package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// updateInspect writes fixtures/golden anew: go test ./harness/report -run Inspect -update-inspect
var updateInspect = flag.Bool("update-inspect", false, "write the golden files of inspect anew")

func inspected(t *testing.T, name string, keep bool) *trace.Capture {
	f, err := os.Open(filepath.Join("..", "..", "fixtures", "captures", name+".pcap"))
	require.NoError(t, err)
	defer f.Close()
	c, err := trace.Read(f, name+".pcap", trace.Options{KeepFlows: keep})
	require.NoError(t, err)
	return c
}

// TestInspectGolden holds the output for every fixture, as text and JSON, byte for byte.
func TestInspectGolden(t *testing.T) {
	for _, f := range append(synth.Tables(), synth.Ways()...) {
		t.Run(f.Name, func(t *testing.T) {
			c := inspected(t, f.Name, true)
			golden(t, f.Name+".txt", func(b *bytes.Buffer) error { return InspectText(b, c, InspectOptions{Account: trace.Soracom}) })
			golden(t, f.Name+".json", func(b *bytes.Buffer) error { return InspectJSON(b, c, InspectOptions{Account: trace.Soracom}) })
		})
	}
	t.Run("summary", func(t *testing.T) {
		c := inspected(t, "wio-lte-https", false)
		o := InspectOptions{Summary: true}
		golden(t, "wio-lte-https-summary.txt", func(b *bytes.Buffer) error { return InspectText(b, c, o) })
		golden(t, "wio-lte-https-summary.json", func(b *bytes.Buffer) error { return InspectJSON(b, c, o) })
	})
}

func golden(t *testing.T, name string, write func(*bytes.Buffer) error) {
	var b bytes.Buffer
	require.NoError(t, write(&b))
	path := filepath.Join("..", "..", "fixtures", "golden", name)
	if *updateInspect {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), b.String())
}

// TestInspectContract holds the names of the contract's keys, and that there is one JSON object, by what one capture must say.
func TestInspectContract(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, InspectJSON(&b, inspected(t, "wio-lte-https", true), InspectOptions{Account: trace.Soracom}))
	for _, part := range []string{
		`"file":"wio-lte-https.pcap","format":"pcap","frames":41,"first":"2026-03-08T11:58:52.000000000Z"`,
		`"tunnels":{"gre":41,"vxlan":0,"geneve":0,"erspan":0,"none":0},"undecodable":0,"truncated":0,"duplicates":0`,
		`"state":"unproven","missing_bytes":{"up":0,"down":0},"reasons":[`,
		`"address":"10.213.7.42","account":"soracom","captured":{"up":{"packets":23,"bytes":2653},"down":{"packets":18,"bytes":5692}}`,
		`"on_air":{"up":{"packets":23,"bytes":2653},"down":{"packets":19,"bytes":5746}}`,
		`{"phase":"dns","up":{"packets":1,"bytes":148},"down":{"packets":1,"bytes":536}}`,
		`"proto":"tcp","device":"10.213.7.42:40001","peer":"52.219.0.182:443","name":"tollgate-test-bucket.s3-ap-northeast-1.amazonaws.com"`,
		`"tunnel":"gre","vlan":0,"vni":0,"start":"2026-03-08T11:58:52.080000000Z","end":"2026-03-08T12:00:23.560000000Z"`,
		`"up":{"packets":22,"bytes":2505,"payload":517},"down":{"packets":17,"bytes":5156,"payload":4230},"began_before_capture":false`,
		`"teardown":{"kind":"reset_after_close","first":"device","fin":{"up":1,"down":1},"rst":{"up":1,"down":0}}`,
		`"retransmissions":{"up":0,"down":0},"missing":{"up":0,"down":0}`,
		`{"phase":"tcp_handshake","up":{"packets":2,"bytes":188},"down":{"packets":1,"bytes":62}}`,
	} {
		require.Contains(t, b.String(), part)
	}
	var any map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &any))
	require.Contains(t, any, "devices")
	require.NotContains(t, any, "total")
}

func TestInspectSummary(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, InspectJSON(&b, inspected(t, "gps-multiunit-start", false), InspectOptions{Account: trace.Soracom, Summary: true}))
	var got struct {
		Devices json.RawMessage
		Total   struct {
			Devices  int
			Flows    map[string]int
			Captured struct{ Up, Down struct{ Packets, Bytes int } }
			OnAir    struct{ Up, Down struct{ Packets, Bytes int } } `json:"on_air"`
			Phases   []struct{ Phase string }
			Teardown map[string]int
		}
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Nil(t, got.Devices)
	require.Equal(t, 1, got.Total.Devices)
	require.Equal(t, map[string]int{"udp": 2, "tcp": 1}, got.Total.Flows)
	require.Equal(t, 906, got.Total.Captured.Up.Bytes)
	require.Equal(t, 1694, got.Total.OnAir.Down.Bytes)
	require.Equal(t, map[string]int{"half_closed": 1}, got.Total.Teardown)
	require.Len(t, got.Total.Phases, 5)
}

// hostile is a capture whose strangers wrote what should not reach a terminal.
func hostile() *trace.Capture {
	const evil = "a\x1b[2Jb\u202ec\xff\nd"
	f := &flow.Flow{Kind: packet.TCP, Device: netip.MustParseAddrPort("10.0.0.1:1"), Peer: netip.MustParseAddrPort("[2001:db8::1]:2"),
		Name: evil, TLS: &flow.TLS{ServerName: "other" + evil}, CloseDoubt: evil, Close: flow.Open, Start: 1, End: 2}
	return &trace.Capture{File: evil, Flows: []*flow.Flow{f}, Devices: []trace.Device{{Address: f.Device.Addr(), Flows: []int{0}}},
		Completeness: trace.Completeness{Reasons: []string{evil}}}
}

func TestInspectTextIsSafe(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, InspectText(&b, hostile(), InspectOptions{Account: trace.Account{Name: "x\x1b[0m"}}))
	require.True(t, utf8.Valid(b.Bytes()))
	for _, r := range b.String() {
		require.True(t, r == '\n' || harmless(r), "%U reached the terminal", r)
	}
	require.Contains(t, b.String(), `a\x1b[2Jb\u202ec\xff\x0ad`)
}

func TestInspectJSONOfHostileNamesIsValid(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, InspectJSON(&b, hostile(), InspectOptions{}))
	require.True(t, json.Valid(b.Bytes()))
	for _, r := range b.String() {
		require.True(t, r == '\n' || harmless(r), "%U reached the output", r)
	}
}

func TestSafeJSONReadsTheSame(t *testing.T) {
	for _, s := range []string{"", "plain", "\u009b31m", "\u202eabc", "del\x7f", "tag \U000e0041", "\u65e5\u672c \U0001f4e1", "\x1b\"\\"} {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		safe := safeJSON(b)
		for _, r := range string(safe) {
			require.True(t, harmless(r), "%U in %q", r, s)
		}
		var back string
		require.NoError(t, json.Unmarshal(safe, &back))
		require.Equal(t, s, back)
	}
}

func TestInspectOfNothing(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, InspectJSON(&b, &trace.Capture{File: "empty.pcap"}, InspectOptions{}))
	require.True(t, json.Valid(b.Bytes()))
	require.NoError(t, InspectText(&b, &trace.Capture{File: "empty.pcap"}, InspectOptions{Summary: true}))
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestInspectSaysWhatItCouldNotWrite(t *testing.T) {
	require.ErrorContains(t, InspectJSON(full{}, hostile(), InspectOptions{}), "no space left")
	require.ErrorContains(t, InspectText(full{}, hostile(), InspectOptions{}), "no space left")
}
