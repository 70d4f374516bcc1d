package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Kept is how long the carrier keeps session events and samples of five minutes (definition, listSimSessionEvents,
// getAirStatsOfSim).
const Kept = 32 * 24 * time.Hour

// Memory is a Backend that keeps the books of a network: SIMs, sessions, events and counters, with no network of its
// own. A simulated network tells it what happens (Connect, Disconnect, Carry) and is told what the operator wants
// through the hooks. Alone, with no hooks, it behaves like a network whose devices come back at once.
type Memory struct {
	now func() time.Time

	mu   sync.Mutex
	sims []*MemorySIM
}

// NewMemory gives an empty network on a clock.
func NewMemory(now func() time.Time) *Memory { return &Memory{now: now} }

// Now implements Backend.
func (m *Memory) Now() time.Time { return m.now() }

// SIMs implements Backend.
func (m *Memory) SIMs() []SIM {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]SIM, len(m.sims))
	for i, s := range m.sims {
		out[i] = s
	}
	return out
}

// Hooks is what a network does when the operator asks. Nil hooks do what is written beside them.
type Hooks struct {
	// Delete is called when the operator deletes the session with that ID; the network calls Disconnect when the
	// session has ended. Nil: it ends at once, and the device is back at once with another session.
	Delete func(sessionID string)
	// Ping sends echo requests to the device. Nil: all are answered and counted.
	Ping func(ctx context.Context, count int, timeout time.Duration) (PingResult, error)
	// Barred is called when a change of status has ended service, or allowed it again.
	Barred func(barred bool)
}

// MemorySIM is a SIM of a Memory.
type MemorySIM struct {
	memory *Memory
	hooks  Hooks

	mu       sync.Mutex
	info     Info
	events   []Event
	samples  []Sample
	captures map[*[]byte]bool // files that are being written
}

// Add adds a SIM. What info leaves empty is filled with defaults; ID and IMSI must be given.
func (m *Memory) Add(info Info, hooks Hooks) *MemorySIM {
	now := m.now()
	info.Status = cmp.Or(info.Status, StatusActive)
	info.SpeedClass = cmp.Or(info.SpeedClass, "s1.standard")
	info.Subscription = cmp.Or(info.Subscription, "plan01s")
	if info.Created.IsZero() {
		info.Created = now
	}
	info.Modified = info.Created
	s := &MemorySIM{memory: m, hooks: hooks, info: info}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sims = append(m.sims, s)
	return s
}

// Info implements SIM.
func (s *MemorySIM) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.info
	out.Session = clone(s.info.Session)
	out.Previous = clone(s.info.Previous)
	return out
}

func clone(s *Session) *Session {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}

// Connect begins a session and gives its ID; a session that was still alive is ended first. Where session has no ID it
// is given one. It does not ask whether the SIM is in service: that is the network's business.
func (s *MemorySIM) Connect(session Session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.memory.now()
	s.end(now)
	if session.ID == "" {
		session.ID = newUUID()
	}
	session.Created, session.Updated = now, now
	s.info.Session = &session
	s.note(Event{Kind: Created, Time: now, Session: session})
	return session.ID
}

// Move notes that the network told of a change of the session (a handover).
func (s *MemorySIM) Move() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.info.Session == nil {
		return
	}
	now := s.memory.now()
	s.info.Session.Updated = now
	s.note(Event{Kind: Modified, Time: now, Session: *s.info.Session})
}

// Disconnect ends the session with that ID, or whichever there is where id is empty. A session that has ended already
// is left alone, so a late deletion never ends its successor.
func (s *MemorySIM) Disconnect(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.info.Session != nil && (id == "" || id == s.info.Session.ID) {
		s.end(s.memory.now())
	}
}

// end ends the present session, if any. The caller holds the lock.
func (s *MemorySIM) end(now time.Time) {
	if s.info.Session == nil {
		return
	}
	ended := *s.info.Session
	ended.Updated, ended.Deleted = now, now
	s.info.Session, s.info.Previous = nil, &ended
	s.note(Event{Kind: Deleted, Time: now, Session: ended})
}

// note keeps an event and lets those go that are too old to be told. The caller holds the lock.
func (s *MemorySIM) note(e Event) {
	old := e.Time.Add(-Kept)
	s.events = slices.DeleteFunc(s.events, func(e Event) bool { return e.Time.Before(old) })
	s.events = append(s.events, e)
}

// Carry counts traffic that passed now. What passes within one second under one speed class is kept as one sample.
func (s *MemorySIM) Carry(up, down Usage) { s.CarryAt(s.memory.now(), up, down) }

// CarryAt is Carry for traffic that passed at a time; times come in order.
func (s *MemorySIM) CarryAt(at time.Time, up, down Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at = at.Truncate(time.Second)
	n := len(s.samples)
	if n == 0 || !s.samples[n-1].Time.Equal(at) || s.samples[n-1].SpeedClass != s.info.SpeedClass {
		if n > 0 && s.samples[0].Time.Before(at.Add(-Kept)) {
			s.samples = s.samples[1:]
		}
		s.samples = append(s.samples, Sample{Time: at, SpeedClass: s.info.SpeedClass})
	}
	last := &s.samples[len(s.samples)-1]
	last.Up.add(up)
	last.Down.add(down)
}

