// Package bench holds the contracts between a run and what it drives: Device, Carrier, Tap, and the clock that they
// share. Drivers implement them and never import each other; the runner knows nothing else.
package bench

import (
	"context"
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Clock is the bench's time: the wall's for real hardware, a faster one for the simulated bench. Captures, deadlines
// and the timeline of a run are all on it.
type Clock interface {
	Now() time.Time
	// Sleep returns after d on this clock, or earlier with ctx's error.
	Sleep(ctx context.Context, d time.Duration) error
	// WithTimeout gives a context that ends after d on this clock, with context.DeadlineExceeded as its cause.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// Line is a line of the device's console, without its line end, bytes as they came.
type Line struct {
	Time time.Time // bench clock, when its last byte was read
	Text string
}

// Device drives the thing under test.
//
// The plan has checked verbs and arguments against Verbs before Do is called. Every method returns soon after its
// context ends. Close means stopped: no goroutine of the driver's is left, and it may be called twice.
type Device interface {
	Verbs() []plan.VerbSpec
	// Open makes the device ready for its first verb. Lines are sent to console until Close, all of them, in order;
	// the driver never blocks on a full channel for longer than the device can bear: the runner always reads it.
	Open(ctx context.Context, console chan<- Line) error
	// Do carries out a verb. A device that answers that it failed gives a *DeviceError: the device's fault.
	// Every other error is the bench's.
	Do(ctx context.Context, verb string, args map[string]string) (answer string, err error)
	Close() error
}

// DeviceError is a failure that the device itself reported, or its silence after a command that it had accepted.
type DeviceError struct {
	Op, Reason string
}

func (e *DeviceError) Error() string { return e.Op + ": " + e.Reason }

// Event is what the carrier tells of the device's sessions.
type Event struct {
	Name      string    // "session.created", "session.modified", "session.deleted"
	Time      time.Time // the carrier's clock
	SessionID string
	Address   netip.Addr // the device's address in that session, invalid where not told
}

// Count is what the carrier counted for the device.
type Count struct {
	At time.Time // the carrier's clock, of the last sample counted in
	// Wide says that the first sample's period may begin before the time asked for: then what passed before is counted too.
	Wide    bool
	Packets flow.Both[uint64]
	Bytes   flow.Both[uint64]
}

// Carrier is the network operator's API for one device's SIM. Calls are retried inside where that is safe; an error is
// the bench's trouble, never the device's.
type Carrier interface {
	Verbs() []plan.VerbSpec
	// Do carries out a verb: "delete_session", "set_speed_class", …
	Do(ctx context.Context, verb string, args map[string]string) (answer string, err error)
	// Address is the device's address in its present session; an invalid address where it has none.
	Address(ctx context.Context) (netip.Addr, error)
	// Events gives the session events since a time on the carrier's clock, oldest first.
	Events(ctx context.Context, since time.Time) ([]Event, error)
	// Stats gives the sum of what the carrier counted between two times on its clock.
	Stats(ctx context.Context, from, to time.Time) (Count, error)
	// Canary makes the network send something to the device that a tap must see (a downlink ping) and names it:
	// the bytes of its ICMP payload or identifier are not needed, only that an ICMP echo to the address passes.
	Canary(ctx context.Context) error
	// Account names how it counts bytes: "soracom", "wire".
	Account() string
	Close() error
}

// TapStats counts a tap's packets since Start; it never goes back, whatever the source's counters do.
type TapStats struct {
	Received, Filtered, Dropped, Truncated uint64
}

// Tap captures a mirror.
type Tap interface {
	Name() string
	// Start begins to capture and returns when it really does. Records go to sink one at a time, their Data valid only
	// during the call; sink is never called after Close returns.
	Start(ctx context.Context, sink func(pcap.Record)) error
	// Flush returns when all that reached the tap before the call has been given to sink.
	Flush(ctx context.Context) error
	Stats() TapStats
	// Err is why the tap ended by itself, nil while it is capturing.
	Err() error
	Close() error
}

// Outage is a span in which a tap did not capture although its run went on: the way to its source broke, its writer
// died, a session had to be begun anew. Nothing is known of the packets of that time.
type Outage struct {
	From  time.Time // bench clock: no later than the first moment at which a packet could be missed
	To    time.Time // when it captured again; zero while the outage lasts
	Cause string    // a person's words: what broke, as far as it is known
}

// Restarting is a Tap that begins anew by itself where its source broke. Its Err stays nil while it tries; Flush fails
// while an outage lasts. Every hole that a restart leaves is told.
type Restarting interface {
	// Outages are all since Start, oldest first; they may be asked for at any time, after Close too.
	Outages() []Outage
}

// OutagesOf gives the spans in which a tap did not capture though it goes on, none of a tap that never begins anew.
func OutagesOf(tap Tap) []Outage {
	if r, ok := tap.(Restarting); ok {
		return r.Outages()
	}
	return nil
}

// Noting is a Tap that has something to say of how it captures: a buffer smaller than was asked for, with the command
// that gives more of it.
type Noting interface {
	// Notes are sentences for people, known once Start has returned.
	Notes() []string
}

// Doubtful is a Tap whose Stats may leave losses out, because nobody counts them: that it dropped nothing then proves
// nothing.
type Doubtful interface {
	// Doubt says why, in a person's words; "" where every loss is counted.
	Doubt() string
}

// Ported is a Tap whose records hold VXLAN on other UDP ports than 4789.
type Ported interface {
	// VXLANPorts are those ports, known before Start.
	VXLANPorts() []uint16
}

// Following is a Tap that gives only some devices' packets. The runner tells it each address of its device as soon as it
// is known. Packets from before that which the tap still holds may be given late.
type Following interface {
	Follow(addrs ...netip.Addr)
}

// Shared is a Tap that leaves other devices' packets out itself, of a mirror that numbers all of them.
type Shared interface {
	// Mirror tells what the mirror's numbers show of all packets in this tap's time: those that are missing, whosever they
	// are. It is nil before Start.
	Mirror() *trace.MirrorEvidence
}

// Finite is a Tap whose source comes to an end in good order: a file. Its Err stays nil then.
type Finite interface {
	// Done is closed when everything has been given to sink, or the tap is closed.
	Done() <-chan struct{}
}

// Deferred is a Tap whose source gives no packet before it is told to end. Its Flush ends the capture and gives everything;
// a Flush that failed on the way may be tried again, after one that succeeded there is nothing more to flush. So the runner
// flushes it once, after all else of a run, and nothing of the run can wait for its packets.
type Deferred interface {
	// FlushTime is how long a Flush may take, on the bench's clock.
	FlushTime() time.Duration
}

// Bench is a set of things ready for one run of one device, or a tap by itself, with what it needs.
type Bench struct {
	Name     string
	ByItself bool // there is no device, and no run
	Clock    Clock
	Device   Device
	Model    string
	Driver   string
	DevName  string
	Carrier  Carrier // nil where there is none
	Taps     []Tap
	// Places says where on the way of the device's packets taps are, by their names; no entry is a place, too. Taps at one
	// place see the same packets, and are merged; those at different places are kept apart and can be compared.
	Places map[string]string
	// Close takes the bench down after the run: simulated parts, not the three above, which the runner closes.
	Close func() error
}
