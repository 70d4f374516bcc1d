package catalog

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/hub"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

const sharedBench = `bench: desk
carriers:
  soracom: {driver: soracom, sims: ["440100000000001"]}
devices:
  with: {driver: wio-lte, port: {path: /dev/x}, carrier: soracom, imsi: "440100000000001"}
  without: {driver: wio-lte, port: {path: /dev/y}}
taps:
  whole: {driver: vxlan, listen: "127.0.0.1:14789", shared: true, place: outside}
  own: {driver: vxlan, listen: "127.0.0.2:14789", place: inside}
  nowhere: {driver: vxlan, listen: "127.0.0.3:14789"}
`

func TestSharedTapsAndPlaces(t *testing.T) {
	t.Setenv("SORACOM_PROFILE_DIR", t.TempDir())
	inv, err := Inventory("b.yaml", []byte(sharedBench))
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, false}, []bool{inv.Taps[0].Shared, inv.Taps[1].Shared, inv.Taps[2].Shared})
	require.Equal(t, []string{"outside", "inside", ""}, []string{inv.Taps[0].Place, inv.Taps[1].Place, inv.Taps[2].Place})

	b := &bench.Bench{Name: "desk", Clock: wallClock{}}
	var shared Shared
	open := func(o Options) bench.Tap {
		tap, err := openTap(&inv.Taps[0], b, o)
		require.NoError(t, err)
		return tap
	}
	first, second, alone := open(Options{Shared: &shared}), open(Options{Shared: &shared}), open(Options{})
	require.IsType(t, &hub.Tap{}, first)
	require.Equal(t, "whole", first.Name())
	require.Implements(t, (*bench.Following)(nil), first)
	require.Implements(t, (*bench.Shared)(nil), first)
	require.Len(t, shared.hubs, 1)
	for _, tap := range []bench.Tap{first, second, alone} {
		require.NoError(t, tap.Close())
	}
	require.NoError(t, shared.Close())
	require.NoError(t, shared.Close())

	tap, err := openTap(&inv.Taps[1], b, Options{Shared: &shared})
	require.NoError(t, err)
	_, follows := tap.(bench.Following)
	require.False(t, follows)
	require.NoError(t, tap.Close())
}

func TestSharedTapsMistakes(t *testing.T) {
	inv, err := Inventory("b.yaml", []byte(sharedBench))
	require.NoError(t, err)
	_, err = openInventory(context.Background(), scenario.DeviceWant{}, Options{Device: "without"}, inv)
	require.ErrorContains(t, err, `b.yaml:8:3: tap "whole" is shared, and device "without" has no carrier`)
	require.NoError(t, checkShared(inv, &inv.Devices[0]))
	inv.Taps[0].Driver = "peek"
	require.ErrorContains(t, checkShared(inv, &inv.Devices[0]), "peek captures the packets of one SIM alone")
	for options, want := range map[string]string{
		`{driver: vxlan, shared: perhaps}`:  `b.yaml:5:33: shared: want true or false, got "perhaps"`,
		`{driver: vxlan, place: "in side"}`: `b.yaml:5:32: place: "in side" is not a place's name`,
	} {
		_, err := Inventory("b.yaml", []byte(devicesOnly+"  tap1: "+options+"\n"))
		require.ErrorContains(t, err, want, options)
	}
}
