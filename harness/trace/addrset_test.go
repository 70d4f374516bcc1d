package trace

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

func TestAddrSetCountsLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s addrSet
		seen := map[packet.Addr]bool{}
		for _, n := range rapid.SliceOfN(rapid.Uint64Range(0, 3000), 0, 4000).Draw(t, "addresses") {
			var a packet.Addr
			binary.BigEndian.PutUint64(a[8:], n)
			s.add(a)
			seen[a] = true
		}
		require.Equal(t, len(seen), s.size())
	})
}
