package harness

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// What strangers can write where Tollgate reads: ANSI sequences of 7 and 8 bits, markup, what turns the direction of text,
// NUL, line ends, bytes that are no UTF-8, a template's braces, the end of a CDATA section.
var hostileTexts = map[string]string{
	"ansi":       "\x1b[2J\x1b]0;owned\x07",
	"8-bit ansi": "\u009b31m\u0090x\u009c",
	"markup":     `<script>alert(1)</script><img src=x onerror=alert(1)>"'&]]>{{.}}`,
	"bidi":       "exe.\u202etxt\u2066\u200b\ufeff",
	"lines":      "a\r\n::error::b\x00\x08\x7f\u2028",
	"no utf-8":   "\xff\xfe\xc0\xaf\xed\xa0\x80",
	"long":       strings.Repeat("\x1b[31mlong", 7300), // 64 KiB
}

// Whatever strangers write in a lookup, a TLS hello, an HTTP host, an MQTT topic, on the console or in the carrier's
// answers, nothing that a person looks at is given more than printable text, and no page more than text.
func TestHostileTextsInEveryOutput(t *testing.T) {
	for name, evil := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			dir := hostileRun(t, evil)
			set, err := expectations.Parse("hostile.yaml", 1, []byte(hostileClaims))
			require.NoError(t, err)
			r, err := JudgeRun(dir, set, false)
			require.NoError(t, err)
			require.Equal(t, verdict.Fail, r.Verdict)
			told := 0
			for _, f := range r.Findings {
				if text := f.Reason + f.Got; report.Safe(text) != text || strings.Contains(text, "<script") || strings.Contains(text, "\ufffd") {
					told++
				}
			}
			require.GreaterOrEqual(t, told, 3, "the findings tell of the texts")
			require.NoError(t, report.Write(r, trace.CaptureFile))

			var text, inspected, machine bytes.Buffer
			require.NoError(t, report.Terminal(&text, r, report.Style{Width: 100}))
			require.NoError(t, report.InspectText(&inspected, r.Trace.Capture, report.InspectOptions{}))
			require.NoError(t, report.InspectJSON(&machine, r.Trace.Capture, report.InspectOptions{}))
			written, err := expectations.FromTrace(r.Trace)
			require.NoError(t, err)
			shown := map[string][]byte{"terminal": text.Bytes(), "inspect": inspected.Bytes(), "inspect --json": machine.Bytes(), "expect": written,
				"comments": commentsOf(t, filepath.Join(dir, trace.CaptureFile))}
			for _, file := range []string{report.ResultFile, report.JUnitFile, report.HTMLFile} {
				shown[file], err = os.ReadFile(filepath.Join(dir, file))
				require.NoError(t, err)
			}
			for where, b := range shown {
				requireHarmless(t, where, b)
			}
			require.True(t, json.Valid(shown[report.ResultFile]))
			require.True(t, json.Valid(machine.Bytes()))
			requireXML(t, shown[report.JUnitFile])
			for _, markup := range []string{"<script", "<img", "onerror=alert(1)>"} {
				require.NotContains(t, string(shown[report.HTMLFile]), markup)
			}
			_, err = expectations.Parse("written.yaml", 1, written)
			require.NoError(t, err, "%s", written)
		})
	}
}

// requireHarmless wants text of which every character shows itself and nothing else.
func requireHarmless(t *testing.T, where string, b []byte) {
	t.Helper()
	require.NotEmpty(t, b, where)
	require.True(t, utf8.Valid(b), "%s: bytes that are no UTF-8", where)
	for i, r := range string(b) {
		if r != '\n' && report.Safe(string(r)) != string(r) {
			require.Fail(t, "a character that is not shown as it is", "%s: %U at %d: %q", where, r, i, b[max(0, i-40):min(len(b), i+40)])
		}
	}
}

