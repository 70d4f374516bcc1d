// Package api is the simulated carrier's HTTP API: the paths, forms and habits of the real one
// (SORACOM API definition, version 20260604-092803), answered on loopback from a simulated network.
//
// The network itself is behind Backend: package sim has one with devices and packets in it, Memory is one without.
// Serve puts the API before either. Nothing here knows a client; a client written against the real API can't tell
// the difference, except by the address.
package api

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Backend is the network that the API tells of. Its methods, and those of its SIMs, may be called from many
// goroutines at once.
type Backend interface {
	// Now is the carrier's clock: events, samples and the age of tokens are on it.
	Now() time.Time
	// SIMs gives the operator's SIMs, always in the same order.
	SIMs() []SIM
}

// SIM is one SIM with its one subscription, and the network's side of whatever device it is in.
type SIM interface {
	// Info is the present state.
	Info() Info
	// SetStatus changes the SIM's status. A status that ends service (anything but StatusActive and StatusReady) ends
	// the session too. ErrUnsupported where the SIM can't have the status.
	SetStatus(Status) error
	// SetSpeedClass changes the speed class; traffic that passes afterwards is counted under it. ErrUnsupported where
	// the SIM's plan doesn't have it.
	SetSpeedClass(class string) error
	// DeleteSession asks the network to end the session, and returns when the network has accepted it: the session
	// itself ends a moment later, as on the real network. ErrOffline where there is none.
	DeleteSession() error
	// Events gives the session events with from <= Time < to in the order in which they came; a zero time is no limit.
	Events(from, to time.Time) []Event
	// Traffic gives what passed with from <= Time < to, in order of time; a zero time is no limit.
	Traffic(from, to time.Time) []Sample
	// Ping sends count ICMP echo requests to the device, one after the other, and waits for each at most timeout on
	// the carrier's clock. ErrOffline where there is no session.
	Ping(ctx context.Context, count int, timeout time.Duration) (PingResult, error)
}

// What a SIM's methods refuse.
var (
	ErrOffline     = errors.New("the SIM has no session")
	ErrUnsupported = errors.New("the SIM's plan does not have it")
)

// Status is the status of a SIM.
type Status string

// The statuses (definition, schema Sim).
const (
	StatusReady      Status = "ready"
	StatusActive     Status = "active"
	StatusInactive   Status = "inactive"
	StatusStandby    Status = "standby"
	StatusSuspended  Status = "suspended"
	StatusTerminated Status = "terminated"
)

// InService says whether a SIM with the status may have a session.
func (s Status) InService() bool { return s == StatusActive || s == StatusReady }

// Info describes a SIM at one moment.
type Info struct {
	ID           string // 19 digits
	IMSI         string // 15 digits
	ICCID        string
	MSISDN       string
	Name         string
	Subscription string // the plan: "plan01s"
	GroupID      string
	Status       Status
	SpeedClass   string // "s1.standard"
	Created      time.Time
	Modified     time.Time
	Session      *Session // nil while offline
	Previous     *Session // the last one that ended, nil where none did
}

// Session is one stretch of a device's being connected, from one Created to the Deleted of the same ID.
type Session struct {
	ID      string // a UUID
	Address netip.Addr
	IMEI    string
	APN     string
	DNS     []netip.Addr
	Created time.Time
	Updated time.Time
	Deleted time.Time // zero while it lives
}

// EventKind says what became of a session.
type EventKind string

// The kinds of session events (definition, schema SessionEvent).
const (
	Created  EventKind = "Created"
	Modified EventKind = "Modified"
	Deleted  EventKind = "Deleted"
)

// Event is a session event.
type Event struct {
	Kind    EventKind
	Time    time.Time
	Session Session
}

// Usage is what passed in one direction, as billed: for SORACOM each packet up counts 36 bytes more than its Ethernet
// frame without padding.
type Usage struct {
	Packets, Bytes uint64
}

// Sample is what passed about a moment: one packet, or all of one second, as the network cares to keep it.
type Sample struct {
	Time       time.Time
	SpeedClass string
	Up, Down   Usage
}

// PingResult is the outcome of a downlink ping.
type PingResult struct {
	Sent, Received int
	RTT            time.Duration // mean of those answered, 0 where none was
}
