package expectations

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/scenario/schematest"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// frame is one captured frame of a fixture.
type frame struct {
	time   int64
	data   []byte
	length int
}

// framesOf reads the frames of a capture under fixtures/captures.
func framesOf(t require.TestingT, name string) []frame {
	data, err := os.ReadFile(filepath.Join("..", "fixtures", "captures", name+".pcap"))
	require.NoError(t, err)
	in, err := pcap.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	var out []frame
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		require.Equal(t, pcap.LinkEthernet, rec.Link)
		out = append(out, frame{rec.Time, bytes.Clone(rec.Data), rec.Length})
	}
}

// fixtureNames lists the fixtures.
func fixtureNames(t require.TestingT) []string {
	paths, err := filepath.Glob(filepath.Join("..", "fixtures", "captures", "*.pcap"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(p), ".pcap")
	}
	return paths
}

// pack writes frames as a pcap file with a clock of nanoseconds.
func pack(frames []frame) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	out = binary.LittleEndian.AppendUint16(out, 2)
	out = binary.LittleEndian.AppendUint16(out, 4)
	for _, v := range []uint32{0, 0, 1 << 18, 1} {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	for _, f := range frames {
		for _, v := range []uint32{uint32(f.time / 1e9), uint32(f.time % 1e9), uint32(len(f.data)), uint32(f.length)} {
			out = binary.LittleEndian.AppendUint32(out, v)
		}
		out = append(out, f.data...)
	}
	return out
}

// analyse reads frames into a trace with nothing but the packets in it.
func analyse(t require.TestingT, frames []frame) *trace.Trace {
	c, err := trace.Read(bytes.NewReader(pack(frames)), "fixture.pcap", trace.Options{KeepFlows: true, KeepPackets: true})
	require.NoError(t, err)
	return &trace.Trace{Account: trace.Soracom, Capture: c}
}

// proved gives a trace the run's evidence that its tap saw everything.
func proved(t *trace.Trace) *trace.Trace {
	t.Evidence = allEvidence(t.Capture.Frames)
	t.Begin, t.End = time.Unix(0, t.Capture.First).Add(-time.Second), time.Unix(0, t.Capture.Last).Add(time.Second)
	return t
}

// windowed puts the whole of a trace in a window.
func windowed(t *trace.Trace, name string) *trace.Trace {
	t.Windows = []trace.Window{{Name: name, From: time.Unix(0, t.Capture.First), To: time.Unix(0, t.Capture.Last+1)}}
	return t
}

// The shipped files, judged on captures of the very exchanges that they are about.
func TestBuiltinFilesOnTheirCaptures(t *testing.T) {
	for name, fixture := range map[string]string{"button/click": "button-click", "gps-multiunit/start": "gps-multiunit-start", "wio-lte/http": "wio-lte-http",
		"wio-lte/https": "wio-lte-https", "wio-lte/beam-http": "wio-lte-beam-http", "wio-lte/beam-tcp": "wio-lte-beam-tcp", "wio-lte/beam-udp": "wio-lte-beam-udp"} {
		t.Run(name, func(t *testing.T) {
			set, err := Builtin(name)
			require.NoError(t, err)
			run := windowed(proved(analyse(t, framesOf(t, fixture))), set.Window)
			run.Scenario = name
			bare := analyse(t, framesOf(t, fixture)) // a capture of no run stands for the window
			for _, f := range append(set.Judge(run, Options{}), set.Judge(bare, Options{})...) {
				want := verdict.Pass
				if name == "wio-lte/http" && f.Kind == "resets" {
					want = verdict.Fail
					require.Regexp(t, `^1 RST from the device at \d\d:\d\d:\d\d\.\d{3} \(packet 17\), 60\.0 s after both FINs$`, f.Reason)
					require.Len(t, f.Flows, 1)
				}
				require.Equal(t, want, f.Verdict, "%s: %s", f.Claim, f.Reason)
			}
		})
	}
}

