package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// The scenario language knows the phases by name, below the analyser that finds them.
func TestPhasesOfTheLanguageAreTheAnalysers(t *testing.T) {
	var names []string
	for p := range flow.NumPhases {
		names = append(names, p.String())
	}
	require.Equal(t, names, scenario.Phases)
	require.Equal(t, []string{flow.Up.String(), flow.Down.String()}, scenario.Directions)
}
