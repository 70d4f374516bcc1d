// Package trace is one run's record: the packets' flows as the taps saw them, the timeline of what was done, the windows,
// and what the taps lost. It also reads a bare capture into the same form, and says how complete the record is.
package trace

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

// Account says how bytes are counted. Every account is linear in packets and wire bytes.
type Account struct {
	Name          string
	PerPacketUp   int // bytes added to each packet up
	PerPacketDown int
}

// The built-in accounts. Soracom bills 36 bytes more for each packet up: the article's seven tables come out exactly so.
var (
	Wire    = Account{Name: "wire"}
	Soracom = Account{Name: "soracom", PerPacketUp: 36}
)

// Bytes gives the bytes that the account counts for a tally as captured.
func (a Account) Bytes(d flow.Direction, t flow.Tally) uint64 {
	return t.Bytes + t.Packets*uint64(a.extra(d))
}

// AirBytes gives the bytes that the account counts for a tally as the air carried it.
func (a Account) AirBytes(d flow.Direction, t flow.Tally) uint64 {
	return t.AirBytes + t.AirPackets*uint64(a.extra(d))
}

func (a Account) extra(d flow.Direction) int {
	if d == flow.Up {
		return a.PerPacketUp
	}
	return a.PerPacketDown
}

// State is how complete a capture is.
type State uint8

// The states. The zero value claims nothing.
const (
	Unproven State = iota // nothing is known to be missing, and nothing that counts says that nothing is
	Whole                 // something independent counted the packets, and all of them are there
	Broken                // packets, or parts of them, are known to be missing
)

func (s State) String() string { return [...]string{"unproven", "whole", "broken"}[s] }

// HoleKind says by what evidence something is known to be missing.
type HoleKind string

// The evidence of loss.
const (
	HoleSequence HoleKind = "tcp_sequence" // a hole in sequence numbers that was never filled
	HoleAcked    HoleKind = "acked_unseen" // data acknowledged that was never seen
	HoleGRE      HoleKind = "gre_sequence"
	HoleIPID     HoleKind = "ip_id"
	HoleDrops    HoleKind = "drops"   // drop counters of kernel, socket or file
	HoleCut      HoleKind = "cut"     // packets cut inside their headers, or a file that ends inside a record
	HolePayload  HoleKind = "payload" // packets cut behind their headers: all but what they carried is known
	HoleCarrier  HoleKind = "carrier" // the carrier counted more than the tap
	HoleTap      HoleKind = "tap"     // the tap was not capturing
	HoleTaps     HoleKind = "taps"    // what several taps saw can be told as one packet or as two
	HoleRecord   HoleKind = "record"  // captured, and not recorded
)

// Hole is one piece of evidence that packets are missing, or parts of packets.
type Hole struct {
	Kind     HoleKind
	From, To int64      // nanoseconds since the Unix epoch between which it was missed; To 0 means the end of the record
	Device   netip.Addr // invalid where it may concern any device
	Flow     int        // flow.Flow.ID, -1 where it may concern any flow
	Dir      flow.Direction
	Packets  uint64 // at least so many packets, 0 where unknown
	Bytes    uint64 // payload bytes, 0 where unknown
	Reason   string // a person's sentence, with times relative to nothing: "4,096 bytes acknowledged but never seen"
}

// Completeness is the judgement of a record, or of a part of it.
type Completeness struct {
	State   State
	Missing flow.Both[uint64] // payload bytes proved missing
	Holes   []Hole
	Reasons []string // what proves the state, each a sentence
}

// Capture is what the analyser made of the packets.
type Capture struct {
	File        string
	Format      string // "pcap", "pcapng", with ".gz" or ".zst" where compressed
	Frames      uint64
	First, Last int64             // nanoseconds since the Unix epoch
	Tunnels     map[string]uint64 // frames by each kind of tunnel they came through, nested ones under all of theirs
	Undecodable uint64            // frames in which no device's packet could be read
	Truncated   uint64            // packets cut short
	HeadersCut  uint64            // of those, that may lack something of their headers (packet.Packet.HeadersCut)
	Duplicates  uint64
	Inferred    bool   // devices were inferred from who opened the flows
	Foreign     uint64 // flows in which no device takes part, where the devices are told: left out of everything below
	Cut         bool   // the file ends inside a record
	Damage      string // where and how the file contradicts itself, "" where it does not; read up to there

	// Steps are clocks that were set while they gave the frames their times, as far as that shows; see Trace.ClockDoubt.
	Steps []ClockStep
	// Disorder is how far a frame lies behind the latest before it, at most, in nanoseconds; see Unsorted. What lies further
	// behind than a second is a clock's Step.
	Disorder int64
	// Taps are what each tap contributed, where the file is of several; all else is of those at Place, merged. Others are the
	// records of the taps at other places. See TapPlace.
	Place  string
	Taps   []Tap
	Others []*Capture

	Devices      []Device
	Flows        []*flow.Flow // in the order of their first packets; kept only on request
	Total        Total
	Completeness Completeness

	// Counted is how the mirror's own numbers prove that every packet from the first to the last is there, "" where they
	// don't; Uncounted is why not. Packets cut short are no matter to either.
	Counted   string
	Uncounted []string
}

// Flow gives the flow of an ID, nil where there is none. IDs have gaps where foreign flows were left out.
func (c *Capture) Flow(id int) *flow.Flow {
	i, ok := slices.BinarySearchFunc(c.Flows, id, func(f *flow.Flow, id int) int { return cmp.Compare(f.ID, id) })
	if !ok {
		return nil
	}
	return c.Flows[i]
}

