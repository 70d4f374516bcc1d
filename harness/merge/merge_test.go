package merge

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

const base = int64(1_700_000_000_000_000_000)

var (
	deviceAddr = packet.AddrFrom(netip.MustParseAddr("10.0.0.2"))
	peerAddr   = packet.AddrFrom(netip.MustParseAddr("203.0.113.9"))
)

// list is a tap that gives a list.
type list struct {
	packets []packet.Packet
	buffer  []byte
}

func (l *list) Next(p *packet.Packet) bool {
	if len(l.packets) == 0 {
		return false
	}
	*p = l.packets[0]
	l.packets = l.packets[1:]
	l.buffer = append(l.buffer[:0], p.Payload...) // what p points to is soon another packet's
	p.Payload = l.buffer
	return true
}

// segment is a packet of a device, numbered by what it carries.
func segment(at time.Duration, seq uint32, ipid uint16, payload string) packet.Packet {
	return packet.Packet{Time: base + int64(at), Kind: packet.TCP, Proto: 6, Src: deviceAddr, Dst: peerAddr, SrcPort: 40001, DstPort: 80,
		HasIPID: true, IPID: ipid, Seq: seq, Flags: packet.ACK, Payload: []byte(payload), PayloadLen: len(payload), HeaderLen: 54, WireLen: 54 + len(payload)}
}

// merged gives what the taps' packets make, copied.
func merged(taps ...[]packet.Packet) ([]packet.Packet, []Taps, *Merger) {
	sources := make([]Source, len(taps))
	for i, packets := range taps {
		sources[i] = &list{packets: packets}
	}
	m := New(sources...)
	var out []packet.Packet
	var seen []Taps
	var p packet.Packet
	for {
		s, ok := m.Next(&p)
		if !ok {
			return out, seen, m
		}
		kept := p
		kept.Payload = slices.Clone(p.Payload)
		out, seen = append(out, kept), append(seen, s)
	}
}

// brief writes packets so that a difference can be read.
func brief(packets []packet.Packet) []string {
	out := make([]string, len(packets))
	for i, p := range packets {
		out[i] = fmt.Sprintf("%v seq %d id %d path %d number %d %q", time.Duration(p.Time-base), p.Seq, p.IPID, p.Path, p.Number, p.Payload)
	}
	return out
}

func requireSame(t require.TestingT, want, got []packet.Packet) {
	require.Equal(t, brief(want), brief(got))
}

func shifted(packets []packet.Packet, by time.Duration) []packet.Packet {
	out := slices.Clone(packets)
	for i := range out {
		out[i].Time += int64(by)
	}
	return out
}

// stream is n packets a pace apart, each its own.
func stream(n int, pace time.Duration) []packet.Packet {
	var out []packet.Packet
	for i := range n {
		out = append(out, segment(time.Duration(i)*pace, uint32(1000+10*i), uint16(i+1), fmt.Sprintf("payload %d", i)))
	}
	return out
}

func TestOneTapIsItself(t *testing.T) {
	in := stream(100, 7*time.Millisecond)
	in[50].Time += int64(24 * time.Hour) // one mangled time
	got, seen, m := merged(in)
	requireSame(t, in, got)
	require.Len(t, seen, 100)
	require.Equal(t, uint64(100), m.Tally(0).Packets)
	require.Empty(t, m.Tally(0).Steps)
}

func TestCopiesCountOnceAndLossIsHealed(t *testing.T) {
	in := stream(10, 40*time.Millisecond)
	a := slices.Concat(in[:3], in[5:])                       // missed 4 and 5
	b := shifted(slices.Concat(in[:8], in[9:]), time.Second) // missed 9; its clock is a second ahead
	got, seen, m := merged(a, b)
	requireSame(t, in, got)
	require.Equal(t, []Taps{3, 3, 3, 2, 2, 3, 3, 3, 1, 3}, seen)
	require.Equal(t, Tally{Packets: 8, Copies: 0, Missed: 2, Alone: 1,
		Runs: []Run{{From: in[2].Time, To: in[5].Time, Packets: 2}}}, m.Tally(0))
	require.Equal(t, Tally{Packets: 9, Copies: 7, Missed: 1, Alone: 2, Ahead: time.Second,
		Runs: []Run{{From: in[7].Time + int64(time.Second), To: in[9].Time + int64(time.Second), Packets: 1}}}, m.Tally(1))
	doubts, more := m.Doubts()
	require.Empty(t, doubts)
	require.Zero(t, more)
}