func (u *Usage) add(o Usage) {
	u.Packets += o.Packets
	u.Bytes += o.Bytes
}

// Capture implements Capturer: what Pass is told of is captured.
func (s *MemorySIM) Capture() func() []byte {
	h := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4) // microseconds
	h = append(h, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	h = binary.LittleEndian.AppendUint32(h, 262144)
	h = binary.LittleEndian.AppendUint32(h, 1) // Ethernet
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.captures == nil {
		s.captures = map[*[]byte]bool{}
	}
	s.captures[&h] = true
	return func() []byte {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.captures, &h)
		return h
	}
}

// Pass has a frame pass now, for whoever captures; it is not counted.
func (s *MemorySIM) Pass(frame []byte) {
	now := s.memory.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.captures {
		*h = binary.LittleEndian.AppendUint32(*h, uint32(now.Unix()))
		*h = binary.LittleEndian.AppendUint32(*h, uint32(now.Nanosecond()/1000))
		*h = binary.LittleEndian.AppendUint32(*h, uint32(len(frame)))
		*h = binary.LittleEndian.AppendUint32(*h, uint32(len(frame)))
		*h = append(*h, frame...)
	}
}

// SetStatus implements SIM.
func (s *MemorySIM) SetStatus(to Status) error {
	s.mu.Lock()
	if s.info.Status == StatusTerminated && to != StatusTerminated {
		s.mu.Unlock()
		return fmt.Errorf("change a terminated SIM to %s: %w", to, ErrUnsupported)
	}
	was := s.info.Status.InService()
	now := s.memory.now()
	s.info.Status, s.info.Modified = to, now
	if !to.InService() {
		s.end(now)
	}
	s.mu.Unlock()
	if s.hooks.Barred != nil && was != to.InService() {
		s.hooks.Barred(was)
	}
	return nil
}

// speedClasses are the classes of the plans that a Memory knows (definition, schema Sim).
var speedClasses = map[string][]string{
	"plan01s": {"s1.minimum", "s1.slow", "s1.standard", "s1.fast", "s1.4xfast"},
	"plan-D":  {"s1.minimum", "s1.slow", "s1.standard", "s1.fast", "s1.4xfast"},
	"plan-US": {"s1.minimum", "s1.slow", "s1.standard", "s1.fast", "s1.4xfast", "s1.8xfast"},
	"plan-DU": {"u1.standard", "u1.slow"},
}

// SetSpeedClass implements SIM.
func (s *MemorySIM) SetSpeedClass(class string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(speedClasses[s.info.Subscription], class) {
		return fmt.Errorf("set speed class %s on %s: %w", class, s.info.Subscription, ErrUnsupported)
	}
	s.info.SpeedClass, s.info.Modified = class, s.memory.now()
	return nil
}

// DeleteSession implements SIM.
func (s *MemorySIM) DeleteSession() error {
	s.mu.Lock()
	if s.info.Session == nil {
		s.mu.Unlock()
		return fmt.Errorf("delete session of %s: %w", s.info.IMSI, ErrOffline)
	}
	present := *s.info.Session
	s.mu.Unlock()
	if s.hooks.Delete != nil {
		s.hooks.Delete(present.ID)
		return nil
	}
	s.Disconnect(present.ID)
	s.Connect(Session{Address: present.Address, IMEI: present.IMEI, APN: present.APN, DNS: present.DNS})
	return nil
}

// Events implements SIM.
func (s *MemorySIM) Events(from, to time.Time) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Event
	for _, e := range s.events {
		if within(e.Time, from, to) {
			out = append(out, e)
		}
	}
	return out
}

// Traffic implements SIM.
func (s *MemorySIM) Traffic(from, to time.Time) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Sample
	for _, p := range s.samples {
		if within(p.Time, from, to) {
			out = append(out, p)
		}
	}
	return out
}

func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

// echoBytes is an echo request in its Ethernet frame: 14, 20 of IP, 8 of ICMP, 56 of data.
const echoBytes = 98

// Ping implements SIM.
func (s *MemorySIM) Ping(ctx context.Context, count int, timeout time.Duration) (PingResult, error) {
	s.mu.Lock()
	online := s.info.Session != nil
	s.mu.Unlock()
	if !online {
		return PingResult{}, fmt.Errorf("ping %s: %w", s.info.IMSI, ErrOffline)
	}
	if s.hooks.Ping != nil {
		return s.hooks.Ping(ctx, count, timeout)
	}
	n := uint64(count)
	s.Carry(Usage{Packets: n, Bytes: n * (echoBytes + 36)}, Usage{Packets: n, Bytes: n * echoBytes})
	return PingResult{Sent: count, Received: count, RTT: 40 * time.Millisecond}, nil
}

// newUUID gives a random UUID (RFC 9562, 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// address writes an address as the API does, "" where there is none.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
