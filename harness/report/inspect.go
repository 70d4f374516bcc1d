package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// InspectOptions say how a capture is shown.
type InspectOptions struct {
	Account trace.Account // for every byte count; the zero value is the wire account
	Summary bool          // one total instead of the devices
	// Run is the run that the capture is of, nil for a bare capture, and Own counts the packets of its flows that are the run's
	// own canaries.
	Run *trace.Trace
	Own map[*flow.Flow]int
}

// trace is the record that a capture is of: of a bare one, nothing but the capture.
func (o InspectOptions) trace(c *trace.Capture) *trace.Trace {
	if o.Run != nil {
		return o.Run
	}
	return &trace.Trace{Capture: c}
}

func (o InspectOptions) account() trace.Account {
	if o.Account == (trace.Account{}) {
		return trace.Wire
	}
	return o.Account
}

// nanoTime is RFC 3339 with all nine digits of the nanoseconds.
const nanoTime = "2006-01-02T15:04:05.000000000Z07:00"

func stamp(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(nanoTime)
}

// The types below are the JSON contract of `tollgate inspect --json`. Keys are added, never renamed or taken away; a key
// that is missing means 0.
type (
	inspectCapture struct {
		File        string         `json:"file"`
		Format      string         `json:"format"`
		Frames      uint64         `json:"frames"`
		First       string         `json:"first"`
		Last        string         `json:"last"`
		Tunnels     inspectTunnels `json:"tunnels"`
		Undecodable uint64         `json:"undecodable"`
		Truncated   uint64         `json:"truncated"`
		Duplicates  uint64         `json:"duplicates"`
		Inferred    bool           `json:"devices_inferred"`        // nobody said who is a device: whoever opened the flows
		Foreign     uint64         `json:"foreign_flows,omitempty"` // flows of no device, where the devices are told
		Cut         bool           `json:"cut,omitempty"`
		Damage      string         `json:"damage,omitempty"`
	}
	inspectTunnels struct {
		GRE    uint64 `json:"gre"`
		VXLAN  uint64 `json:"vxlan"`
		GENEVE uint64 `json:"geneve"`
		ERSPAN uint64 `json:"erspan"`
		GTPU   uint64 `json:"gtpu,omitempty"`
		IPIP   uint64 `json:"ipip,omitempty"`
		None   uint64 `json:"none"`
	}
	inspectRun struct {
		Scenario    string   `json:"scenario"`
		Bench       string   `json:"bench"`
		Device      string   `json:"device"`
		Model       string   `json:"model"`
		Addresses   []string `json:"addresses"`
		Begin       string   `json:"begin"`
		End         string   `json:"end"`
		Interrupted bool     `json:"interrupted,omitempty"`
		Trouble     string   `json:"trouble,omitempty"`
		Failed      string   `json:"failed,omitempty"`
	}
	inspectPlace struct {
		Place        string              `json:"place"`
		Completeness inspectCompleteness `json:"completeness"`
	}
	inspectCompleteness struct {
		State   string         `json:"state"`
		Missing both[uint64]   `json:"missing_bytes"`
		Reasons []string       `json:"reasons"`
		Holes   map[string]int `json:"holes,omitempty"` // by kind
	}
	both[T any] struct {
		Up   T `json:"up"`
		Down T `json:"down"`
	}
	count struct {
		Packets uint64 `json:"packets"`
		Bytes   uint64 `json:"bytes"`
	}
	flowCount struct {
		count
		Payload uint64 `json:"payload"`
	}
	inspectPhase struct {
		Phase string `json:"phase"`
		both[count]
	}
	inspectDevice struct {
		Address  string         `json:"address"`
		Account  string         `json:"account"`
		Captured both[count]    `json:"captured"`
		OnAir    both[count]    `json:"on_air"`
		Phases   []inspectPhase `json:"phases"`
	}
	inspectFlow struct {
		ID              int              `json:"id"`
		Proto           string           `json:"proto"`
		Device          string           `json:"device"`
		Peer            string           `json:"peer"`
		Name            string           `json:"name"`
		ServerName      string           `json:"server_name,omitempty"`
		Tunnel          string           `json:"tunnel"`
		VLAN            uint16           `json:"vlan"`
		VNI             uint32           `json:"vni"`
		Start           string           `json:"start"`
		End             string           `json:"end"`
		Up              flowCount        `json:"up"`
		Down            flowCount        `json:"down"`
		Began           bool             `json:"began_before_capture"`
		Resumed         bool             `json:"resumed,omitempty"`
		Teardown        *inspectTeardown `json:"teardown,omitempty"` // TCP
		Retransmissions both[int]        `json:"retransmissions"`
		Missing         both[uint64]     `json:"missing"`
		OutOfOrder      *both[int]       `json:"out_of_order,omitempty"`
		Duplicates      *both[int]       `json:"duplicates,omitempty"`
		Own             int              `json:"canaries,omitempty"` // packets of it that are the run's own canaries
		Phases          []inspectPhase   `json:"phases"`
	}
	inspectTeardown struct {
		Kind  string    `json:"kind"`
		First string    `json:"first"` // "device", "peer"; "" where neither sent a FIN
		FIN   both[int] `json:"fin"`
		RST   both[int] `json:"rst"`
		Doubt string    `json:"doubt,omitempty"` // why missing packets may make it something else
	}
	inspectTotal struct {
		Devices  uint64            `json:"devices"`
		Account  string            `json:"account"`
		Flows    map[string]uint64 `json:"flows"`
		Captured both[count]       `json:"captured"`
		OnAir    both[count]       `json:"on_air"`
		Phases   []inspectPhase    `json:"phases"`
		Teardown map[string]uint64 `json:"teardown"`
	}
)

