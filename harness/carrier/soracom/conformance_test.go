package soracom

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// TestPromises holds the carrier to bench.Carrier, named by IMSI and by SIM ID.
func TestPromises(t *testing.T) {
	for _, sim := range []string{imsi, simID} {
		t.Run(sim, func(t *testing.T) {
			benchtest.Carrier(t, func(t *testing.T) benchtest.CarrierFixture {
				n := newNetwork(t, Options{SIM: sim})
				return benchtest.CarrierFixture{
					Carrier: n.carrier, Clock: n.clock, Address: netip.MustParseAddr("10.213.7.42"),
					Cut:      benchtest.Call{Verb: "delete_session"},
					Harmless: benchtest.Call{Verb: "set_speed_class", Args: map[string]string{"class": "s1.fast"}},
					Block:    func(*testing.T) { n.server.Inject(api.Fault{Times: -1, Delay: time.Hour}) },
					Traffic: func(t *testing.T) {
						n.sim.Carry(api.Usage{Packets: 3, Bytes: 300}, api.Usage{Packets: 2, Bytes: 200})
						require.NoError(t, n.clock.Sleep(context.Background(), 5*time.Minute))
					},
				}
			})
		})
	}
}
