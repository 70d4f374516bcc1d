package trace_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

const fixtures = "../../fixtures"

// row is packets and bytes, up and down, as fixtures/tables.yaml writes them.
type row struct {
	Up, Down [2]uint64
}

type table struct {
	Phases   map[string]row
	Captured *row
	OnAir    row `yaml:"on_air"`
	Flows    map[string]uint64
	Teardown string
}

func tables(t *testing.T) map[string]table {
	text, err := os.ReadFile(filepath.Join(fixtures, "tables.yaml"))
	require.NoError(t, err)
	var out map[string]table
	require.NoError(t, yaml.Unmarshal(text, &out))
	return out
}

func billed(tally flow.Both[flow.Tally]) row {
	a := trace.Soracom
	return row{Up: [2]uint64{tally[flow.Up].Packets, a.Bytes(flow.Up, tally[flow.Up])},
		Down: [2]uint64{tally[flow.Down].Packets, a.Bytes(flow.Down, tally[flow.Down])}}
}

func billedOnAir(tally flow.Both[flow.Tally]) row {
	a := trace.Soracom
	return row{Up: [2]uint64{tally[flow.Up].AirPackets, a.AirBytes(flow.Up, tally[flow.Up])},
		Down: [2]uint64{tally[flow.Down].AirPackets, a.AirBytes(flow.Down, tally[flow.Down])}}
}

func phases(p *flow.Phases) map[string]row {
	out := map[string]row{}
	for i := range p {
		if r := billed(p[i]); r != (row{}) {
			out[flow.Phase(i).String()] = r
		}
	}
	return out
}

// TestSevenTables holds the tables exactly, per phase, captured and on the air, from the checked-in captures and from the
// same conversations through every other mirror.
func TestSevenTables(t *testing.T) {
	want := tables(t)
	require.Len(t, want, 7)
	for _, f := range synth.Tables() {
		t.Run(f.Name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(fixtures, "captures", f.Name+".pcap"))
			require.NoError(t, err)
			holdTable(t, want[f.Name], data)
			for _, m := range []synth.Mirror{synth.Plain, synth.GRESeq, synth.VXLAN, synth.GREIP} {
				holdTable(t, want[f.Name], pcapng(t, f.Make(synth.Options{Mirror: m, VNI: 10})))
			}
		})
	}
}

func holdTable(t *testing.T, want table, data []byte) {
	for _, o := range []trace.Options{
		{},
		{KeepFlows: true},
		{KeepFlows: true, KeepPackets: true, Devices: []netip.Prefix{netip.MustParsePrefix("10.213.0.0/16")}},
	} {
		c := read(t, data, o)
		captured := want.OnAir
		if want.Captured != nil {
			captured = *want.Captured
		}
		require.EqualValues(t, 1, c.Total.Devices)
		require.Equal(t, want.Phases, phases(&c.Total.Phases))
		require.Equal(t, captured, billed(c.Total.Tally))
		require.Equal(t, want.OnAir, billedOnAir(c.Total.Tally))
		require.Equal(t, want.Flows, c.Total.Flows)
		for k, n := range c.Total.Closes {
			require.Equal(t, n == 1, flow.Close(k).String() == want.Teardown, "%d flows ended %s", n, flow.Close(k))
		}
		require.Zero(t, c.Undecodable)
		require.Zero(t, c.Duplicates)
		require.NotEqual(t, trace.Broken, c.Completeness.State, "%v", c.Completeness.Reasons)
		if o.KeepFlows {
			require.Len(t, c.Devices, 1)
			require.Equal(t, want.Phases, phases(&c.Devices[0].Phases))
			require.Len(t, c.Devices[0].Flows, len(c.Flows))
		} else {
			require.Empty(t, c.Flows)
			require.Empty(t, c.Devices)
		}
	}
}

func read(t *testing.T, data []byte, o trace.Options) *trace.Capture {
	c, err := trace.Read(bytes.NewReader(data), "test.pcap", o)
	require.NoError(t, err)
	return c
}

func pcapOf(t *testing.T, frames []synth.Frame) []byte {
	var buf bytes.Buffer
	require.NoError(t, synth.WritePcap(&buf, frames))
	return buf.Bytes()
}

func pcapng(t *testing.T, frames []synth.Frame) []byte {
	var buf bytes.Buffer
	require.NoError(t, synth.WritePcapng(&buf, frames))
	return buf.Bytes()
}