// InspectJSON writes what a capture holds as one JSON object. Devices come by address, a device's flows by their begin; a
// device and a flow have a line each, and are written one by one.
func InspectJSON(w io.Writer, c *trace.Capture, o InspectOptions) error {
	j := &jsonLines{w: bufio.NewWriter(w), own: o.Own}
	j.text(`{"capture": `)
	j.value(captureOf(c))
	if o.Run != nil {
		j.member("run", runOf(o.Run))
	}
	if taps := inspectedTaps(c, o); taps != nil {
		j.member("taps", taps)
	}
	j.member("completeness", completenessOf(c.Completeness))
	j.contents(c, o)
	j.places(c, o)
	j.text("}\n")
	if j.err == nil {
		j.err = j.w.Flush()
	}
	if j.err != nil {
		return fmt.Errorf("write inspection of %s: %w", c.File, j.err)
	}
	return nil
}

// jsonLines writes JSON piece by piece and keeps the first error.
type jsonLines struct {
	w   *bufio.Writer
	own map[*flow.Flow]int
	err error
}

// member writes one more member of the object that is open.
func (j *jsonLines) member(key string, v any) {
	j.text(",\n \"" + key + "\": ")
	j.value(v)
}

// contents writes the devices of a record, or its total.
func (j *jsonLines) contents(c *trace.Capture, o InspectOptions) {
	if o.Summary {
		j.member("total", totalOf(c, o.account()))
		return
	}
	j.devices(c, o.account())
}

// places writes the records of the places that are not the main one.
func (j *jsonLines) places(c *trace.Capture, o InspectOptions) {
	for i, other := range c.Others {
		if i == 0 {
			j.text(",\n \"places\": [")
		} else {
			j.text(",")
		}
		j.text("\n ")
		j.open(inspectPlace{other.Place, completenessOf(completeAt(other, o))})
		j.contents(other, o)
		j.text("}")
	}
	if len(c.Others) > 0 {
		j.text("]")
	}
}

// completeAt is how complete the record of another place is: by all that its run knows, where it is a run's.
func completeAt(c *trace.Capture, o InspectOptions) trace.Completeness {
	if o.Run == nil {
		return c.Completeness
	}
	return o.Run.At(c.Place).Completeness(trace.Scope{})
}

