package report

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// resultSchema is raised when a field of result.json changes its meaning; fields may be added without.
const resultSchema = 1

// result is result.json. Times are on the bench's clock.
type result struct {
	Schema       int               `json:"schema"`
	Tollgate     string            `json:"tollgate"` // version
	Scenario     string            `json:"scenario,omitempty"`
	File         string            `json:"file,omitempty"` // of the scenario, or the capture
	About        string            `json:"about,omitempty"`
	Bench        string            `json:"bench,omitempty"`
	Device       string            `json:"device,omitempty"`
	Model        string            `json:"model,omitempty"`
	Account      string            `json:"account"`
	Strict       bool              `json:"strict"`
	Verdict      verdict.Verdict   `json:"verdict"`
	Interrupted  bool              `json:"interrupted"`
	Trouble      string            `json:"trouble,omitempty"`
	Failed       string            `json:"failed,omitempty"`
	Begin        time.Time         `json:"begin,omitzero"`
	End          time.Time         `json:"end,omitzero"`
	WallSeconds  float64           `json:"wall_seconds"`
	Completeness completeness      `json:"completeness"`
	Totals       totals            `json:"totals"`
	Windows      []windowTotals    `json:"windows"`
	Taps         []tapCount        `json:"taps,omitempty"`   // where the record has more than one
	Places       []placeCount      `json:"places,omitempty"` // other than the one that is judged
	Findings     []verdict.Finding `json:"findings"`
}

type completeness struct {
	State   string      `json:"state"`
	Missing both[int64] `json:"missing_bytes"`
	Reasons []string    `json:"reasons"`
}

type totals struct {
	Frames   uint64            `json:"frames"`
	Devices  []string          `json:"devices"`
	Flows    map[string]uint64 `json:"flows"`
	Captured both[Count]       `json:"captured"`
	OnAir    both[Count]       `json:"on_air"`
	Teardown map[string]uint64 `json:"teardown"`
}

type windowTotals struct {
	Name   string       `json:"name"`
	From   time.Time    `json:"from"`
	To     time.Time    `json:"to"`
	Total  both[Count]  `json:"total"`
	Phases []phaseTotal `json:"phases"`
}

type phaseTotal struct {
	Phase string `json:"phase"`
	both[Count]
}

// JSON gives result.json: everything that a machine may want of a verdict, and the same bytes for the same record
// judged by the same expectations. It may be shown on a terminal as it is.
func JSON(r *Run) ([]byte, error) {
	t := r.Trace
	out := result{
		Schema: resultSchema, Tollgate: r.Version, Scenario: t.Scenario, File: t.File, About: t.About,
		Bench: t.Bench, Device: t.Device, Model: t.Model, Account: r.account().Name, Strict: r.Strict,
		Verdict: r.Verdict, Interrupted: t.Interrupted, Trouble: t.Trouble, Failed: t.Failed,
		Begin: t.Begin.UTC(), End: t.End.UTC(), WallSeconds: t.Wall.Round(time.Millisecond).Seconds(),
		Windows: windowsOf(r), Findings: r.Findings,
	}
	if t.Begin.IsZero() {
		out.Begin, out.End = time.Time{}, time.Time{}
	}
	if out.Findings == nil {
		out.Findings = []verdict.Finding{}
	}
	if t.Capture != nil {
		out.Totals = totalsOf(t, r.account())
		out.Completeness = completeOf(&t.Capture.Completeness)
		out.Taps, out.Places = severalTaps(t), placeCounts(t, r.account())
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write result: %w", err)
	}
	return append(safeJSON(b), '\n'), nil
}

func completeOf(c *trace.Completeness) completeness {
	out := completeness{State: c.State.String(), Reasons: c.Reasons}
	out.Missing = both[int64]{Up: int64(c.Missing[flow.Up]), Down: int64(c.Missing[flow.Down])}
	if out.Reasons == nil {
		out.Reasons = []string{}
	}
	return out
}

func totalsOf(t *trace.Trace, a trace.Account) totals {
	c := t.Capture
	out := totals{Frames: c.Frames, Devices: []string{}, Flows: c.Total.Flows, Teardown: map[string]uint64{}}
	for _, d := range c.Devices {
		out.Devices = append(out.Devices, d.Address.String())
	}
	if out.Flows == nil {
		out.Flows = map[string]uint64{}
	}
	for kind, n := range c.Total.Closes {
		if k := flow.Close(kind); n > 0 && k != flow.NoClose {
			out.Teardown[k.String()] = n
		}
	}
	up, down := c.Total.Tally[flow.Up], c.Total.Tally[flow.Down]
	out.Captured = both[Count]{Count{up.Packets, a.Bytes(flow.Up, up)}, Count{down.Packets, a.Bytes(flow.Down, down)}}
	out.OnAir = both[Count]{Count{up.AirPackets, a.AirBytes(flow.Up, up)}, Count{down.AirPackets, a.AirBytes(flow.Down, down)}}
	return out
}

func windowsOf(r *Run) []windowTotals {
	out := []windowTotals{}
	if len(r.Trace.Windows) == 0 {
		return out
	}
	byName := map[string]trace.Window{}
	for _, w := range r.Trace.Windows {
		byName[WindowName(w)] = w
	}
	for _, t := range Tables(r) {
		w := byName[t.Name]
		wt := windowTotals{Name: t.Name, From: w.From.UTC(), To: w.To.UTC(), Total: both[Count]{t.Total.Up, t.Total.Down}, Phases: []phaseTotal{}}
		for _, row := range t.Rows {
			wt.Phases = append(wt.Phases, phaseTotal{row.Name, both[Count]{row.Up, row.Down}})
		}
		out = append(out, wt)
	}
	return out
}