// The published tables, packet for packet and byte for byte, on the captures made to them.
func TestExactTables(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "exact", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 7)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			set, err := Parse(file, 1, data)
			require.NoError(t, err)
			require.NoError(t, schematest.Compile(t, Schema()).Judge(t, data))
			for _, f := range set.Judge(proved(analyse(t, framesOf(t, name))), Options{Strict: true}) {
				require.Equal(t, verdict.Pass, f.Verdict, "%s (%s): %s", f.Claim, f.Scope, f.Reason)
			}
		})
	}
}

// What FromTrace writes is a file that passes on the record it was written from, and says what a person would.
func TestFromTrace(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			for _, tr := range []*trace.Trace{analyse(t, framesOf(t, name)), proved(analyse(t, framesOf(t, name))), windowed(proved(analyse(t, framesOf(t, name))), "get")} {
				text, err := FromTrace(tr)
				require.NoError(t, err)
				set, err := Parse(name+".yaml", 1, text)
				require.NoError(t, err, string(text))
				require.NoError(t, schematest.Compile(t, Schema()).Judge(t, text), string(text))
				broken := tr.Capture.Completeness.State == trace.Broken
				for _, f := range set.Judge(tr, Options{}) {
					require.NotEqual(t, verdict.Fail, f.Verdict, "%s: %s", f.Claim, f.Reason)
					require.True(t, broken || f.Verdict == verdict.Pass, "%s: %s", f.Claim, f.Reason)
				}
			}
		})
	}
	bare := analyse(t, framesOf(t, "wio-lte-http"))
	bare.Capture.File = filepath.Join("somebodys", "own", "place.pcap")
	text, err := FromTrace(bare)
	require.NoError(t, err)
	require.Contains(t, string(text), "\nabout: \"What a good capture shows: place.pcap\"\n", "nobody checks in where a file lay")

	tr := windowed(proved(analyse(t, framesOf(t, "wio-lte-http"))), "get")
	tr.Scenario = "wio-lte/http"
	text, err = FromTrace(tr)
	require.NoError(t, err)
	require.Equal(t, `# yaml-language-server: $schema=../expectation.schema.json
about: "What a good run of wio-lte/http did."
account: soracom
window: get
expect:
  - packets: {up: <= 10, down: <= 7}
  - bytes: {up: <= 1134, down: <= 1220}
  - teardown: reset_after_close
  - resets: {up: <= 1, down: none}
  - retransmissions: none
  - dns: {only: tollgate-test-bucket.s3-website-ap-northeast-1.amazonaws.com, unanswered: none}
  - destinations: [dns, "tollgate-test-bucket.s3-website-ap-northeast-1.amazonaws.com:80"]
`, string(text))
	_, err = FromTrace(record())
	require.EqualError(t, err, "no expectations can be written: the record holds no packet of a device")
}

// shared gives the folder of real captures beside the checkout.
func shared(t *testing.T) string {
	root := os.Getenv("TOLLGATE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	dir := filepath.Join(root, "captures")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no real captures: %v", err)
	}
	return dir
}

// What FromTrace writes of captures that nobody here made: always a valid file that never fails on its own capture.
func TestFromTraceOfRealCaptures(t *testing.T) {
	if testing.Short() {
		t.Skip("reads some two thousand captures")
	}
	read, schema := 0, schematest.Compile(t, Schema())
	err := filepath.WalkDir(shared(t), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Base(path), "__") {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		c, err := trace.Read(file, filepath.Base(path), trace.Options{KeepFlows: true, KeepPackets: true})
		if err != nil {
			return nil // what can't be read is another test's business
		}
		tr := &trace.Trace{Account: trace.Soracom, Capture: c}
		text, err := FromTrace(tr)
		if err != nil {
			return nil // no packet of a device
		}
		read++
		set, err := Parse("made.yaml", 1, text)
		if err != nil {
			t.Errorf("%s: %v\n%s", path, err, text)
			return nil
		}
		if err := schema.Judge(t, text); err != nil {
			t.Errorf("%s: %v\n%s", path, err, text)
		}
		for _, strict := range []bool{false, true} {
			for _, f := range set.Judge(tr, Options{Strict: strict}) {
				if f.Verdict == verdict.Fail {
					t.Errorf("%s: %s: %s", path, f.Claim, f.Reason)
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, read, 1000)
}
