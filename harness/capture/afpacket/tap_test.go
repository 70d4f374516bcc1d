package afpacket_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/filter"
)

var (
	_ bench.Tap        = (*afpacket.Tap)(nil)
	_ bench.Restarting = (*afpacket.Tap)(nil)
	_ bench.Noting     = (*afpacket.Tap)(nil)
	_ bench.Ported     = (*afpacket.Tap)(nil)
)

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    afpacket.Options
		want string
	}{
		{afpacket.Options{Name: "mirror"}, "make tap mirror: no interface is given: `ip -brief link` lists what there is"},
		{afpacket.Options{Interface: "e", Buffer: -1}, "make tap : a buffer of -1 bytes: give up to 2 GiB"},
		{afpacket.Options{Name: "m", Interface: "e", Snap: 1 << 20}, "make tap m: a snap length of 1048576 bytes: give up to 524032, or 0 for all of a frame"},
	} {
		_, err := afpacket.New(c.o)
		require.EqualError(t, err, c.want)
	}
	f, err := filter.New(filter.Options{Words: []string{filter.VXLAN}, Ports: []uint16{8472}})
	require.NoError(t, err)
	tap, err := afpacket.New(afpacket.Options{Interface: "e", Filter: f})
	require.NoError(t, err)
	require.Equal(t, "e", tap.Name())
	require.Equal(t, []uint16{8472}, tap.VXLANPorts())
	require.Empty(t, tap.Notes())
	require.Zero(t, tap.Stats())
	require.Error(t, tap.Flush(t.Context()))
	require.NoError(t, tap.Close())
}
