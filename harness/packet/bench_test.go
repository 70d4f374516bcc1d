package packet

import (
	"testing"
)

func BenchmarkDecode(b *testing.B) {
	frame := []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 120, 0, 1, 0, 0, 64, 47, 0, 0, 10, 88, 0, 1, 10, 88, 0, 2,
		0, 0, 0x65, 0x58,
		2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0,
		0x45, 0, 0, 82, 0, 7, 0x40, 0, 63, 6, 0, 0, 10, 213, 7, 42, 52, 219, 0, 182,
		0x9c, 0x41, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 0, 200, 0, 0, 0, 0,
		1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
	}
	d := NewDecoder(Options{})
	var p Packet
	f := Frame{Link: 1, Data: frame, Length: len(frame)}
	b.ReportAllocs()
	for b.Loop() {
		f.Number++
		if d.Decode(f, &p) != Decoded || p.Kind != TCP || p.PayloadLen != 30 {
			b.Fatal(p)
		}
	}
}