// inspectedTaps are the taps of a record: of a run's, and of a bare capture that has several.
func inspectedTaps(c *trace.Capture, o InspectOptions) []tapCount {
	if o.Run == nil {
		return severalTaps(o.trace(c))
	}
	return tapCounts(o.Run)
}

func (j *jsonLines) text(s string) {
	if j.err == nil {
		_, j.err = j.w.WriteString(s)
	}
}

func (j *jsonLines) value(v any) {
	if j.err != nil {
		return
	}
	var b []byte
	if b, j.err = json.Marshal(v); j.err == nil {
		_, j.err = j.w.Write(safeJSON(b))
	}
}

func (j *jsonLines) devices(c *trace.Capture, a trace.Account) {
	j.text(",\n \"devices\": [")
	for i := range c.Devices {
		d := &c.Devices[i]
		if i > 0 {
			j.text(",")
		}
		j.text("\n  ")
		j.open(deviceOf(d, a))
		j.text(",\n   \"flows\": [")
		for k, id := range d.Flows {
			if k > 0 {
				j.text(",")
			}
			j.text("\n    ")
			f := c.Flow(id)
			text := flowOf(f, a)
			text.Own = j.own[f]
			j.value(text)
		}
		j.text("]}")
	}
	j.text("]")
}

// open writes an object without its last brace, so that a long member can follow.
func (j *jsonLines) open(v any) {
	if j.err != nil {
		return
	}
	var b []byte
	if b, j.err = json.Marshal(v); j.err == nil {
		_, j.err = j.w.Write(safeJSON(b[:len(b)-1]))
	}
}

func captureOf(c *trace.Capture) inspectCapture {
	t := c.Tunnels
	return inspectCapture{
		File: c.File, Format: c.Format, Frames: c.Frames, First: stamp(c.First), Last: stamp(c.Last),
		Tunnels:     inspectTunnels{t["gre"], t["vxlan"], t["geneve"], t["erspan"], t["gtpu"], t["ipip"], t["none"]},
		Undecodable: c.Undecodable, Truncated: c.Truncated, Duplicates: c.Duplicates,
		Inferred: c.Inferred, Foreign: c.Foreign, Cut: c.Cut, Damage: c.Damage,
	}
}