func TestTapsWithNothingInCommonAddUp(t *testing.T) {
	in := stream(40, 100*time.Millisecond)
	var a, b []packet.Packet
	for i, p := range in {
		if i%2 == 0 {
			a = append(a, p)
		} else {
			b = append(b, p)
		}
	}
	got, _, m := merged(a, b)
	requireSame(t, in, got)
	require.Zero(t, m.Tally(0).Copies+m.Tally(1).Copies)
	require.Equal(t, uint64(20), m.Tally(0).Missed)
}

// Retransmissions and repeated ACKs of a device that numbers nothing are the same bytes: each tap's count of them counts.
func TestAlikePacketsAreCountedAsInAMultiset(t *testing.T) {
	alike := func(at ...time.Duration) []packet.Packet {
		out := []packet.Packet{segment(0, 1, 0, "begin")}
		for _, d := range at {
			out = append(out, segment(d, 7, 0, "again"))
		}
		return append(out, segment(10*time.Second, 9, 0, "end"))
	}
	for name, c := range map[string]struct {
		a, b  []time.Duration
		want  int
		doubt int
	}{
		"both saw both":                     {[]time.Duration{1e9, 1.2e9}, []time.Duration{1e9, 1.2e9}, 2, 0},
		"both saw both at once":             {[]time.Duration{1e9, 1e9}, []time.Duration{1e9, 1e9}, 2, 0},
		"the second missed at one tap":      {[]time.Duration{1e9, 1.2e9}, []time.Duration{1e9}, 2, 0},
		"the first missed at one tap":       {[]time.Duration{1e9, 1.2e9}, []time.Duration{1.2e9}, 2, 0},
		"a little late at one tap":          {[]time.Duration{1e9, 1.2e9}, []time.Duration{1.003e9, 1.201e9}, 2, 0},
		"each missed one, or one was late":  {[]time.Duration{1e9}, []time.Duration{1.4e9}, 1, 1},
		"each missed one, seconds apart":    {[]time.Duration{1e9}, []time.Duration{4e9}, 2, 0},
		"three and two":                     {[]time.Duration{1e9, 2e9, 3e9}, []time.Duration{1e9, 3e9}, 3, 0},
		"one tap shows each twice, at once": {[]time.Duration{1e9, 1e9}, []time.Duration{1e9}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, m := merged(alike(c.a...), alike(c.b...))
			require.Equal(t, c.want+2, len(got), brief(got))
			doubts, _ := m.Doubts()
			require.Len(t, doubts, c.doubt)
		})
	}
}

// A packet with the identification of another is never taken for it where it carries something else.
func TestSameNumberOtherPayload(t *testing.T) {
	a, b := segment(0, 1, 5, "first"), segment(0, 1, 5, "other")
	got, _, _ := merged([]packet.Packet{a}, []packet.Packet{b})
	require.Equal(t, 2, len(got))
}

func TestTheWholeCopyStands(t *testing.T) {
	whole := segment(time.Second, 1, 5, "a payload that one tap cut short")
	cut := whole
	cut.Payload, cut.Truncated, cut.Number = whole.Payload[:4], true, 17
	got, seen, m := merged([]packet.Packet{cut}, []packet.Packet{whole})
	requireSame(t, []packet.Packet{whole}, got)
	require.Equal(t, []Taps{3}, seen)
	require.Equal(t, uint64(1), m.Tally(0).Copies)
	require.Equal(t, uint64(0), m.Tally(1).Copies)
}

