package flow

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// BenchmarkTracker follows a fleet's packets, decoded before: 5,000 devices that wake, talk and sleep. The figures of
// interest are ns/packet, allocs/packet and the flows open at most.
func BenchmarkTracker(b *testing.B) {
	packets := fleetPackets(b, synth.Load{Packets: 400_000, Devices: 5_000, Span: 72 * time.Minute, Mirror: synth.GRE, Seed: 1})
	var flows, open int
	b.ReportAllocs()
	for b.Loop() {
		flows, open = 0, 0
		t := NewTracker(Options{Done: func(*Flow) { flows++ }})
		for i := range packets {
			t.Add(&packets[i])
			open = max(open, t.Open())
		}
		t.Flush()
	}
	n := float64(len(packets))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/packet")
	b.ReportMetric(float64(flows), "flows")
	b.ReportMetric(float64(open), "open-flows")
	b.ReportMetric(0, "ns/op")
}

// fleetPackets makes a load's packets and keeps them decoded, with the beginning of their payload.
func fleetPackets(b *testing.B, load synth.Load) []packet.Packet {
	var file bytes.Buffer
	_, err := synth.WriteLoad(&file, load)
	require.NoError(b, err)
	data := file.Bytes()
	r, err := pcap.NewReader(bytes.NewReader(data))
	require.NoError(b, err)
	d := packet.NewDecoder(packet.Options{})
	var out []packet.Packet
	var p packet.Packet
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(b, err)
		if d.Decode(&packet.Frame{Number: rec.Number, Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}, &p) == packet.Decoded {
			keep := p
			keep.Payload = bytes.Clone(p.Payload[:min(len(p.Payload), 512)])
			out = append(out, keep)
		}
	}
}
