package main

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/watch"
)

func aView() harness.TapView {
	server := netip.MustParseAddrPort("203.0.113.9:443")
	return harness.TapView{Tap: "junction", Since: 83*time.Second + 400*time.Millisecond, At: time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC),
		Stats: bench.TapStats{Received: 1234567, Filtered: 8}, Board: watch.View{Devices: 12, Flows: 34,
			Up: watch.Rate{Packets: 340_000, Bytes: 48_200_000}, Down: watch.Rate{Packets: 123, Bytes: 4567},
			Top: []watch.Device{
				{Address: netip.MustParseAddr("10.213.7.42"), Flows: 3, Up: watch.Rate{Packets: 12, Bytes: 1234}, Down: watch.Rate{Packets: 9.6, Bytes: 99_960}, Kind: packet.TCP, Peer: server, Name: "a\x1b[2J\u202eb.example"},
				{Address: netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678"), Flows: 1, Kind: packet.ICMP, Peer: netip.MustParseAddrPort("203.0.113.9:0")},
			},
			Rest: watch.Device{Flows: 30, Up: watch.Rate{Packets: 339_988}}, Others: 10}}
}

func TestScreen(t *testing.T) {
	s := &screenShow{write: "night.pcapng"}
	got := s.lines(aView(), 100)
	require.Equal(t, strings.Split(`junction · 1m23s · 340k packets/s · 48MB/s · 12 devices · 34 flows
received 1,234,567 · filtered 8 · dropped 0 · truncated 0
recording in night.pcapng

device                    flows    up p/s    up B/s  down p/s  down B/s  latest
10.213.7.42                   3        12      1.2k        10      100k  tcp a\x1b[2J\u202eb.exampl…
2001:db8:1234:5678:9abc:def0:1234:5678      1         0         0         0         0  icmp 203.0.1…
10 others                    30      340k         0         0         0`, "\n"), got)
	for columns := leastWidth; columns < 120; columns++ {
		for _, line := range s.lines(aView(), columns) {
			require.LessOrEqual(t, utf8.RuneCountInString(line), columns, "a line that wraps would push the others off the screen")
			require.NotRegexp(t, "[\x00-\x1f\u202e]", line)
		}
	}
}

// What nobody should overlook is bold and red, unless colours are not wanted.
func TestScreenAlarms(t *testing.T) {
	v := aView()
	v.Stats.Dropped, v.Trouble = 7, "write night.pcapng: no space left on device"
	colour := regexp.MustCompile("\x1b\\[1;31m(.*)\x1b\\[0m")
	alarms := colour.FindAllStringSubmatch(strings.Join((&screenShow{style: report.Style{Color: true}}).lines(v, 100), "\n"), -1)
	require.Len(t, alarms, 2)
	require.Equal(t, "received 1,234,567 · filtered 8 · dropped 7 · truncated 0", alarms[0][1])
	require.Equal(t, "NOT RECORDING: write night.pcapng: no space left on device", alarms[1][1])
	require.NotContains(t, strings.Join((&screenShow{}).lines(v, 100), "\n"), "\x1b")
}

func TestScreenWithoutASize(t *testing.T) {
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer f.Close()
	t.Setenv("COLUMNS", "")
	t.Setenv("LINES", "")
	s := &screenShow{file: f}
	columns, rows := s.size()
	require.Equal(t, []int{80, 24}, []int{columns, rows})
	require.Equal(t, 24-headRows-tailRows-1, s.rows())
	t.Setenv("COLUMNS", "132")
	t.Setenv("LINES", "50")
	columns, rows = s.size()
	require.Equal(t, []int{132, 50}, []int{columns, rows})
}

// Nothing of the show stays behind, and names of wide characters push nothing off the screen.
func TestScreenIsGivenBack(t *testing.T) {
	var out strings.Builder
	s := &screenShow{out: &out}
	s.end()
	require.Empty(t, out.String(), "what was not begun is not ended")
	s.begin()
	modes := regexp.MustCompile("\x1b\\[\\?(\\d+)([hl])")
	before := modes.FindAllStringSubmatch(out.String(), -1)
	out.Reset()
	s.end()
	after := modes.FindAllStringSubmatch(out.String(), -1)
	require.Len(t, after, len(before))
	wraps := false
	for i, mode := range before {
		undone := after[len(after)-1-i]
		require.Equal(t, mode[1], undone[1])
		require.NotEqual(t, mode[2], undone[2])
		wraps = wraps || mode[1] == "7" && mode[2] == "l"
	}
	require.True(t, wraps)
}

