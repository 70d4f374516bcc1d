package trace

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// feed gives sequence numbers to a follower, a millisecond apart.
func feed(seqs ...uint32) *greSequences {
	g := &greSequences{}
	for i, s := range seqs {
		g.add(&packet.Packet{GRESeq: s, Time: int64(i+1) * 1e6, HasGRESeq: true})
	}
	return g
}

func TestGRESequences(t *testing.T) {
	type gap struct{ from, count uint32 }
	for name, c := range map[string]struct {
		seqs  []uint32
		gaps  []gap
		whole bool
	}{
		"in order":            {[]uint32{5, 6, 7, 8}, nil, true},
		"wraps around":        {[]uint32{0xFFFFFFFE, 0xFFFFFFFF, 0, 1}, nil, true},
		"reordered":           {[]uint32{5, 7, 6, 8}, nil, true},
		"copies":              {[]uint32{5, 6, 6, 5, 7}, nil, true},
		"one missing":         {[]uint32{5, 7, 8}, []gap{{6, 1}}, false},
		"missing, part late":  {[]uint32{5, 10, 7, 11}, []gap{{6, 1}, {8, 2}}, false},
		"late at both ends":   {[]uint32{5, 10, 6, 9, 11}, []gap{{7, 2}}, false},
		"missing at the wrap": {[]uint32{0xFFFFFFFE, 1}, []gap{{0xFFFFFFFF, 2}}, false},
		"began anew":          {[]uint32{500000, 500001, 0, 1, 3}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := feed(c.seqs...)
			var got []gap
			list, more := g.gaps()
			for _, x := range list {
				got = append(got, gap{x.from, x.count})
			}
			require.ElementsMatch(t, c.gaps, got)
			require.Zero(t, more)
			require.Equal(t, c.whole, g.whole(uint64(len(c.seqs))))
			require.False(t, g.whole(uint64(len(c.seqs))+1), "a packet without a number is not accounted for")
		})
	}
}

func TestGRESequencesKeepSendersApart(t *testing.T) {
	g := &greSequences{}
	for i := range uint32(10) {
		g.add(&packet.Packet{GRESeq: 100 + i, GRESource: 1})
		g.add(&packet.Packet{GRESeq: 7000 + i, GRESource: 0})
	}
	require.True(t, g.whole(20))
}

func TestGRELossIsBounded(t *testing.T) {
	g := &greSequences{}
	for i := range uint32(3 * maxHoles) {
		g.add(&packet.Packet{GRESeq: 2 * i})
	}
	list, more := g.gaps()
	require.LessOrEqual(t, len(list), maxHoles+greMissing)
	require.EqualValues(t, 3*maxHoles-1, uint64(len(list))+more)
}
