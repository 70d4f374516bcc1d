package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenText wants text to be what the file holds.
func goldenText(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "renew it: go test ./harness/report -update")
}

// httpRun is a run over the capture of the article's HTTP table, with one finding of each verdict.
func httpRun(t *testing.T) *Run {
	t.Helper()
	f, err := os.Open("../../fixtures/captures/wio-lte-http.pcap")
	require.NoError(t, err)
	defer f.Close()
	c, err := trace.Read(f, "capture.pcapng", trace.Options{KeepFlows: true, KeepPackets: true})
	require.NoError(t, err)
	begin := time.Unix(0, c.First).UTC().Add(-5 * time.Second)
	tr := &trace.Trace{
		Scenario: "wio-lte/http", File: "scenarios/wio-lte/http.yaml", About: "A GET.", Bench: "sim", Device: "wio-lte stock", Model: "wio-lte",
		Account: trace.Soracom, Begin: begin, End: begin.Add(100 * time.Second), Wall: 2100 * time.Millisecond, Capture: c,
		Windows: []trace.Window{{Name: "get", From: begin, To: begin.Add(99 * time.Second)}},
		Timeline: []trace.Event{
			{Time: begin, Kind: trace.EventRun, Name: "wio-lte/http", State: "begin"},
			{Time: begin, Kind: trace.EventStep, Name: "device.reset:", State: "skipped", Text: "${cold} == yes", Line: 9},
		},
	}
	reset := lastReset(t, c)
	return &Run{Trace: tr, Verdict: verdict.Fail, Dir: "runs/2026-11-22T013833-wio-lte-http", Version: "v1", Findings: []verdict.Finding{
		{Claim: "bytes: {up: <= 1134, down: <= 1220}", Kind: "bytes", Scope: "window get", Verdict: verdict.Pass, Reason: "1,134 B up; 1,220 B down"},
		{Claim: "resets: none", Kind: "resets", Scope: "window get", Where: "expectations/wio-lte/http.yaml:14:5", Verdict: verdict.Fail,
			Reason: "1 RST from the device", Witnesses: []verdict.Witness{reset}, Flows: []int{reset.Flow}},
		{Claim: "packets: {up: <= 10}", Kind: "packets", Scope: "window get", Verdict: verdict.Inconclusive,
			Reason: "10 packets up; not decided, because the mirror lost one", Doubt: "the mirror lost one"},
		{Claim: "tls: none", Kind: "tls", Verdict: verdict.Inconclusive, Reason: "no TLS; not decided, because the mirror lost one", Doubt: "the mirror lost one"},
		{Claim: "teardown: reset_after_close", Kind: "teardown", Verdict: verdict.Pass, Reason: "so it was", Doubt: "what was seen"},
	}}
}

func lastReset(t *testing.T, c *trace.Capture) verdict.Witness {
	for _, f := range c.Flows {
		for _, p := range f.Packets {
			if p.Phase == flow.Reset {
				return verdict.Witness{Number: p.Number, Time: p.Time, Flow: f.ID, Note: "60 s late"}
			}
		}
	}
	t.Fatal("the fixture has no RST")
	return verdict.Witness{}
}

func terminal(t *testing.T, r *Run, s Style) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Terminal(&b, r, s))
	return b.String()
}

func TestTerminal(t *testing.T) {
	goldenText(t, "terminal.txt", terminal(t, httpRun(t), Style{}))
}

func TestColours(t *testing.T) {
	r := httpRun(t)
	require.NotContains(t, terminal(t, r, Style{}), "\x1b", "none unless they are wanted")
	require.Contains(t, terminal(t, r, Style{Color: true}), "\x1b[1m\x1b[31mFAIL\x1b[0m")
}

func TestNothingExpected(t *testing.T) {
	r := httpRun(t)
	r.Findings, r.Verdict = nil, verdict.Inconclusive
	require.Contains(t, terminal(t, r, Style{}), "nothing was expected, so nothing was proved")
}

