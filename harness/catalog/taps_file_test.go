package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

func TestTapOfAFile(t *testing.T) {
	inv, err := Inventory("b.yaml", []byte(devicesOnly+"  a: {driver: file, path: x.pcap}\n  b: {driver: file, path: x.pcapng.gz, pace: own, times: now}\n"))
	require.NoError(t, err)
	for i := range inv.Taps {
		tap, err := taps["file"].open(&inv.Taps[i], nil)
		require.NoError(t, err)
		require.Equal(t, inv.Taps[i].Name, tap.Name())
		require.NoError(t, tap.Close())
	}
	for options, want := range map[string]string{
		`{driver: file}`:                          "path",
		`{driver: file, path: x, pace: slow}`:     `b.yaml:5:39: pace: unknown pace "slow": known: once, own`,
		`{driver: file, path: x, times: shifted}`: "recorded",
	} {
		_, err := Inventory("b.yaml", []byte(devicesOnly+"  tap1: "+options+"\n"))
		require.ErrorAs(t, err, new(scenario.Errors), options)
		require.ErrorContains(t, err, want, options)
	}
}
