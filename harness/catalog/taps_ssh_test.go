package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

func TestTapOverSSH(t *testing.T) {
	inv, err := Inventory("b.yaml", []byte(devicesOnly+`  near: {driver: ssh, host: mirror-host}
  far: {driver: ssh, host: ops@mirror-host, interface: br0, sudo: true, capture: [gre, vxlan], port: 8472, vni: 7, from: 10.0.0.0/8}
`))
	require.NoError(t, err)
	for i, ports := range [][]uint16{nil, {8472}} {
		tap, err := taps[inv.Taps[i].Driver].open(&inv.Taps[i], &bench.Bench{Clock: wallClock{}})
		require.NoError(t, err)
		require.Equal(t, inv.Taps[i].Name, tap.Name())
		require.ElementsMatch(t, ports, tap.(bench.Ported).VXLANPorts())
		require.NoError(t, tap.Close())
	}
}

func TestTapOverSSHMistakes(t *testing.T) {
	for options, want := range map[string]string{
		`{driver: ssh}`: `host`,
		`{driver: ssh, host: -oProxyCommand=touch}`:  `b.yaml:5:3: make tap ssh: host "-oProxyCommand=touch": it must not begin with a dash`,
		`{driver: ssh, host: h, interface: -w}`:      `interface "-w": it must not begin with a dash`,
		`{driver: ssh, host: h, capture: grr}`:       `b.yaml:5:41: `,
		`{driver: ssh, host: h, sudo: yep}`:          `true or false`,
		`{driver: ssh, host: h, vni: 7}`:             "VNIs choose among the networks",
		`{driver: ssh, host: h, promiscuous: true}`:  `unknown key "promiscuous"`,
		`{driver: ssh, host: h, from: 300.1.1.1/99}`: "is not an address or a network",
	} {
		_, err := Inventory("b.yaml", []byte(devicesOnly+"  tap1: "+options+"\n"))
		require.ErrorAs(t, err, new(scenario.Errors), options)
		require.ErrorContains(t, err, want, options)
	}
}

// Every mistake of every tap is told at once: what is checked only where a tap's options can be read does not depend on
// the other taps.
func TestTapMistakesAreIndependent(t *testing.T) {
	_, err := Inventory("b.yaml", []byte(devicesOnly+`  first: {driver: afpacket, interface: e, buffer: huge}
  second: {driver: ssh, host: -oProxyCommand=touch}
  third: {driver: afpacket, interface: e, vni: 1}
`))
	var errs scenario.Errors
	require.ErrorAs(t, err, &errs)
	require.Len(t, errs, 3)
	require.ErrorContains(t, err, `b.yaml:5:51: buffer: "huge"`)
	require.ErrorContains(t, err, `b.yaml:6:3: make tap ssh: host "-oProxyCommand=touch"`)
	require.ErrorContains(t, err, `b.yaml:7:3: make filter: VNIs choose`)
}
