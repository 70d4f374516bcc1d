package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// FuzzTracker gives the tracker packets out of a stranger's capture file, and segments of one flow whose every field
// and payload is the stranger's. It must not panic, and what it counts must be what it was given.
func FuzzTracker(f *testing.F) {
	for _, data := range fixtureCaptures(f) {
		if len(data) < 3000 { // small ones are enough, and mutate faster
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, packets := range [][]packet.Packet{fromCapture(data), fromBytes(data)} {
			follow(t, packets)
			bothWays(t, packets)
		}
	})
}

func fromCapture(data []byte) (out []packet.Packet) {
	r, err := pcap.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	d := packet.NewDecoder(packet.Options{})
	var p packet.Packet
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || err != nil {
			return out
		}
		if d.Decode(&packet.Frame{Number: rec.Number, Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}, &p) == packet.Decoded {
			keep := p
			keep.Payload = bytes.Clone(p.Payload)
			keep.Pieces = append([]packet.Piece(nil), p.Pieces...)
			out = append(out, keep)
		}
	}
}

// fromBytes makes segments of few flows out of sixteen bytes each and what follows them.
func fromBytes(data []byte) (out []packet.Packet) {
	at := int64(0)
	ports := [...]uint16{53, 80, 443, 1883}
	for n := uint64(1); len(data) >= 16; n++ {
		h := data[:16]
		data = data[16:]
		size := min(int(h[0]), len(data))
		at += int64(binary.LittleEndian.Uint16(h[1:])) << (h[3] % 40)
		p := packet.Packet{Number: n, Time: at, Kind: packet.TCP, Proto: 6, SrcPort: 40000, DstPort: ports[h[4]%4], Flags: packet.Flags(h[5]),
			Seq: uint32(binary.LittleEndian.Uint16(h[6:])) << (h[8] % 17), Ack: uint32(binary.LittleEndian.Uint16(h[9:])) << (h[11] % 17),
			Window: uint16(h[12]), HasIPID: h[13]&1 != 0, IPID: uint16(h[14]), MSS: uint16(h[15]), WindowShift: -1,
			HeaderLen: 54, PayloadLen: size + int(h[13]>>4), WireLen: 54 + size, Payload: data[:size], Checksum: uint16(n)}
		p.Src[15], p.Dst[15] = 1, 2
		if h[13]&2 != 0 {
			p.Kind, p.Proto = packet.UDP, 17
		}
		if h[13]&4 != 0 {
			p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
		}
		data = data[size:]
		out = append(out, p)
	}
	return out
}

// follow has packets followed with all detail and with none, and compares.
func follow(t *testing.T, packets []packet.Packet) {
	t.Helper()
	var sums [2]struct {
		tally         Tally
		payload, wire uint64
		flows         int
	}
	for i, o := range []Options{{}, {KeepPackets: true, Seen: func(*Flow, *Packet) {}}} {
		s := &sums[i]
		o.Done = func(f *Flow) {
			s.flows++
			for d := range f.Sides {
				s.tally.Add(f.Sides[d].Tally)
				s.payload += f.Sides[d].Payload
				s.wire += f.Sides[d].copies.packets
			}
			if i == 1 {
				require.LessOrEqual(t, len(f.Gaps), MaxGaps)
				require.Equal(t, f.Sides[Up].Tally.Packets+f.Sides[Down].Tally.Packets, uint64(len(f.Packets)))
			}
		}
		tracker := NewTracker(o)
		frames := uint64(0)
		for j := range packets {
			tracker.Add(&packets[j])
			frames += 1 + uint64(len(packets[j].Pieces))
		}
		tracker.Flush()
		require.Zero(t, tracker.Open())
		require.Equal(t, frames, s.tally.Packets+s.wire)
	}
	require.Equal(t, sums[0], sums[1])
}
