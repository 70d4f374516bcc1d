package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/capture/socket"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

const devicesOnly = "bench: desk\ndevices:\n  d: {driver: wio-lte, port: {path: /dev/x}}\ntaps:\n"

func TestTapsOnSockets(t *testing.T) {
	inv, err := Inventory("b.yaml", []byte(devicesOnly+`  near: {driver: vxlan}
  aws: {driver: vxlan, listen: "0.0.0.0:8472", vni: [10, 11], from: [10.0.0.7, "2001:db8::/32"], buffer: 64MiB}
  one: {driver: vxlan, listen: 127.0.0.2, vni: 42}
  junction: {driver: gre, listen: 10.0.0.2, key: 0x1f, from: 192.0.2.0/24}
`))
	require.NoError(t, err)
	want := []string{"127.0.0.1:4789", "0.0.0.0:8472", "127.0.0.2:4789", "10.0.0.2:0"}
	for i := range inv.Taps {
		tap, err := taps[inv.Taps[i].Driver].open(&inv.Taps[i], nil)
		require.NoError(t, err)
		require.Equal(t, inv.Taps[i].Name, tap.Name())
		require.Equal(t, want[i], tap.(*socket.Tap).Listening().String())
		require.NoError(t, tap.Close())
	}
}

func TestTapsOnSocketsMistakes(t *testing.T) {
	for options, want := range map[string]string{
		`{driver: vxlan, listen: ":4789"}`:        `b.yaml:5:33: listen: listen on ":4789": write ADDRESS:PORT`,
		`{driver: vxlan, listen: mirror-host}`:    `b.yaml:5:33: listen: listen on "mirror-host"`,
		`{driver: vxlan, listen: [a]}`:            "b.yaml:5:33: listen: want a place to listen such as 10.0.0.2:4789, got a list",
		`{driver: vxlan, vni: 16777216}`:          "b.yaml:5:30: vni: \"16777216\" is not a whole number from 0 to 16777215",
		`{driver: vxlan, vni: [1, x]}`:            `vni[1]: "x" is not a whole number`,
		`{driver: vxlan, key: 1}`:                 `b.yaml:5:25: unknown key "key" in a tap`,
		`{driver: vxlan, from: mirror}`:           `b.yaml:5:31: from: "mirror" is not an address or a network such as 10.0.0.0/8`,
		`{driver: vxlan, buffer: 64}`:             `b.yaml:5:33: buffer: "64" is not a size from 4KiB to 1GiB, such as 512KiB or 64MiB`,
		`{driver: vxlan, buffer: 2GiB}`:           `"2GiB" is not a size`,
		`{driver: vxlan, buffer: 1KiB}`:           `"1KiB" is not a size`,
		`{driver: vxlan, buffer: -1MiB}`:          `"-1MiB" is not a size`,
		`{driver: gre, listen: "10.0.0.2:47"}`:    "GRE has no ports",
		`{driver: gre, key: 0x1ffffffff}`:         `"0x1ffffffff" is not a GRE key: write a number of 32 bits`,
		`{driver: gre, listen: 10.0.0.2, vni: 1}`: `unknown key "vni" in a tap`,
		`{driver: vxlam}`:                         `no driver "vxlam": did you mean "vxlan"?`,
	} {
		_, err := Inventory("b.yaml", []byte(devicesOnly+"  tap1: "+options+"\n"))
		require.ErrorAs(t, err, new(scenario.Errors), options)
		require.ErrorContains(t, err, want, options)
	}
}
