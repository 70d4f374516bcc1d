package scenarios_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/device/trigger"
	"github.com/tollgate-iot/tollgate/harness/device/wiolte"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/scenarios"
)

// abilities are those of each model's device, with a carrier and a tap.
func abilities(model string) plan.Abilities {
	a := plan.Abilities{Device: model, Model: model, Driver: "trigger", Verbs: trigger.Verbs(), Tap: true,
		Carrier: []plan.VerbSpec{{Name: "delete_session"}}, Events: []string{"session.created", "session.modified", "session.deleted"}}
	if model == "wio-lte" {
		a.Driver, a.Verbs = "wio-lte", wiolte.Verbs()
	}
	return a
}

func TestShippedScenarios(t *testing.T) {
	names := scenarios.Names()
	require.Equal(t, []string{"button/click", "gps-multiunit/start", "wio-lte/beam-http", "wio-lte/beam-tcp", "wio-lte/beam-udp",
		"wio-lte/http", "wio-lte/https", "wio-lte/reconnect"}, names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			file, data, err := scenarios.Read(name)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(data), "# yaml-language-server: $schema=../scenario.schema.json\n"), "editors find the schema")
			s, err := scenario.Parse(file, data)
			require.NoError(t, err)
			require.Equal(t, name, s.Name)
			require.NotEmpty(t, s.About)
			require.Equal(t, []string{name}, s.Expect.Names, "its claims are a file of the same name")
			p, err := plan.Make(s, abilities(s.Device.Model), nil)
			require.NoError(t, err)
			require.NotEmpty(t, p.Steps[0].Window, "what is judged is a window")
		})
	}
}

func TestReadUnknown(t *testing.T) {
	_, _, err := scenarios.Read("wio-lte/htpp")
	require.EqualError(t, err, `read scenario: none is called "wio-lte/htpp": did you mean "wio-lte/http"?`)
	_, _, err = scenarios.Read("wio-lte/../wio-lte/http")
	require.Error(t, err)
}

// The schema stands beside the scenarios for editors. `tollgate schema scenario` writes it.
func TestSchemaFileIsCurrent(t *testing.T) {
	file, err := os.ReadFile("scenario.schema.json")
	require.NoError(t, err)
	require.Equal(t, string(scenario.Schema()), string(file), "renew it: go run ./cmd/tollgate schema scenario > scenarios/scenario.schema.json")
}
