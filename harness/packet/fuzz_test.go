package packet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDecode: no frame makes the decoder panic, run for ever or contradict itself, and what it has seen before changes
// nothing but fragments. The input is several frames, each behind its length in two bytes; a length beyond what is there
// is that of a frame cut by the snap length.
func FuzzDecode(f *testing.F) {
	for _, w := range around() {
		f.Add(w.link, sequence(w.frame, w.frame))
	}
	for _, b := range [][]byte{segment4("AP", string(make([]byte, 200))), segment6("AP", string(make([]byte, 200)))} {
		parts := split(b, 80)
		f.Add(uint16(101), sequence(parts[2], parts[0], parts[1]))
	}
	f.Fuzz(func(t *testing.T, link uint16, input []byte) {
		d, fresh, one, long := NewDecoder(Options{}), NewDecoder(Options{}), NewDecoder(Options{SameMirror: true}), NewDecoder(Options{})
		var p, q, same Packet
		held, joined := 0, 0
		for n := uint64(1); len(input) >= 2; n++ {
			length := int(input[0])<<8 | int(input[1])
			input = input[2:]
			frame := Frame{Number: n, Time: int64(n), Link: link, Data: input[:min(length, len(input))], Length: length}
			input = input[len(frame.Data):]
			r := d.Decode(&frame, &p)
			require.Equal(t, r, one.Decode(&frame, &same))
			read := Packet{Number: frame.Number, Time: frame.Time, WindowShift: -1}
			require.Equal(t, r, long.decode(&frame, &read, nil, frame.Data), "no shortcut changes anything")
			if r == Decoded {
				require.Equal(t, read, p, "no shortcut changes anything")
			}
			switch r {
			case Held:
				held++
				continue
			case Undecodable:
				continue
			}
			consistent(t, &p)
			require.Equal(t, uint16(1), same.Path)
			same.Path = p.Path
			require.Equal(t, p, same, "that all mirrors are one changes nothing but the path")
			joined += len(p.Pieces)
			if p.Pieces == nil && fresh.Decode(&frame, &q) == Decoded {
				require.Equal(t, fresh.Path(q.Path), d.Path(p.Path))
				q.Path, q.GRESource = p.Path, p.GRESource
				require.Equal(t, q, p)
			}
			fresh = NewDecoder(Options{})
		}
		d.Orphans(func(p *Packet) { consistent(t, p); joined++ })
		repeated, lost := d.FragmentCounts()
		require.Zero(t, lost)
		require.LessOrEqual(t, joined+int(repeated), held, "fewer where they were a tunnel's")
	})
}

// consistent holds what is true of every packet.
func consistent(t *testing.T, p *Packet) {
	require.GreaterOrEqual(t, p.PayloadLen, 0)
	require.GreaterOrEqual(t, p.HeaderLen, 14)
	require.LessOrEqual(t, len(p.Payload), p.PayloadLen)
	if p.Payload != nil && !p.Truncated {
		require.Len(t, p.Payload, p.PayloadLen)
	}
	if p.Pieces == nil {
		require.Equal(t, p.HeaderLen+p.PayloadLen, p.WireLen)
	}
	if p.Kind != TCP {
		require.Zero(t, p.Flags)
	}
}

func sequence(frames ...[]byte) []byte {
	var all []byte
	for _, f := range frames {
		all = append(all, raw(uint16(len(f)), f)...)
	}
	return all
}
