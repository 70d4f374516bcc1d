package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

func TestTapsOnInterfaces(t *testing.T) {
	inv, err := Inventory("b.yaml", []byte(devicesOnly+`  junction: {driver: afpacket, interface: eth0}
  aws: {driver: afpacket, interface: eth1, capture: [vxlan, geneve], port: [8472, 4790], vni: 42, from: 10.0.0.0/8, to: [10.1.2.3], buffer: 64MiB}
  wire: {driver: afpacket, interface: eth2, capture: plain, promiscuous: true}
`))
	require.NoError(t, err)
	for i, want := range []struct {
		filter string
		ports  []uint16
	}{{"gre", nil}, {"vxlan, geneve (VXLAN ports 4789, 4790, 8472; VNI 42) from 10.0.0.0/8 to 10.1.2.3/32", []uint16{4790, 8472}}, {"plain", nil}} {
		p := &inv.Taps[i]
		var errs scenario.Errors
		o := afpacketObject().Read(&errs, p.Name, scenario.Value{Pos: p.Pos, Map: p.Options})
		require.NoError(t, errs.Err())
		require.Equal(t, want.filter, o.tap.Filter.String())
		require.Equal(t, i == 2, o.tap.Promiscuous)
		tap, err := taps[p.Driver].open(p, nil)
		require.NoError(t, err)
		require.Equal(t, p.Name, tap.Name())
		require.Equal(t, want.ports, tap.(bench.Ported).VXLANPorts())
		require.NoError(t, tap.Close())
	}
}

func TestTapsOnInterfacesMistakes(t *testing.T) {
	for options, want := range map[string]string{
		`{driver: afpacket}`:                                           `b.yaml:5:3: a tap needs "interface"`,
		`{driver: afpacket, interface: e, capture: geer}`:              `capture: unknown kind of mirror "geer": did you mean "gre"?`,
		`{driver: afpacket, interface: e, vni: 1}`:                     `b.yaml:5:3: make filter: VNIs choose among the networks of vxlan and geneve`,
		`{driver: afpacket, interface: e, capture: vxlan, port: 0}`:    `b.yaml:5:64: port: "0" is not a whole number from 1 to 65535`,
		`{driver: afpacket, interface: e, from: "::/0", to: 10.0.0.1}`: `no packet has both`,
		`{driver: afpacket, interface: e, promiscuous: perhaps}`:       `b.yaml:5:55: promiscuous: want true or false, got "perhaps"`,
		`{driver: afpacket, interface: ""}`:                            "b.yaml:5:39: interface: no name is given: `ip -brief link` lists",
		`{driver: afpacket, interface: e, capture: gre, buffer: 3GiB}`: `b.yaml:5:64: buffer: "3GiB" is not a size`,
	} {
		_, err := Inventory("b.yaml", []byte(devicesOnly+"  tap1: "+options+"\n"))
		require.ErrorAs(t, err, new(scenario.Errors), options)
		require.ErrorContains(t, err, want, options)
	}
}