var keep = trace.Options{KeepFlows: true, KeepPackets: true}

func TestBareCaptureIsWholeOnlyByItsNumbers(t *testing.T) {
	numbered := synth.WioLTEHTTP(synth.Options{Mirror: synth.GRESeq})
	c := read(t, pcapng(t, numbered), keep)
	require.Equal(t, trace.Whole, c.Completeness.State)
	require.Equal(t, []string{"the mirror's GRE sequence numbers run without a gap over all 17 packets"}, c.Completeness.Reasons)

	plain := read(t, pcapng(t, synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE})), keep)
	require.Equal(t, trace.Unproven, plain.Completeness.State)
	require.Equal(t, []string{
		"payload only: the sequence numbers of 1 TCP flow show no byte missing",
		"nothing accounts for pure ACKs, datagrams and whole flows: the mirror's packets carry no sequence numbers",
	}, plain.Completeness.Reasons)

	require.Equal(t, trace.Unproven, read(t, pcapng(t, nil), keep).Completeness.State, "an empty capture proves nothing")
}

// TestEveryLossInsideIsSeen takes each packet but the first and last out of a numbered mirror: always broken, with a hole
// at the packet's place.
func TestEveryLossInsideIsSeen(t *testing.T) {
	frames := synth.WioLTEHTTPS(synth.Options{Mirror: synth.GRESeq})
	for n := 2; n < len(frames); n++ {
		c := read(t, pcapOf(t, synth.Without(frames, n)), keep)
		require.Equal(t, trace.Broken, c.Completeness.State, "frame %d", n)
		var found bool
		for _, h := range c.Completeness.Holes {
			if h.Kind == trace.HoleGRE {
				found = true
				require.EqualValues(t, 1, h.Packets)
				require.Equal(t, frames[n-2].Time.UnixNano(), h.From)
				require.Equal(t, frames[n].Time.UnixNano(), h.To)
			}
		}
		require.True(t, found)
	}
}

// TestLostPayloadIsSeenWithoutNumbers takes out each segment with payload: the sequence numbers tell.
func TestLostPayloadIsSeenWithoutNumbers(t *testing.T) {
	frames := synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE})
	for n, payload := range map[int]flow.Both[uint64]{6: {93, 0}, 8: {67, 0}, 10: {0, 333}, 12: {0, 5}} {
		c := read(t, pcapOf(t, synth.Without(frames, n)), keep)
		require.Equal(t, trace.Broken, c.Completeness.State, "frame %d", n)
		require.Equal(t, payload, c.Completeness.Missing, "frame %d", n)
	}
}

// TestLostACKIsSeenByIdentifications takes out a pure ACK of the device, which its IP identification tells.
func TestLostACKIsSeenByIdentifications(t *testing.T) {
	frames := synth.WioLTEHTTPS(synth.Options{Mirror: synth.GRE})
	c := read(t, pcapOf(t, synth.Without(frames, 24)), keep)
	require.Equal(t, trace.Broken, c.Completeness.State)
	require.Len(t, c.Completeness.Holes, 1)
	h := c.Completeness.Holes[0]
	require.Equal(t, trace.HoleIPID, h.Kind)
	require.EqualValues(t, 1, h.Packets)
	require.Equal(t, "10.213.7.42", h.Device.String())
	require.Contains(t, h.Reason, "1 packet of 10.213.7.42 missing")
}

func TestDuplicatesChangeNothing(t *testing.T) {
	frames := synth.WioLTEHTTPS(synth.Options{Mirror: synth.GRE})
	once := read(t, pcapOf(t, frames), keep)
	twice := read(t, pcapOf(t, synth.Twice(frames, 3, 8, 12, 13, 41)), keep)
	require.EqualValues(t, 5, twice.Duplicates)
	require.Equal(t, once.Total, twice.Total)
	require.Equal(t, once.Completeness.State, twice.Completeness.State)
}

func TestCutPacketsAreCounted(t *testing.T) {
	c := read(t, pcapng(t, synth.Cut(synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE}), 98)), keep)
	require.Equal(t, trace.Broken, c.Completeness.State)
	require.EqualValues(t, 7, c.Truncated, "two of DNS, both SYNs, three with payload that does not fit")
	require.Equal(t, tables(t)["wio-lte-http"].OnAir, billed(c.Total.Tally), "lengths are from the headers")
}