func TestTroubleComesFirst(t *testing.T) {
	r := httpRun(t)
	r.Trace.Trouble, r.Trace.Interrupted, r.Trace.Capture = "the port is gone", true, nil
	text := terminal(t, r, Style{})
	require.Contains(t, text, "interrupted; there was no cleanup to carry out")
	require.Contains(t, text, "the run itself went wrong: the port is gone")
	_, err := HTML(r)
	require.NoError(t, err)

	step := func(name, state string) trace.Event {
		return trace.Event{Kind: trace.EventStep, Name: name, State: state, Step: "cleanup[0]"}
	}
	r.Trace.Timeline = append(r.Trace.Timeline, step("device.deactivate", "begin"), step("device.deactivate", "ok"))
	require.Contains(t, terminal(t, r, Style{}), "interrupted; the cleanup was carried out")
	r.Trace.Timeline = append(r.Trace.Timeline, step("device.off", "begin"), step("device.off", "failed"))
	require.Contains(t, terminal(t, r, Style{}), "interrupted; the cleanup was tried and failed: device.off")
	page, err := HTML(r)
	require.NoError(t, err)
	require.Contains(t, string(page), "interrupted; the cleanup was tried and failed: device.off.")
}

// Many windows of one name take a line each, and the first that failed are shown in full.
func TestManyWindows(t *testing.T) {
	r := httpRun(t)
	r.Trace.Windows = nil
	for i := 1; i <= 5; i++ {
		r.Trace.Windows = append(r.Trace.Windows, trace.Window{Name: "cycle", Index: i, From: r.Trace.Begin, To: r.Trace.End})
	}
	r.Findings = []verdict.Finding{{Claim: "packets: {up: <= 9}", Kind: "packets", Scope: "window cycle[4]", Verdict: verdict.Fail, Reason: "10"}}
	text := terminal(t, r, Style{})
	require.Equal(t, 1, strings.Count(text, "  cycle   "), "one head")
	require.Regexp(t, `(?m)^    cycle\[5\] +10 +1,134 B +7 +1,220 B$`, text)
	require.Regexp(t, `(?m)^    cycle\[4\] .*✗ packets up ≤ 9$`, text)
	require.Regexp(t, `(?m)^  cycle\[4\] +up +down    account soracom$`, text)
	require.NotRegexp(t, `(?m)^  cycle\[3\] +up`, text)
}

// Bytes are counted as the claims beside them count, and a claim that counts otherwise says so.
func TestTablesCountAsTheClaimsDo(t *testing.T) {
	r := httpRun(t)
	r.Trace.Account, r.Account = trace.Wire, trace.Soracom
	r.Findings = []verdict.Finding{
		{Claim: "bytes: {up: <= 1134}", Kind: "bytes", Scope: "window get, account soracom", Verdict: verdict.Pass},
		{Claim: "bytes: {down: 1220}", Kind: "bytes", Scope: "window get", Verdict: verdict.Pass},
	}
	text := terminal(t, r, Style{})
	require.Contains(t, text, "    account soracom\n")
	require.Regexp(t, `total +10 +1,134 B +7 +1,220 B    ✓ bytes up ≤ 1,134   ✓ bytes down 1,220 \(account wire\)`, text)
	b, err := JSON(r)
	require.NoError(t, err)
	require.Contains(t, string(b), `"account": "soracom"`)
	page, err := HTML(r)
	require.NoError(t, err)
	require.Contains(t, string(page), "Bytes as the account “soracom” counts them.")
	require.Contains(t, string(page), "1,134 B")

	r.Account = trace.Account{}
	text = terminal(t, r, Style{})
	require.NotContains(t, text, "    account")
	require.Regexp(t, `total +10 +774 B +7 +1,220 B    ✓ bytes up ≤ 1,134 \(account soracom\)   ✓ bytes down 1,220$`, strings.Split(text, "\n\n")[1])
}