// A terminal is taken as it is, however small: a line too long or too many would make it scroll.
func TestSmallScreen(t *testing.T) {
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer f.Close()
	for columns := 1; columns < 60; columns += 7 {
		for rows := 1; rows < 12; rows++ {
			t.Setenv("COLUMNS", strconv.Itoa(columns))
			t.Setenv("LINES", strconv.Itoa(rows))
			var out strings.Builder
			s := &screenShow{out: &out, file: f, write: "night.pcapng"}
			require.GreaterOrEqual(t, s.rows(), 1)
			s.tell(aView())
			lines := strings.Split(regexp.MustCompile("\x1b\\[[HJK]").ReplaceAllString(out.String(), ""), "\n")
			require.LessOrEqual(t, len(lines), rows)
			for _, line := range lines {
				require.LessOrEqual(t, utf8.RuneCountInString(line), columns)
			}
		}
	}
}

// A tap that does not capture says so while it lasts, on every kind of show; so does a recording with packets missing.
func TestTapAlarms(t *testing.T) {
	from := time.Date(2026, 3, 8, 11, 59, 0, 0, time.UTC)
	lasting, over := bench.Outage{From: from, Cause: "interface tap0 vanished\x1b[2J"}, bench.Outage{From: from, To: from.Add(time.Second), Cause: "its writer died"}
	text := "NOT CAPTURING since " + clockText(from) + `: interface tap0 vanished\x1b[2J`
	views := func() (harness.TapView, harness.TapView) {
		begun, ended := aView(), aView()
		begun.Outages, begun.Missing, begun.Trouble = []bench.Outage{over, lasting}, 7, "no space left"
		lasting := lasting
		lasting.To = from.Add(time.Minute)
		ended.Outages, ended.Missing = []bench.Outage{over, lasting}, 9
		return begun, ended
	}
	begun, ended := views()

	s := &screenShow{write: "night.pcapng"}
	require.Equal(t, text+" (and 1 time before)", s.lines(begun, 120)[3])
	require.Equal(t, "NOT RECORDING: no space left", s.lines(begun, 120)[2])
	require.Contains(t, s.lines(ended, 160)[3], "not captured: from "+clockText(from)+" to "+clockText(from.Add(time.Minute)))
	require.Equal(t, "recording in night.pcapng, 9 packets missing in it", s.lines(ended, 120)[2])
	require.Empty(t, s.lines(aView(), 120)[3])

	var out strings.Builder
	lineShow{&out}.tell(begun)
	require.Contains(t, out.String(), " · NOT RECORDING: no space left · not recorded 7 · "+text+" (and 1 time before)\n")
	out.Reset()
	lineShow{&out}.tell(ended)
	require.NotContains(t, out.String(), "CAPTURING")
	out.Reset()
	jsonShow{&out}.tell(begun)
	require.Contains(t, out.String(), `"not_recording":"no space left","not_recorded":7,"not_capturing":"interface tap0 vanished\\x1b[2J"}`)
	out.Reset()
	jsonShow{&out}.tell(ended)
	require.NotContains(t, out.String(), "not_capturing")

	out.Reset()
	alarm := &alarmShow{out: &out}
	for _, v := range []harness.TapView{aView(), begun, begun, ended, ended, begunAgain(ended, from)} {
		alarm.tell(v)
	}
	require.Equal(t, outageText(over)+"\n"+text+"\nNOT RECORDING: no space left\ncapturing again since "+clockText(from.Add(time.Minute))+"\n"+
		"NOT CAPTURING since "+clockText(from.Add(time.Hour))+": gone\n", out.String())
}

func begunAgain(v harness.TapView, from time.Time) harness.TapView {
	v.Outages = append(v.Outages, bench.Outage{From: from.Add(time.Hour), Cause: "gone"})
	return v
}

// A capture that only somebody's eyes are for ends when they turn away.
func TestTapUnheard(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	out := heard(w)
	fmt.Fprintln(out, "somebody reads")
	require.False(t, unheard(out))
	require.NoError(t, r.Close())
	_, err = fmt.Fprintln(out, "nobody does")
	require.NoError(t, err)
	require.True(t, unheard(out))
	result, err := harness.Tap(t.Context(), harness.TapOptions{Name: "file", Words: []string{"path=../../fixtures/captures/wio-lte-http.pcap", "pace=own"},
		Unheard: func() bool { return unheard(out) }})
	require.NoError(t, err)
	require.Equal(t, harness.TapAsked, result.End, "the file's 91 seconds are not waited for")
}