func TestFileCutInsideARecord(t *testing.T) {
	data := pcapOf(t, synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE}))
	c := read(t, data[:len(data)-10], keep)
	require.True(t, c.Cut)
	require.EqualValues(t, 16, c.Frames)
	require.Equal(t, trace.Broken, c.Completeness.State)
	require.Contains(t, c.Completeness.Reasons, "the file ends inside a record")
}

func TestCompressedCaptures(t *testing.T) {
	data := pcapng(t, synth.ButtonClick(synth.Options{Mirror: synth.GRE}))
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err := g.Write(data)
	require.NoError(t, err)
	require.NoError(t, g.Close())
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for format, in := range map[string][]byte{"pcapng": data, "pcapng.gz": gz.Bytes(), "pcapng.zst": z.EncodeAll(data, nil)} {
		c := read(t, in, keep)
		require.Equal(t, format, c.Format)
		require.EqualValues(t, 4, c.Frames)
	}
}

func TestOtherLinkTypesAreNamed(t *testing.T) {
	var buf bytes.Buffer
	w := pcapgo.NewWriter(&buf)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkType(189)))
	require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: synth.Epoch, CaptureLength: 4, Length: 4}, []byte{1, 2, 3, 4}))
	c, err := trace.Read(&buf, "usb.pcap", trace.Options{})
	require.ErrorIs(t, err, trace.ErrLinkType)
	require.ErrorContains(t, err, "usb.pcap")
	require.ErrorContains(t, err, "189")
	require.EqualValues(t, 1, c.Frames)
}

func TestDevicesAsTold(t *testing.T) {
	data := pcapng(t, synth.Neighbours(synth.Options{}))
	c := read(t, data, trace.Options{KeepFlows: true, Devices: []netip.Prefix{netip.MustParsePrefix("10.213.7.42/32")}})
	require.False(t, c.Inferred)
	require.Len(t, c.Devices, 1)
	require.EqualValues(t, 2, c.Foreign, "the flows of IPv6")
	for _, id := range c.Devices[0].Flows {
		require.Equal(t, "10.213.7.42", c.Flow(id).Device.Addr().String())
	}
	require.Nil(t, c.Flow(99))
	all := read(t, data, keep)
	require.True(t, all.Inferred)
	require.EqualValues(t, len(all.Flows), c.Foreign+uint64(len(c.Flows)))
}

func TestWays(t *testing.T) {
	for name, want := range map[string][]string{
		"refused": {"refused", "refused", "unanswered"}, "half-closed": {"half_closed"}, "port-reuse": {"reset", "clean"},
		"lossy": {"clean"}, "reset-middle": {"reset"}, "began-before": {"clean"}, "mqtt-311": {"clean"}, "mqtt-5": {"clean"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(fixtures, "captures", name+".pcap"))
			require.NoError(t, err)
			var got []string
			for _, f := range read(t, data, keep).Flows {
				if f.Kind == packet.TCP {
					got = append(got, f.Close.String())
				}
			}
			require.Equal(t, want, got)
		})
	}
}

func TestProgressIsCalledAtTheEnd(t *testing.T) {
	var frames, size uint64
	data := pcapng(t, synth.ButtonClick(synth.Options{}))
	read(t, data, trace.Options{Progress: func(f, b uint64) { frames, size = f, b }})
	require.EqualValues(t, 4, frames)
	require.NotZero(t, size)
}

// TestTunnelsAreCountedByKind holds that a frame counts under every kind of tunnel it came through: ERSPAN is carried by GRE.
func TestTunnelsAreCountedByKind(t *testing.T) {
	frames := synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE})
	n := uint64(len(frames))
	require.Equal(t, map[string]uint64{"gre": n, "erspan": 0, "vxlan": 0, "geneve": 0, "gtpu": 0, "ipip": 0, "none": 0},
		read(t, pcapOf(t, frames), trace.Options{}).Tunnels)
	for i := range frames {
		binary.BigEndian.PutUint16(frames[i].Data[14+20+2:], 0x88be) // the GRE header's protocol: ERSPAN type I
	}
	require.Equal(t, map[string]uint64{"gre": n, "erspan": n, "vxlan": 0, "geneve": 0, "gtpu": 0, "ipip": 0, "none": 0},
		read(t, pcapOf(t, frames), trace.Options{}).Tunnels)
}
