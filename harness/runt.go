package harness

import (
	"strings"
	"testing"

	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// RunT runs a scenario inside `go test` and fails the test unless the verdict is pass; the report goes to the test's
// log. The run directory is the test's own, kept where o.Out names one. The test's deadline and end stop the run.
func RunT(t testing.TB, scenario string, o Options) *Result {
	t.Helper()
	if o.Out == "" {
		o.Out = t.TempDir()
	}
	r, err := Run(t.Context(), scenario, o)
	if err != nil {
		t.Fatalf("%s: %v", scenario, err)
	}
	var text strings.Builder
	if err := report.Terminal(&text, r, report.Style{}); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	if r.Verdict != verdict.Pass {
		t.Errorf("%s: %s, not pass", scenario, r.Verdict)
	}
	return r
}