func TestTapLines(t *testing.T) {
	var out strings.Builder
	lineShow{&out}.tell(aView())
	require.Equal(t, `12:00:00 received 1234567 filtered 8 dropped 0 truncated 0 · up 340k packets/s 48MB/s · down 123 packets/s 4.6kB/s · 12 devices 34 flows · busiest 10.213.7.42 tcp a\x1b[2J\u202eb.example 203.0.113.9:443`+"\n", out.String())
	out.Reset()
	jsonShow{&out}.tell(aView())
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.NotRegexp(t, "[\x00-\x09\x0b-\x1f\u202e]", out.String())
	require.Contains(t, out.String(), `"name":"a\\x1b[2J\\u202eb.example"`)
}

func TestShort(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.4: "0", 9.6: "10", 999: "999", 999.6: "1.0k", 1234: "1.2k", 9949: "9.9k", 9951: "10k", 340_000: "340k", 999_600: "1.0M", 4.8e9: "4.8G", 7e15: "7P", 3e18: "3000P"} {
		require.Equal(t, want, short(x), x)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"4096": 4096, "64KiB": 65536, "100MiB": 100 << 20, "2 GB": 2e9, "1TiB": 1 << 40, "5kB": 5000} {
		got, err := parseBytes(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "1", "4095", "-5MiB", "5 m", "99999999TiB", "1.5GiB", "MiB"} {
		_, err := parseBytes(text)
		require.Error(t, err, text)
	}
}

// What was not captured is told with its times and its cause, which a stranger may have written.
func TestTapOutages(t *testing.T) {
	from := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)
	r := harness.TapResult{Capture: &trace.Capture{}, Outages: []bench.Outage{
		{From: from, To: from.Add(90 * time.Second), Cause: "ssh said \x1b[2J"}, {From: from.Add(time.Hour), Cause: "its writer has gone"}}}
	var out strings.Builder
	(&app{err: &out}).tapSummary(&r, harness.TapOptions{})
	require.Contains(t, out.String(), `not captured: from `+clockText(from)+` to `+clockText(from.Add(90*time.Second))+`: ssh said \x1b[2J`+"\n")
	require.Contains(t, out.String(), " to the end: its writer has gone\n")
	require.Equal(t, []tapHole{{From: "2026-03-08T12:00:00Z", To: "2026-03-08T12:01:30Z", Cause: `ssh said \x1b[2J`}, {From: "2026-03-08T13:00:00Z", Cause: "its writer has gone"}}, endOf(&r).Outages)
}

func TestTapExit(t *testing.T) {
	gap := &trace.RecordingEvidence{Gaps: []trace.RecordingGap{{Frames: 1}}}
	for name, c := range map[string]struct {
		f    tapFlags
		r    harness.TapResult
		want int
	}{
		"Ctrl-C, nothing else to end it": {tapFlags{}, harness.TapResult{End: harness.TapInterrupted}, 0},
		"Ctrl-C before the count":        {tapFlags{count: 5}, harness.TapResult{End: harness.TapInterrupted}, 130},
		"Ctrl-C before the time":         {tapFlags{duration: 5}, harness.TapResult{End: harness.TapInterrupted}, 130},
		"the count":                      {tapFlags{count: 5}, harness.TapResult{End: harness.TapAsked}, 0},
		"the source's end":               {tapFlags{}, harness.TapResult{End: harness.TapSource}, 0},
		"broken":                         {tapFlags{}, harness.TapResult{End: harness.TapBroke}, 3},
		"not all recorded":               {tapFlags{write: "x"}, harness.TapResult{End: harness.TapInterrupted, Recording: gap}, 3},
		"it did not capture for a while": {tapFlags{}, harness.TapResult{End: harness.TapInterrupted, Outages: []bench.Outage{{}}}, 3},
		"its reader has gone":            {tapFlags{write: "-"}, harness.TapResult{End: harness.TapAsked, Recording: gap}, 0},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, c.f.exit(&c.r)) })
	}
}

// Packets are strangers' bytes: a terminal would take them for commands.
func TestTapIsNotWrittenToATerminal(t *testing.T) {
	master, terminal, err := pty.Open()
	if err != nil {
		t.Skip("no pseudo terminal here:", err)
	}
	defer master.Close()
	defer terminal.Close()
	t.Setenv("TERM", "xterm")
	out := os.Stdout
	os.Stdout = terminal
	defer func() { os.Stdout = out }()
	_, err = tapFlags{write: "-", every: time.Second}.options([]string{"vxlan"})
	require.ErrorContains(t, err, "--write -: standard output is a terminal")
	_, err = tapFlags{write: "night.pcapng", every: time.Second}.options([]string{"vxlan"})
	require.NoError(t, err)
}
