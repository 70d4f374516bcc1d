package trace

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Taps may bring more paths than are told apart: the last stands for all that come later, as a decoder's does.
func TestPathsOfManyTaps(t *testing.T) {
	table := newPathTable()
	path := func(vni int) packet.Path { return packet.Path{Tunnel: packet.VXLAN, VNI: uint32(vni)} }
	for i := range packet.MaxPaths + 10 {
		require.Equal(t, uint16(min(i+1, packet.MaxPaths-1)), table.number(path(i)))
	}
	require.Equal(t, packet.Path{Tunnel: packet.VXLAN}, table.path(packet.MaxPaths-1))
	require.Equal(t, path(7), table.path(table.number(path(7))), "known ones keep theirs")
}