// A long flow is cut in the middle, never around a witness.
func TestLongFlow(t *testing.T) {
	f := &flow.Flow{ID: 0}
	for i := range 500 {
		f.Packets = append(f.Packets, flow.Packet{Number: uint64(i + 1), Time: int64(i) * 1e6, Air: 1})
	}
	r := &Run{Trace: &trace.Trace{Capture: &trace.Capture{Flows: []*flow.Flow{f}}}}
	ls := listing(r, &verdict.Finding{Flows: []int{0}, Witnesses: []verdict.Witness{{Number: 250}}})
	var numbers []string
	for _, l := range ls {
		switch {
		case l.left > 0:
			numbers = append(numbers, fmt.Sprintf("-%d", l.left))
		case l.here:
			numbers = append(numbers, fmt.Sprintf("*%d", l.number))
		case l.head == "":
			numbers = append(numbers, fmt.Sprint(l.number))
		}
	}
	require.Equal(t, "1 2 3 4 5 6 7 8 -237 246 247 248 249 *250 251 252 253 254 -238 493 494 495 496 497 498 499 500", strings.Join(numbers, " "))
}

func TestJSONIsStable(t *testing.T) {
	b, err := JSON(httpRun(t))
	require.NoError(t, err)
	goldenText(t, "result.json", string(b))
	again, err := JSON(httpRun(t))
	require.NoError(t, err)
	require.Equal(t, string(b), string(again))
}

func TestJUnit(t *testing.T) {
	b, err := JUnit(httpRun(t), httpRun(t))
	require.NoError(t, err)
	var suites junitSuites
	require.NoError(t, xml.Unmarshal(b, &suites))
	require.Equal(t, 2, len(suites.Suites))
	require.Equal(t, []int{12, 2, 4, 2}, []int{suites.Tests, suites.Failures, suites.Errors, suites.Skipped})
	cases := suites.Suites[0].Cases
	require.Equal(t, "expectations/wio-lte/http.yaml", cases[1].File)
	require.Equal(t, 14, cases[1].Line)
	require.Equal(t, "1 RST from the device", cases[1].Failure.Message)
	require.Contains(t, cases[1].Failure.Text, "◄ here")
	require.Equal(t, "its condition does not hold: ${cold} == yes", cases[5].Skipped.Message)
}

func TestPlace(t *testing.T) {
	for where, want := range map[string]string{
		"a/b.yaml:14:5": "a/b.yaml 14", `C:\b.yaml:3:1`: `C:\b.yaml 3`, "b.yaml": "b.yaml 0", "": " 0", "a:b:c": "a:b:c 0",
	} {
		file, line := place(where)
		require.Equal(t, want, fmt.Sprintf("%s %d", file, line), where)
	}
}

// What strangers wrote can't act on a terminal, a page or a CI system.
func TestHostileTexts(t *testing.T) {
	const evil = "\x1b]0;x\x07<script>alert(1)</script>\u202e&\"'\x00]]>"
	r := httpRun(t)
	tr := r.Trace
	tr.Scenario, tr.About, tr.Device, tr.Trouble = evil, evil, evil, evil
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Claim, f.Reason, f.Doubt = f.Claim+evil, evil, evil
	}
	for _, f := range tr.Capture.Flows {
		f.Name = evil
	}
	tr.Timeline = append(tr.Timeline, trace.Event{Kind: trace.EventConsole, Text: evil, Name: evil})
	text := terminal(t, r, Style{})
	require.NotContains(t, text, "\x1b")
	require.NotContains(t, text, "\u202e")
	page, err := HTML(r)
	require.NoError(t, err)
	require.NotContains(t, string(page), "<script")
	require.NotContains(t, string(page), "\x1b")
	b, err := JUnit(r)
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(b, new(junitSuites)))
	b, err = JSON(r)
	require.NoError(t, err)
	require.True(t, json.Valid(b))
}

func TestHTMLIsSelfContained(t *testing.T) {
	page, err := HTML(httpRun(t))
	require.NoError(t, err)
	for _, outside := range []string{"http://", "https://", "src=", "<link", "@import", "url("} {
		require.False(t, bytes.Contains(page, []byte(outside)), outside)
	}
	require.Contains(t, string(page), "prefers-color-scheme: dark")
	require.Contains(t, string(page), "◄ here")
}
