package sim_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// row is one phase of a table, packets and bytes each way in SORACOM's account.
type row struct{ Up, Down [2]int }

// beyondHeaders is what a phase carries beyond bare TCP headers: the same however many pure acknowledgements there are.
func (r row) beyondHeaders() [2]int {
	return [2]int{r.Up[1] - 90*r.Up[0], r.Down[1] - 54*r.Down[0]}
}

// table is one of the article's.
type table struct {
	Phases   map[string]row
	Teardown string
}

// What the live stacks send is what the article's tables say, but for pure acknowledgements, whose number depends on
// scheduling: datagrams exactly, TCP by the bytes that a phase carries beyond bare headers.
func TestTables(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../fixtures/tables.yaml")
	require.NoError(t, err)
	var tables map[string]table
	require.NoError(t, yaml.Unmarshal(data, &tables))
	for _, c := range []struct {
		table, personality, verb string
		args                     map[string]string
		wait                     time.Duration
		// tlsUp is by how much our ClientHello is longer than the modem's: crypto/tls always sends a session ID.
		tlsUp int
	}{
		{"button-click", "button", "click", nil, 20 * time.Second, 0},
		{"gps-multiunit-start", "gps-multiunit", "power_on", nil, 130 * time.Second, 0},
		{"wio-lte-http", "", "http_get", map[string]string{"url": website}, 65 * time.Second, 0},
		{"wio-lte-https", "", "http_get", map[string]string{"url": objects}, 65 * time.Second, 35},
		{"wio-lte-beam-http", "", "http_get", map[string]string{"url": beam}, 65 * time.Second, 0},
		{"wio-lte-beam-tcp", "", "tcp", map[string]string{"to": socket, "send": "hello"}, 5 * time.Second, 0},
		{"wio-lte-beam-udp", "", "udp", map[string]string{"to": socket, "send": "hello"}, 5 * time.Second, 0},
	} {
		t.Run(c.table, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sim.Options{Personality: c.personality})
			if c.personality == "" {
				r.must("activate", nil)
			}
			r.must(c.verb, c.args)
			r.sleep(c.wait)
			capture := r.finish()
			want, got := tables[c.table], perPhase(capture)
			require.NotEmpty(t, want.Phases)
			for name, w := range want.Phases {
				if name == "tls_handshake" {
					w.Up[1] += c.tlsUp
				}
				g := got[name]
				if want.Teardown == "" || name == "dns" { // datagrams alone
					require.Equal(t, w, g, name)
				}
				require.Equal(t, w.beyondHeaders(), g.beyondHeaders(), "%s: %v", name, g)
				require.Equal(t, [2]bool{w.Up[0] > 0, w.Down[0] > 0}, [2]bool{g.Up[0] > 0, g.Down[0] > 0}, "%s: %v", name, g)
				delete(got, name)
			}
			require.Empty(t, got, "phases that the table has not")
			for _, f := range capture.Flows {
				if f.Close != flow.NoClose {
					require.Equal(t, want.Teardown, f.Close.String())
				}
			}
		})
	}
}

// perPhase sums up a capture's phases as the air carried them.
func perPhase(c *trace.Capture) map[string]row {
	rows := map[string]row{}
	for p, tally := range c.Total.Phases {
		up, down := tally[flow.Up], tally[flow.Down]
		if up.Packets+down.Packets == 0 {
			continue
		}
		rows[flow.Phase(p).String()] = row{
			Up:   [2]int{int(up.AirPackets), int(trace.Soracom.AirBytes(flow.Up, up))},
			Down: [2]int{int(down.AirPackets), int(trace.Soracom.AirBytes(flow.Down, down))},
		}
	}
	return rows
}
