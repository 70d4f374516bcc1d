package soracom

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
	"github.com/tollgate-iot/tollgate/harness/sim/api/apitest"
)

// TestEveryCallFitsTheDefinition has the client make every call that it knows, by IMSI and by SIM ID, through the
// carrier's own definition.
func TestEveryCallFitsTheDefinition(t *testing.T) {
	d := apitest.Load(t)
	for _, sim := range []string{imsi, simID} {
		n := newNetwork(t, Options{})
		checked := httptest.NewServer(d.Handler(t, n.server.API))
		defer checked.Close()
		c := n.server.Credentials()
		for _, way := range []Credentials{
			{AuthKeyID: c.AuthKeyID, AuthKey: c.AuthKey}, {Email: c.Email, Password: c.Password},
			{OperatorID: c.OperatorID, UserName: c.UserName, Password: c.UserPassword},
		} {
			carrier := n.another(Options{SIM: sim, Endpoint: checked.URL, Credentials: way})
			exercise(t, n, carrier)
			require.NoError(t, carrier.Close())
		}
		require.Equal(t, 3, n.calls("/auth/logout"))
		require.Equal(t, 3, n.calls("/token"))
		require.Positive(t, n.calls("/stats/air"))
		require.Positive(t, n.calls("GET /sims/"+simID+"/packet_capture_sessions"))
	}
}

// exercise makes every call of a carrier.
func exercise(t *testing.T, n *network, carrier *Carrier) {
	ctx := context.Background()
	begin := n.clock.Now()
	_, err := carrier.Do(ctx, "activate", nil)
	require.NoError(t, err)
	n.sim.Connect(api.Session{})
	id, err := carrier.StartCapture(ctx, time.Minute)
	require.NoError(t, err)
	n.captureUntil(carrier, id, CaptureCapturing)
	n.sim.Pass([]byte("a packet"))
	require.NoError(t, n.clock.Sleep(ctx, time.Second))
	require.NoError(t, carrier.StopCapture(ctx, id))
	n.captureUntil(carrier, id, CaptureDone)
	require.Contains(t, n.readCapture(carrier, id), "a packet")
	require.NoError(t, carrier.DeleteCapture(ctx, id))
	n.server.Inject(api.Fault{Method: "POST", Path: "/sims/*/packet_capture_sessions", Status: 503, Done: true})
	id, err = carrier.StartCapture(ctx, time.Minute) // found in the list
	require.NoError(t, err)
	require.NoError(t, carrier.DeleteCapture(ctx, id))
	args := map[string]map[string]string{
		"set_speed_class": {"class": "s1.fast"}, "ping": {"count": "2", "timeout": "3s"},
	}
	require.NoError(t, carrier.Canary(ctx))
	for _, verb := range []string{"delete_session", "set_speed_class", "ping", "deactivate", "activate", "suspend", "set_to_standby"} {
		_, err := carrier.Do(ctx, verb, args[verb])
		require.NoError(t, err, verb)
	}
	_, err = carrier.Address(ctx)
	require.NoError(t, err)
	events, err := carrier.Events(ctx, begin)
	require.NoError(t, err)
	require.NotEmpty(t, events)
	require.NoError(t, n.clock.Sleep(ctx, renewAfter+time.Second))
	_, err = carrier.Stats(ctx, begin, n.clock.Now())
	require.NoError(t, err)
}
