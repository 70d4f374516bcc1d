package harness

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/scenarios"
)

// fixtures/runs holds a recorded run of every shipped scenario, and some with another firmware or another mirror.
// `go test ./harness -run Recorded -record` makes them anew on the simulated bench.

var recordRuns = flag.Bool("record", false, "record the runs under fixtures/runs anew")

// recording says what a run under fixtures/runs was made of.
type recording struct{ name, scenario, sim string }

var recordings = []recording{
	{"button-click", "button/click", ""},
	{"gps-multiunit-start", "gps-multiunit/start", ""},
	{"wio-lte-beam-http", "wio-lte/beam-http", ""},
	{"wio-lte-beam-tcp", "wio-lte/beam-tcp", ""},
	{"wio-lte-beam-udp", "wio-lte/beam-udp", ""},
	{"wio-lte-http", "wio-lte/http", ""},
	{"wio-lte-https", "wio-lte/https", ""},
	{"wio-lte-reconnect", "wio-lte/reconnect", ""},
	{"wio-lte-http-patched", "wio-lte/http", "firmware=patched"},
	{"wio-lte-http-hangs", "wio-lte/http", "hang_on=http_get"},
	{"wio-lte-reconnect-never-back", "wio-lte/reconnect", "firmware=no-reconnect"},
	{"wio-lte-https-joined", "wio-lte/https", "mirror_join=true"},
	{"wio-lte-beam-http-vxlan", "wio-lte/beam-http", "mirror=vxlan"},
	{"wio-lte-beam-tcp-numbered", "wio-lte/beam-tcp", "mirror_sequence=true"},
}

func (r recording) dir() string { return filepath.Join("..", "fixtures", "runs", r.name) }

func TestRecordedRuns(t *testing.T) {
	for _, name := range scenarios.Names() {
		require.Contains(t, recordings, recording{strings.ReplaceAll(name, "/", "-"), name, ""}, "each shipped scenario has its recorded run")
	}
	for _, r := range recordings {
		t.Run(r.name, func(t *testing.T) {
			if *recordRuns {
				r.record(t)
			}
			run := r.load(t)
			require.Equal(t, r.scenario, run.trace.Scenario)
			require.NotEmpty(t, run.frames)
			require.Equal(t, trace.Whole, run.trace.Completeness(trace.Scope{}).State)
			require.NotNil(t, run.trace.Evidence.Carrier, "what the carrier counted is in the record")
		})
	}
}

// record makes the run anew.
func (r recording) record(t *testing.T) {
	needsSim(t)
	made, err := Run(t.Context(), r.scenario, Options{Sim: r.sim, Out: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(r.dir(), 0o755))
	for _, file := range []string{trace.TraceFile, trace.CaptureFile} {
		data, err := os.ReadFile(filepath.Join(made.Dir, file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(r.dir(), file), data, 0o644))
	}
}

// recorded is a run whose packets are at hand, to be mirrored again.
type recorded struct {
	name   string
	trace  *trace.Trace
	frames []pcap.Record
	up     []bool // whether the device sent the frame's packet
	set    *expectations.Set
}

func (r recording) load(t testing.TB) *recorded {
	tr, err := Load(r.dir())
	require.NoError(t, err)
	set, err := Expectations(r.scenario, nil)
	require.NoError(t, err)
	out := &recorded{name: r.name, trace: tr, frames: framesOf(t, filepath.Join(r.dir(), trace.CaptureFile)), set: set}
	out.orient(tr.DeviceAddrs)
	return out
}

// framesOf reads a capture's frames.
func framesOf(t testing.TB, path string) []pcap.Record {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	in, err := pcap.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	var out []pcap.Record
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		rec.Data = bytes.Clone(rec.Data)
		out = append(out, rec)
	}
}

// orient finds out which frames the device sent.
func (r *recorded) orient(devices []netip.Addr) {
	known := map[netip.Addr]bool{}
	for _, a := range devices {
		known[a] = true
	}
	var p packet.Packet
	d := packet.NewDecoder(packet.Options{})
	for i, rec := range r.frames {
		f := packet.Frame{Number: uint64(i + 1), Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
		r.up = append(r.up, d.Decode(&f, &p) == packet.Decoded && known[p.Src.Netip()])
	}
}

// packed writes frames as a capture file.
func packed(t require.TestingT, frames []pcap.Record) []byte {
	var out bytes.Buffer
	w, err := pcap.NewWriter(&out, pcap.Section{}, pcap.Interface{Link: pcap.LinkEthernet})
	require.NoError(t, err)
	for _, rec := range frames {
		rec.Interface = 0
		require.NoError(t, w.Write(rec))
	}
	require.NoError(t, w.Flush())
	return out.Bytes()
}
