//go:build !linux

package afpacket_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// TestElsewhere: other systems have no such sockets, and what to do instead is told.
func TestElsewhere(t *testing.T) {
	f, err := filter.New(filter.Options{Words: []string{filter.All}})
	require.NoError(t, err)
	tap, err := afpacket.New(afpacket.Options{Name: "mirror", Interface: "en0", Filter: f})
	require.NoError(t, err)
	require.EqualError(t, tap.Start(t.Context(), func(pcap.Record) {}), "start tap mirror: a ring on an interface needs Linux, not "+runtime.GOOS+
		": capture with driver pipe and command [sudo, -n, tcpdump, -i, en0, -s, \"0\", -U, -n, -w, \"-\"]")
}