func runOf(t *trace.Trace) inspectRun {
	out := inspectRun{Scenario: t.Scenario, Bench: t.Bench, Device: t.Device, Model: t.Model, Addresses: []string{}, Begin: t.Begin.UTC().Format(nanoTime),
		End: t.End.UTC().Format(nanoTime), Interrupted: t.Interrupted, Trouble: t.Trouble, Failed: t.Failed}
	for _, a := range t.DeviceAddrs {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

func completenessOf(c trace.Completeness) inspectCompleteness {
	out := inspectCompleteness{State: c.State.String(), Missing: pair(c.Missing), Reasons: c.Reasons}
	if out.Reasons == nil {
		out.Reasons = []string{}
	}
	for _, h := range c.Holes {
		if out.Holes == nil {
			out.Holes = map[string]int{}
		}
		out.Holes[string(h.Kind)]++
	}
	return out
}

func pair[T any](b flow.Both[T]) both[T] { return both[T]{Up: b[flow.Up], Down: b[flow.Down]} }

// counts gives tallies as captured, in the account's bytes.
func counts(a trace.Account, t flow.Both[flow.Tally]) both[count] {
	var out flow.Both[count]
	for d := range t {
		out[d] = count{t[d].Packets, a.Bytes(flow.Direction(d), t[d])}
	}
	return pair(out)
}

// airCounts gives tallies as the air carried them.
func airCounts(a trace.Account, t flow.Both[flow.Tally]) both[count] {
	var out flow.Both[count]
	for d := range t {
		out[d] = count{t[d].AirPackets, a.AirBytes(flow.Direction(d), t[d])}
	}
	return pair(out)
}

// phasesOf lists the phases that have packets.
func phasesOf(a trace.Account, p *flow.Phases) []inspectPhase {
	out := []inspectPhase{}
	for i := range p {
		if p[i][flow.Up].Packets+p[i][flow.Down].Packets > 0 {
			out = append(out, inspectPhase{Phase: flow.Phase(i).String(), both: counts(a, p[i])})
		}
	}
	return out
}

func deviceOf(d *trace.Device, a trace.Account) inspectDevice {
	return inspectDevice{
		Address: d.Address.String(), Account: a.Name,
		Captured: counts(a, d.Tally), OnAir: airCounts(a, d.Tally), Phases: phasesOf(a, &d.Phases),
	}
}

func totalOf(c *trace.Capture, a trace.Account) inspectTotal {
	t := &c.Total
	out := inspectTotal{
		Devices: t.Devices, Account: a.Name, Flows: t.Flows,
		Captured: counts(a, t.Tally), OnAir: airCounts(a, t.Tally), Phases: phasesOf(a, &t.Phases), Teardown: map[string]uint64{},
	}
	for k, n := range t.Closes {
		if n > 0 {
			out.Teardown[flow.Close(k).String()] = n
		}
	}
	return out
}

func flowOf(f *flow.Flow, a trace.Account) inspectFlow {
	out := inspectFlow{
		ID: f.ID, Proto: trace.Proto(f.Kind), Device: endpoint(f.Kind, f.Device), Peer: endpoint(f.Kind, f.Peer), Name: f.Name,
		Tunnel: f.Path.Tunnel.String(), VNI: f.Path.VNI, Start: stamp(f.Start), End: stamp(f.End),
		Up: flowCountOf(f, a, flow.Up), Down: flowCountOf(f, a, flow.Down), Began: f.BeganBeforeCapture, Resumed: f.Resumed,
		Retransmissions: sides(f, func(s *flow.Side) int { return s.Retransmissions }),
		Missing:         sides(f, func(s *flow.Side) uint64 { return s.Missing }),
		Phases:          phasesOf(a, &f.Phases),
	}
	if n := len(f.Path.VLANs); n > 0 {
		out.VLAN = f.Path.VLANs[n-1]
	}
	if f.TLS != nil {
		out.ServerName = f.TLS.ServerName
	}
	if o := sides(f, func(s *flow.Side) int { return s.OutOfOrder }); o != (both[int]{}) {
		out.OutOfOrder = &o
	}
	if d := sides(f, func(s *flow.Side) int { return s.Duplicates }); d != (both[int]{}) {
		out.Duplicates = &d
	}
	if f.Kind == packet.TCP {
		out.Teardown = teardownOf(f)
	}
	return out
}

func flowCountOf(f *flow.Flow, a trace.Account, d flow.Direction) flowCount {
	t := f.Count(d)
	return flowCount{count: count{t.Packets, a.Bytes(d, t)}, Payload: f.Sides[d].Payload}
}

func teardownOf(f *flow.Flow) *inspectTeardown {
	out := &inspectTeardown{Kind: f.Close.String(), Doubt: f.CloseDoubt,
		FIN: sides(f, func(s *flow.Side) int { return s.FIN }), RST: sides(f, func(s *flow.Side) int { return s.RST })}
	switch {
	case !f.FinSeen:
	case f.FirstClose == flow.Up:
		out.First = "device"
	default:
		out.First = "peer"
	}
	return out
}

func sides[T any](f *flow.Flow, of func(*flow.Side) T) both[T] {
	return both[T]{Up: of(&f.Sides[flow.Up]), Down: of(&f.Sides[flow.Down])}
}

// endpoint writes an end of a flow: with its port where the protocol has ports.
func endpoint(k packet.Kind, a netip.AddrPort) string {
	if k == packet.TCP || k == packet.UDP {
		return a.String()
	}
	return a.Addr().String()
}