// One tap's host joins segments and the other's does not.
func TestJoinedSegmentsAreTheSegments(t *testing.T) {
	joined := segment(10*time.Millisecond, 100, 0, "onetwothree")
	parts := []packet.Packet{segment(9*time.Millisecond, 100, 0, "one"), segment(9500*time.Microsecond, 103, 0, "two"), segment(10*time.Millisecond, 106, 0, "three")}
	begin, end := segment(0, 1, 0, "begin"), segment(time.Minute, 900, 0, "end")
	for name, taps := range map[string][2][]packet.Packet{
		"the first joins":  {{begin, joined, end}, slices.Concat([]packet.Packet{begin}, parts, []packet.Packet{end})},
		"the second joins": {slices.Concat([]packet.Packet{begin}, parts, []packet.Packet{end}), {begin, joined, end}},
		"a part is missed": {{begin, joined, end}, {begin, parts[0], parts[2], end}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, _ := merged(taps[0], taps[1])
			require.Equal(t, 3, len(got), brief(got))
			require.Equal(t, "onetwothree", string(got[1].Payload))
		})
	}
}

func TestPathsOfTwoTapsAreOne(t *testing.T) {
	in := stream(20, 10*time.Millisecond)
	a, b := slices.Clone(in), slices.Clone(in)
	for i := range in {
		a[i].Path, b[i].Path = 3, 8
	}
	got, _, _ := merged(a[1:], b) // the first packet was seen by the second tap alone
	require.Equal(t, 20, len(got))
	for _, p := range got {
		require.Equal(t, uint16(3), p.Path)
	}
}

// A tap's clock that is set anew on the way hides no copies, whichever tap it is and whichever way it goes.
func TestClocksThatStep(t *testing.T) {
	in := stream(400, 30*time.Millisecond)
	for _, by := range []time.Duration{-time.Hour, -3 * time.Second, -400 * time.Millisecond, 400 * time.Millisecond, 5 * time.Second, 24 * time.Hour} {
		for which := range 2 {
			t.Run(fmt.Sprintf("%v at tap %d", by, which), func(t *testing.T) {
				taps := [][]packet.Packet{slices.Clone(in), slices.Clone(in)}
				for i := 200; i < len(in); i++ {
					taps[which][i].Time += int64(by)
				}
				got, seen, m := merged(taps...)
				require.Equal(t, len(in), len(got))
				require.Equal(t, slices.Repeat([]Taps{3}, len(in)), seen)
				for i := range got {
					require.Equal(t, in[i].Seq, got[i].Seq)
				}
				steps := slices.Concat(m.Tally(0).Steps, m.Tally(1).Steps)
				require.Len(t, steps, 1)
				require.Equal(t, Step{At: taps[which][200].Time, By: by}, m.Tally(which).Steps[0])
			})
		}
	}
}

// A tap that is silent while another sees packets is silent, not set forward.
func TestSilenceIsNoStep(t *testing.T) {
	in := stream(400, 30*time.Millisecond)
	got, _, m := merged(slices.Concat(in[:100], in[300:]), in)
	requireSame(t, in, got)
	require.Empty(t, m.Tally(0).Steps)
	require.Equal(t, uint64(200), m.Tally(0).Missed)
	require.Equal(t, uint64(200), m.Tally(1).Alone)
}

func TestManyTaps(t *testing.T) {
	in := stream(300, 5*time.Millisecond)
	taps := make([][]packet.Packet, MaxTaps)
	for i, p := range in {
		for k := range taps {
			if (i+k)%5 == 0 || i%7 == 0 {
				q := p
				q.Time += int64(time.Duration(k) * 11 * time.Millisecond)
				taps[k] = append(taps[k], q)
			}
		}
	}
	got, _, m := merged(taps...)
	requireSame(t, in, got)
	for k := range taps {
		require.Equal(t, time.Duration(k)*11*time.Millisecond, m.Tally(k).Ahead, "tap %d", k)
	}
	require.Panics(t, func() { New(make([]Source, MaxTaps+1)...) })
}