func requireXML(t *testing.T, b []byte) {
	t.Helper()
	for in := xml.NewDecoder(bytes.NewReader(b)); ; {
		_, err := in.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

// hostileClaims fail, each for another stranger's text.
const hostileClaims = `expect:
  - dns: {only: nobody.example}
  - destinations: [nobody.example]
  - destinations: {deny: ":80"}
  - destinations: {deny: ":443"}
  - mqtt: {absent: publish}
  - resets: none
  - teardown: clean
  - packets: none
`

// hostileRun saves a run whose packets, console and carrier say evil.
func hostileRun(t *testing.T, evil string) string {
	dir := t.TempDir()
	w := synth.New(synth.Options{Mirror: synth.GRE})
	device, peer, resolver := synth.NewHost("10.213.7.42", 100), synth.NewHost("52.219.0.180", 1), synth.NewHost("100.127.0.53", 1)
	dns := w.UDP(device, 40000, resolver, 53)
	query := hostileQuery(evil)
	dns.Send(synth.Up, query)
	answer := bytes.Clone(query)
	answer[2] |= 0x80 // a response (RFC 1035, 4.1.1)
	binary.BigEndian.PutUint16(answer[6:], 1)
	dns.Send(synth.Down, append(answer, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 52, 219, 0, 180))
	host := evil
	if strings.ContainsAny(evil, "\r\n") {
		host = strings.NewReplacer("\r", "", "\n", "").Replace(evil) // a line end ends a header
	}
	for i, payload := range [][]byte{
		fmt.Appendf(nil, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", "x", host),
		synth.ClientHello(evil[:min(len(evil), 16000)], 1),
		append(synth.MQTTPacket(0x10, append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60}, prefixed("meter")...)),
			synth.MQTTPacket(0x30, append(prefixed(evil), "21.4"...))...),
	} {
		c := w.TCP(device, uint16(40001+i), peer, []uint16{80, 443, 1883}[i]).Open()
		for len(payload) > 0 {
			n := min(len(payload), synth.DefaultMSS)
			c.Exchange(synth.Up, payload[:n])
			payload = payload[n:]
		}
		c.Rst(synth.Up)
	}
	var capture bytes.Buffer
	require.NoError(t, synth.WritePcapng(&capture, w.Frames))
	require.NoError(t, os.WriteFile(filepath.Join(dir, trace.CaptureFile), capture.Bytes(), 0o644))
	begin, end := w.Frames[0].Time.Add(-time.Second), w.Now()
	event := func(kind trace.EventKind, name, state, text string) trace.Event {
		return trace.Event{Time: begin, Kind: kind, Name: name, State: state, Text: text, Step: "steps[0]"}
	}
	tr := &trace.Trace{Scenario: "made/hostile" + evil, File: "hostile.yaml", About: evil, Device: evil, Model: evil, Bench: evil, Account: trace.Soracom,
		Begin: begin, End: end, Trouble: evil, Failed: evil, Capture: &trace.Capture{File: trace.CaptureFile},
		Windows: []trace.Window{{Name: "get", From: begin, To: end}},
		Timeline: []trace.Event{event(trace.EventConsole, "", "", evil), event(trace.EventCarrier, "session.created"+evil, "told", evil),
			event(trace.EventStep, evil, "skipped", evil), event(trace.EventTap, evil, "ready", evil), event(trace.EventStep, evil, "failed", evil)},
		Evidence: trace.Evidence{Taps: []trace.TapEvidence{{Name: evil, ReadyBefore: true, Flushed: true, Error: evil}}}}
	require.NoError(t, tr.Save(dir))
	return dir
}

func prefixed(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// hostileQuery asks for a name of a label of evil bytes (RFC 1035, 3.1: a label may hold any).
func hostileQuery(evil string) []byte {
	label := evil[:min(len(evil), 63)]
	b := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(label))}
	b = append(append(b, label...), 7)
	return append(append(b, "example"...), 0, 0, 1, 0, 1)
}

// commentsOf gives the packets' comments of a capture, a line each.
func commentsOf(t *testing.T, path string) []byte {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	const enhanced, fixed, comment = 6, 28, 1 // draft-ietf-opsawg-pcapng, 4.3 and 3.5.1
	var out []byte
	for len(data) >= 12 {
		length := int(binary.LittleEndian.Uint32(data[4:]))
		block := data[:length]
		data = data[length:]
		if binary.LittleEndian.Uint32(block) != enhanced {
			continue
		}
		options := block[fixed+(int(binary.LittleEndian.Uint32(block[20:]))+3)&^3 : length-4]
		for len(options) >= 4 {
			n := int(binary.LittleEndian.Uint16(options[2:]))
			if binary.LittleEndian.Uint16(options) == comment {
				out = append(append(out, options[4:4+n]...), '\n')
			}
			options = options[min(len(options), 4+(n+3)&^3):]
		}
	}
	return out
}