// Device is what one device did.
type Device struct {
	Address netip.Addr
	Tally   flow.Both[flow.Tally]
	Phases  flow.Phases
	Flows   []int // flow.Flow.ID
}

// Total sums over all devices.
type Total struct {
	Devices uint64
	Flows   map[string]uint64 // by proto
	Tally   flow.Both[flow.Tally]
	Phases  flow.Phases
	Closes  [flow.NumCloses]uint64
}

// EventKind says what an entry of the timeline is.
type EventKind string

// The kinds of timeline entries.
const (
	EventRun     EventKind = "run"     // the run began, ended, was interrupted
	EventStep    EventKind = "step"    // a step began, ended, failed
	EventWindow  EventKind = "window"  // a window opened or closed
	EventConsole EventKind = "console" // a line of the device's console
	EventCarrier EventKind = "carrier" // a call to the carrier, or an event it told
	EventTap     EventKind = "tap"     // ready, flushed, canary seen, dropped
	EventPacket  EventKind = "packet"  // an awaited packet was seen
)

// Event is one entry of the timeline.
type Event struct {
	Time   time.Time         `json:"time"`            // on the bench's clock: the capture's clock too
	Wall   time.Time         `json:"wall,omitzero"`   // this machine's clock
	Clock  string            `json:"clock,omitempty"` // whose clock Time is where not the bench's: "carrier"
	Kind   EventKind         `json:"kind"`
	Name   string            `json:"name"`            // step: its text; carrier: "delete_session", "session.created"; tap: its name and state
	State  string            `json:"state,omitempty"` // "begin", "ok", "failed", "open", "close", "ready", "canary", "flushed", …
	Step   string            `json:"step,omitempty"`  // path in the scenario: "steps[0].steps[1]"
	Line   int               `json:"line,omitempty"`  // of the scenario file
	Text   string            `json:"text,omitempty"`  // console line, error
	Values map[string]string `json:"values,omitempty"`
}

// Window is a named stretch of a run, [From, To).
type Window struct {
	Name     string `json:"name"`  // "get", "cycle"
	Index    int    `json:"index"` // from 1 where the window repeats, else 0
	From, To time.Time
}

// Evidence is what the run knows of its taps beyond the packets themselves.
type Evidence struct {
	Taps []TapEvidence `json:"taps"`
	// CarrierPackets is what the carrier counted over the run, for reconciliation; nil where it was not asked.
	Carrier *CarrierCount `json:"carrier,omitempty"`
	// Recording is what became of the packets on their way to the disk, nil where it is not known.
	Recording *RecordingEvidence `json:"recording,omitempty"`
	// Mirror is what other devices' packets proved, nil where none was left out of the capture.
	Mirror *MirrorEvidence `json:"mirror,omitempty"`
}

// TapEvidence is one tap's account of itself.
type TapEvidence struct {
	Name         string `json:"name"`
	Place        string `json:"place,omitempty"` // see TapPlace
	ReadyBefore  bool   `json:"ready_before_first_step"`
	Flushed      bool   `json:"flushed_after_last_step"`
	CanaryBefore bool   `json:"canary_before"`
	CanaryAfter  bool   `json:"canary_after"`
	Received     uint64 `json:"received"`
	Dropped      uint64 `json:"dropped"` // by kernel, by socket, by us
	Truncated    uint64 `json:"truncated"`
	Error        string `json:"error,omitempty"`
	// Doubt is why packets may have been lost that Dropped does not count, "" where it counts them all.
	Doubt string `json:"doubt,omitempty"`
	// Outages are the spans in which it did not capture though the run went on, oldest first.
	Outages []Outage `json:"outages,omitempty"`
}

// OutageMark begins what a capture says of a span in which its tap did not capture (pcap.Span); the cause follows.
const OutageMark = "not captured: "

// Outage is a span in which a tap did not capture: everything in it may be missing.
type Outage struct {
	From  time.Time `json:"from"`        // bench clock
	To    time.Time `json:"to,omitzero"` // zero: it lasted to the end of the run
	Cause string    `json:"cause"`
}

// CarrierCount is the carrier's own count of the device's traffic.
type CarrierCount struct {
	Packets flow.Both[uint64] `json:"packets"`
	Bytes   flow.Both[uint64] `json:"bytes"`
	// Wide says that the carrier's periods reach back before the run: it may have counted earlier packets too.
	Wide bool `json:"wide,omitempty"`
}

// Trace is one run's record. For a bare capture only Capture and Account are set.
type Trace struct {
	Scenario string
	File     string // of the scenario
	About    string
	Device   string // its name on the bench
	Model    string
	Bench    string
	Account  Account
	// DeviceAddrs are the device's addresses during the run; empty for a bare capture.
	DeviceAddrs []netip.Addr
	Begin, End  time.Time // bench clock
	Wall        time.Duration
	// Trouble says why the run itself can't be judged in full: a bench that broke, a step that failed for the bench's
	// sake. Empty for a run that went through.
	Trouble string
	// Failed says which step the device failed ("expect 'Send OK' within 60s: …"), empty where none. It is a finding.
	Failed string
	// Unseen says that what Failed tells of is a packet that was awaited and not seen: no proof where packets may be missing.
	Unseen      bool
	Interrupted bool
	// Analysis is how the run's capture is read (who the devices are, which ports carry VXLAN): saved with the record, so that
	// it is read the same way again.
	Analysis Options

	Timeline []Event
	Windows  []Window
	Evidence Evidence
	Capture  *Capture
}
