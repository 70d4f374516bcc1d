package flow

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// perPacketUp is what the carrier bills beyond the frame for each packet up (facts of the tables' article).
const perPacketUp = 36

type counts [2]uint64 // packets, bytes

type upDown struct{ Up, Down counts }

// TestTables holds the billed phases of the fixtures' captures, captured and on the air.
func TestTables(t *testing.T) {
	data, err := os.ReadFile(fixture("tables.yaml"))
	require.NoError(t, err)
	var tables map[string]struct {
		Phases   map[string]upDown
		Captured *upDown
		OnAir    upDown `yaml:"on_air"`
		Flows    map[string]int
		Teardown string
	}
	require.NoError(t, yaml.Unmarshal(data, &tables))
	require.NotEmpty(t, tables)
	for name, want := range tables {
		t.Run(name, func(t *testing.T) {
			flows := readCapture(t, fixture("captures/"+name+".pcap"), Options{})
			got := map[string]upDown{}
			var air, captured upDown
			kinds := map[string]int{}
			for _, f := range flows {
				if f.Phases[ICMP] != (Both[Tally]{}) {
					continue // the table has no room for a neighbour's ICMPv6
				}
				if f.Kind == packet.TCP {
					require.Equal(t, want.Teardown, f.Close.String())
				}
				kinds[map[uint8]string{6: "tcp", 17: "udp"}[f.Proto]]++
				for p := range NumPhases {
					both := f.Phases[p]
					if both == (Both[Tally]{}) {
						continue
					}
					u := got[p.String()]
					u.Up.add(both[Up].Packets, both[Up].Bytes+perPacketUp*both[Up].Packets)
					u.Down.add(both[Down].Packets, both[Down].Bytes)
					got[p.String()] = u
					captured.Up.add(both[Up].Packets, both[Up].Bytes+perPacketUp*both[Up].Packets)
					captured.Down.add(both[Down].Packets, both[Down].Bytes)
					air.Up.add(both[Up].AirPackets, both[Up].AirBytes+perPacketUp*both[Up].AirPackets)
					air.Down.add(both[Down].AirPackets, both[Down].AirBytes)
				}
			}
			require.Equal(t, want.Phases, got)
			require.Equal(t, want.OnAir, air)
			require.Equal(t, want.Flows, kinds)
			if want.Captured != nil {
				require.Equal(t, *want.Captured, captured)
			}
		})
	}
}

func (c *counts) add(packets, bytes uint64) {
	c[0] += packets
	c[1] += bytes
}