// draw draws traffic of several devices: packets of their own, retransmissions, repeated ACKs, with and without
// identifications.
func draw(t *rapid.T) []packet.Packet {
	var out []packet.Packet
	at, seq := time.Duration(0), uint32(1)
	numbered := rapid.Bool().Draw(t, "numbered")
	id := uint16(0)
	for range rapid.IntRange(1, 120).Draw(t, "packets") {
		// Alike packets without a number are told apart by their times alone: no closer than a retransmission is.
		at += time.Duration(rapid.IntRange(100, 3000).Draw(t, "pause")) * time.Millisecond / 10
		if numbered {
			id++
		}
		p := segment(at, seq, id, "")
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0: // sent again, or a repeated ACK
			if n := len(out); n > 0 && distance(out[n-1].Time, p.Time) > int64(200*time.Millisecond) {
				p = out[n-1]
				p.Time = base + int64(at)
				if numbered {
					p.IPID = id
				}
				break
			}
			fallthrough
		default:
			n := rapid.IntRange(0, 40).Draw(t, "size")
			p.Payload = binary.BigEndian.AppendUint32(make([]byte, n), seq)
			p.PayloadLen = len(p.Payload)
			seq += uint32(p.PayloadLen)
		}
		p.Number = uint64(len(out) + 1)
		out = append(out, p)
	}
	return out
}

// TestUnionIsTheOriginal holds that what two taps saw together is what passed, whatever each of them lost, as long as no
// packet was lost by both.
func TestUnionIsTheOriginal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		loss := rapid.IntRange(0, 40).Draw(t, "loss")
		skew := time.Duration(rapid.IntRange(-5_000_000, 5_000_000).Draw(t, "skew")) * time.Microsecond
		numbered := in[0].IPID != 0
		var a, b []packet.Packet
		shared, complementary := 0, false
		lostA, lostB := map[identity]bool{}, map[identity]bool{}
		for i := range in {
			atA, atB := true, true
			switch n := rapid.IntRange(0, 99).Draw(t, "fate"); {
			case n < loss/2:
				atA = false
			case n < loss:
				atB = false
			}
			id := identityOf(&in[i])
			if atA {
				a = append(a, in[i])
			} else {
				lostA[id] = true
			}
			if atB {
				b = append(b, shifted(in[i:i+1], skew)...)
			} else {
				lostB[id] = true
			}
			if atA && atB {
				shared++
			}
			complementary = complementary || lostA[id] && lostB[id]
		}
		if shared < 3 {
			return // the clocks can't be told from each other
		}
		got, seen, m := merged(a, b)
		doubts, _ := m.Doubts()
		if !numbered && complementary {
			// Of two packets alike each tap lost one: told as a doubt, never hidden.
			require.LessOrEqual(t, len(got), len(in))
			require.GreaterOrEqual(t, len(got)+len(doubts), len(in))
			return
		}
		require.Empty(t, doubts)
		requireSame(t, in, got)
		var missedA, missedB uint64
		for _, s := range seen {
			if !s.Has(0) {
				missedA++
			}
			if !s.Has(1) {
				missedB++
			}
		}
		ta, tb := m.Tally(0), m.Tally(1)
		require.Equal(t, [2]uint64{missedA, missedB}, [2]uint64{ta.Missed, tb.Missed})
		require.Equal(t, uint64(len(a)+len(b)-len(in)), ta.Copies+tb.Copies)
		require.Equal(t, uint64(len(in)-len(a)), missedA)
	})
}

// TestJitterAndSwapsHideNothing holds that packets which come to one tap a little late, or in another order, are counted once.
func TestJitterAndSwapsHideNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		b := slices.Clone(in)
		for i := range b {
			b[i].Time += int64(rapid.IntRange(0, 4000).Draw(t, "late")) * int64(time.Microsecond)
			if i > 0 && rapid.IntRange(0, 9).Draw(t, "swap") == 0 {
				b[i-1], b[i] = b[i], b[i-1]
			}
		}
		got, seen, m := merged(in, b)
		require.Equal(t, len(in), len(got))
		require.Equal(t, slices.Repeat([]Taps{3}, len(in)), seen)
		requireSame(t, in, got)
		require.Equal(t, uint64(len(in)), m.Tally(1).Copies)
	})
}

func BenchmarkMerge(b *testing.B) {
	in := stream(100_000, 100*time.Microsecond)
	b.ReportAllocs()
	for b.Loop() {
		m := New(&list{packets: in}, &list{packets: in})
		var p packet.Packet
		for n := 0; ; n++ {
			if _, ok := m.Next(&p); !ok {
				require.Equal(b, len(in), n)
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*len(in)), "ns/packet")
}
