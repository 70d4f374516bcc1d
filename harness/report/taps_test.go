package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/trace"
)

// placesRun is a run with two taps at the mirror, of which one lost packets, and one behind a gateway; what a tap is called is a
// stranger's text.
func placesRun(t *testing.T) *Run {
	r := httpRun(t)
	c := r.Trace.Capture
	other := *httpRun(t).Trace.Capture
	c.Place, c.Taps = "before", []trace.Tap{
		{Name: "ring", Place: "before", Frames: 17, Packets: 17, Copies: 14},
		{Name: "sock\x1b[2J", Place: "before", Frames: 14, Packets: 14, Copies: 14, Missed: 3, Dropped: 3, Ahead: -1500 * time.Microsecond},
	}
	other.Place, other.Taps = "gate", []trace.Tap{{Name: "gate", Place: "gate", Frames: 17, Packets: 17, Truncated: 2}}
	c.Others = []*trace.Capture{&other}
	at := r.Trace.Begin.Add(time.Minute)
	r.Trace.Evidence.Taps = []trace.TapEvidence{
		{Name: "ring", Place: "before", ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true, Received: 18},
		{Name: "sock\x1b[2J", Place: "before", ReadyBefore: true, Flushed: true, Received: 15, Dropped: 4, Outages: []trace.Outage{{From: at, To: at.Add(2500 * time.Millisecond), Cause: "ssh ended"}}},
		{Name: "gate", Place: "gate", ReadyBefore: true, Flushed: true, Received: 17, Truncated: 2, Doubt: "nobody counts"},
	}
	return r
}

const tapTable = `  taps           place   received   packets    copies    missed   dropped       cut
    ring         before        18        17        14         0         0         0
    sock\x1b[2J  before        15        14        14         3         4         0
                 its clock is 1.5ms behind the first tap's
                 did not capture for 2.5 s from 11:59:47.000 on: ssh ended
    gate         gate          17        17         –         –         0         2
                 nobody counts
`

func TestTapsInTheTerminal(t *testing.T) {
	text := terminal(t, placesRun(t), Style{})
	require.Contains(t, text, "\n"+tapTable+"    at gate in the whole run: 10 up, 1,134 B · 7 down, 1,220 B\n")
	require.Contains(t, text, "\n  capture at gate broken: tap gate cut 2 packets short")
	require.NotContains(t, text, "\x1b")
	require.Contains(t, terminal(t, placesRun(t), Style{Color: true}), "\x1b[31m  gate  ", "what is lost is red")
	require.NotContains(t, terminal(t, httpRun(t), Style{}), "taps", "one tap is told by the completeness")
}

func TestTapsElsewhere(t *testing.T) {
	page, err := HTML(placesRun(t))
	require.NoError(t, err)
	require.Contains(t, string(page), `<tr><td>sock\x1b[2J</td><td>before</td><td class="n">15</td><td class="n">14</td><td class="n">14</td><td class="n">3</td><td class="n fail">4</td><td class="n">0</td></tr>`)
	require.Contains(t, string(page), "At <b>gate</b> in the whole run: 10 up, 1,134 B · 7 down, 1,220 B · capture broken")
	page, err = HTML(httpRun(t))
	require.NoError(t, err)
	require.NotContains(t, string(page), "<h2>Taps</h2>")

	b, err := JUnit(placesRun(t))
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(b, new(junitSuites)))
	require.Contains(t, string(b), `<property name="tap gate" value="at gate: packets 17, copies –, missed –, dropped 0, cut 2">`)

	b, err = JSON(placesRun(t))
	require.NoError(t, err)
	var got struct {
		Taps   []map[string]any
		Places []map[string]any
	}
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, map[string]any{"tap": "ring", "place": "before", "received": 18.0, "packets": 17.0, "copies": 14.0, "missed": 0.0, "dropped": 0.0, "cut": 0.0}, got.Taps[0])
	require.Equal(t, map[string]any{"tap": "gate", "place": "gate", "received": 17.0, "packets": 17.0, "dropped": 0.0, "cut": 2.0, "notes": []any{"nobody counts"}}, got.Taps[2])
	require.Equal(t, "gate", got.Places[0]["place"])
	require.Equal(t, map[string]any{"packets": 10.0, "bytes": 1134.0}, got.Places[0]["up"])
	require.Equal(t, "broken", got.Places[0]["completeness"].(map[string]any)["state"])
}

// What several taps captured is shown by inspect, too: as a run's, with all that it knows, and as a bare capture.
func TestInspectTaps(t *testing.T) {
	r := placesRun(t)
	show := func(o InspectOptions, as func(*bytes.Buffer, InspectOptions) error) string {
		var b bytes.Buffer
		require.NoError(t, as(&b, o))
		return b.String()
	}
	text := func(b *bytes.Buffer, o InspectOptions) error { return InspectText(b, r.Trace.Capture, o) }
	asJSON := func(b *bytes.Buffer, o InspectOptions) error { return InspectJSON(b, r.Trace.Capture, o) }
	got := show(InspectOptions{Run: r.Trace}, text)
	require.Contains(t, got, "\nwio-lte/http · sim · wio-lte stock\n")
	require.Contains(t, got, "\n"+tapTable+"\nat before\n")
	require.Equal(t, 2, strings.Count(got, "    tcp_handshake"), "of each place")
	require.Contains(t, got, "\nat gate\n")
	require.Contains(t, got, "    tap gate cut 2 packets short behind their headers\n")

	got = show(InspectOptions{}, text)
	require.Regexp(t, `(?m)^    ring +before +– +17 +14 +0 +0 +0$`, got)
	require.Equal(t, 1, strings.Count(show(InspectOptions{Summary: true}, text), "at gate"))

	for _, o := range []InspectOptions{{}, {Summary: true}, {Run: r.Trace}} {
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(show(o, asJSON)), &v))
		require.Len(t, v["taps"], 3)
		place := v["places"].([]any)[0].(map[string]any)
		require.Equal(t, "gate", place["place"])
		require.Equal(t, o.Summary, place["total"] != nil)
		require.Equal(t, o.Run != nil, v["run"] != nil)
	}
}

// A bare capture of one tap has nothing to tell of taps.
func TestInspectOneTap(t *testing.T) {
	f, err := os.Open("../../fixtures/captures/wio-lte-http.pcap")
	require.NoError(t, err)
	defer f.Close()
	c, err := trace.Read(f, "x", trace.Options{KeepFlows: true})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, InspectJSON(&b, c, InspectOptions{}))
	require.NotContains(t, b.String(), `"taps"`)
}
