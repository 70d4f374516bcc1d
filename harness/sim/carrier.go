package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// CarrierOptions says how the simulated network treats the device's sessions.
type CarrierOptions struct {
	IMSI string // 15 digits; "" is the simulated SIM's own
	// KeepAddress gives the device the same address in every session. Without it each has another one.
	KeepAddress bool
	// DeletedLag makes Deleted events come, and be dated, so long after the session's end: longer than the device takes
	// to come back, and they carry a later time than the next Created, as real ones do.
	DeletedLag time.Duration
}

const (
	// deleteTakes is how long the network takes to end a session that it was asked to delete.
	deleteTakes = 300 * time.Millisecond
	// noticeTakes is how long the modem takes to notice that the network ended its session.
	noticeTakes = 1200 * time.Millisecond
	// billedUp is what SORACOM bills more for each packet up than its Ethernet frame (facts: mirrors).
	billedUp = 36
	// sampleSpan is how long after its first packet a sample takes further ones in.
	sampleSpan  = 100 * time.Millisecond
	keepSamples = 1_000_000 // older ones are let go
)

// errNoService is what a device hears that may not have a session.
var errNoService = errors.New("the network refuses the SIM")

// endedBy says who ended a session.
type endedBy bool

const (
	endedByDevice  endedBy = false
	endedByNetwork endedBy = true
)

// carrier is the operator's side of the network: the SIM, its sessions and what was counted. It is one SIM's
// api.Backend, too.
type carrier struct {
	clock *Clock
	opts  CarrierOptions
	net   *network // set before anything passes

	mu      sync.Mutex
	rng     *rand.Rand
	info    api.Info
	events  []api.Event
	samples []api.Sample
	lost    func() // tells the modem that its session is gone
	pingID  uint16
}

func newCarrier(clock *Clock, seed uint64, opts CarrierOptions) *carrier {
	if opts.IMSI == "" {
		opts.IMSI = "440100000000001"
	}
	now := clock.Now()
	return &carrier{
		clock: clock, opts: opts,
		rng: rand.New(rand.NewPCG(seed, 0x63617272696572)),
		info: api.Info{
			ID: "8981100000000000001", IMSI: opts.IMSI, ICCID: "8981100000000000001", MSISDN: "810000000001",
			Name: "simulated", Subscription: "plan01s", Status: api.StatusActive, SpeedClass: defaultSpeedClass,
			Created: now, Modified: now,
		},
	}
}

// begin gives the device a session. One that the network still has ends then: the device lost it without a word.
func (c *carrier) begin(apn string, lost func()) (netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.info.Status.InService() {
		return netip.Addr{}, fmt.Errorf("%w: it is %s", errNoService, c.info.Status)
	}
	now := c.clock.Now()
	stale := c.info.Session
	if stale != nil {
		c.finish(*stale, now)
	}
	s := &api.Session{
		ID: c.uuid(), Address: c.address(), IMEI: "860000000000015", APN: apn,
		DNS: []netip.Addr{dnsAddr}, Created: now, Updated: now,
	}
	c.info.Session, c.info.Modified, c.lost = s, now, lost
	c.events = append(c.events, api.Event{Kind: api.Created, Time: now, Session: *s})
	return s.Address, nil
}

// hadSession gives the SIM a session from before the simulation, of a device that went off without a word: the network
// keeps such sessions for hours. The device comes back at the same address.
func (c *carrier) hadSession() {
	c.mu.Lock()
	c.opts.KeepAddress = true
	c.mu.Unlock()
	_, _ = c.begin("soracom.io", nil) // a SIM is in service at first
}

// end ends the present session, if there is one.
func (c *carrier) end(by endedBy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(by)
}

func (c *carrier) endLocked(by endedBy) {
	s := c.info.Session
	if s == nil {
		return
	}
	lost := c.lost
	c.info.Session, c.info.Modified, c.lost = nil, c.clock.Now(), nil
	c.finish(*s, c.clock.Now())
	if by == endedByNetwork && lost != nil {
		c.clock.AfterFunc(noticeTakes, lost)
	}
}

// finish dates a session's end and lets the event of it come when it is due. c.mu is held.
func (c *carrier) finish(s api.Session, now time.Time) {
	s.Deleted, s.Updated = now.Add(c.opts.DeletedLag), now
	c.info.Previous = &s
	event := api.Event{Kind: api.Deleted, Time: s.Deleted, Session: s}
	if c.opts.DeletedLag == 0 {
		c.events = append(c.events, event)
		return
	}
	c.clock.AfterFunc(c.opts.DeletedLag, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.events = append(c.events, event)
	})
}

// address gives the next session's address. c.mu is held.
func (c *carrier) address() netip.Addr {
	if p := c.info.Previous; c.opts.KeepAddress && p != nil {
		return p.Address
	}
	for {
		a := netip.AddrFrom4([4]byte{10, byte(128 + c.rng.IntN(127)), byte(c.rng.IntN(256)), byte(1 + c.rng.IntN(254))})
		if p := c.info.Previous; p == nil || p.Address != a {
			return a
		}
	}
}

// uuid gives a random UUID (RFC 9562, version 4). c.mu is held.
func (c *carrier) uuid() string {
	hi, lo := c.rng.Uint64(), c.rng.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff)
}

// passUp counts a packet from the device, given its length without Ethernet, and says whether it may pass.
func (c *carrier) passUp(from netip.Addr, length int) bool {
	return c.pass(from, length, func(s *api.Sample) *api.Usage { return &s.Up }, billedUp)
}

// passDown does the same for a packet to the device.
func (c *carrier) passDown(to netip.Addr, length int) bool {
	return c.pass(to, length, func(s *api.Sample) *api.Usage { return &s.Down }, 0)
}

func (c *carrier) pass(device netip.Addr, length int, side func(*api.Sample) *api.Usage, extra int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.info.Session; s == nil || s.Address != device {
		return false
	}
	u := side(c.sample())
	u.Packets++
	u.Bytes += uint64(length + ethernetLen + extra)
	return true
}

// sample gives the sample to which a packet belongs that passes now. c.mu is held.
func (c *carrier) sample() *api.Sample {
	now := c.clock.Now()
	if n := len(c.samples); n > 0 {
		last := &c.samples[n-1]
		if now.Sub(last.Time) < sampleSpan && last.SpeedClass == c.info.SpeedClass {
			return last
		}
	}
	if len(c.samples) >= keepSamples {
		c.samples = append(c.samples[:0], c.samples[keepSamples/2:]...)
	}
	c.samples = append(c.samples, api.Sample{Time: now, SpeedClass: c.info.SpeedClass})
	return &c.samples[len(c.samples)-1]
}

// The carrier as the API's backend, and as its one SIM.

// Now implements api.Backend.
func (c *carrier) Now() time.Time {
	c.clock.Touch()
	return c.clock.Now()
}

// SIMs implements api.Backend.
func (c *carrier) SIMs() []api.SIM { return []api.SIM{c} }

// Info implements api.SIM.
func (c *carrier) Info() api.Info {
	c.clock.Touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	info := c.info
	info.Session, info.Previous = copySession(info.Session), copySession(info.Previous)
	return info
}

func copySession(s *api.Session) *api.Session {
	if s == nil {
		return nil
	}
	t := *s
	return &t
}

// SetStatus implements api.SIM.
func (c *carrier) SetStatus(s api.Status) error {
	c.clock.Touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.info.Status == api.StatusTerminated && s != api.StatusTerminated {
		return fmt.Errorf("set status %s: the SIM is terminated, which can't be undone: %w", s, api.ErrUnsupported)
	}
	c.info.Status, c.info.Modified = s, c.clock.Now()
	if !s.InService() {
		c.endLocked(endedByNetwork)
	}
	return nil
}

// SetSpeedClass implements api.SIM.
func (c *carrier) SetSpeedClass(class string) error {
	c.clock.Touch()
	rate, known := speedClasses[class]
	if !known {
		return fmt.Errorf("set speed class %s: %w", class, api.ErrUnsupported)
	}
	c.mu.Lock()
	c.info.SpeedClass, c.info.Modified = class, c.clock.Now()
	c.mu.Unlock()
	c.net.setSpeed(rate)
	return nil
}

// DeleteSession implements api.SIM.
func (c *carrier) DeleteSession() error {
	c.clock.Touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.info.Session
	if s == nil {
		return fmt.Errorf("delete session: %w", api.ErrOffline)
	}
	c.clock.AfterFunc(deleteTakes, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.info.Session != nil && c.info.Session.ID == s.ID { // not one that came after it
			c.endLocked(endedByNetwork)
		}
	})
	return nil
}

// Events implements api.SIM.
func (c *carrier) Events(from, to time.Time) []api.Event {
	c.clock.Touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []api.Event
	for _, e := range c.events {
		if within(e.Time, from, to) {
			out = append(out, e)
		}
	}
	return out
}

// Traffic implements api.SIM.
func (c *carrier) Traffic(from, to time.Time) []api.Sample {
	c.clock.Touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []api.Sample
	for _, s := range c.samples {
		if within(s.Time, from, to) {
			out = append(out, s)
		}
	}
	return out
}

func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

// Capture implements api.Capturer: it captures what the mirror sends, as the mirror does.
func (c *carrier) Capture() func() []byte {
	c.clock.Touch()
	stream := c.net.mirror.open()
	return func() []byte { return c.net.mirror.finish(stream) }
}

// Ping implements api.SIM.
func (c *carrier) Ping(ctx context.Context, count int, timeout time.Duration) (api.PingResult, error) {
	c.clock.Touch()
	c.mu.Lock()
	session := copySession(c.info.Session)
	c.pingID++
	ident := c.pingID
	c.mu.Unlock()
	if session == nil {
		return api.PingResult{}, fmt.Errorf("ping: %w", api.ErrOffline)
	}
	answered := make(chan uint16, count)
	defer c.net.endPing(ident)
	var res api.PingResult
	var total time.Duration
	for seq := range uint16(count) {
		begun := c.clock.Now()
		c.net.ping(session.Address, ident, seq, answered)
		res.Sent++
		ok, err := c.awaitPong(ctx, seq, answered, timeout)
		if err != nil {
			return res, fmt.Errorf("ping %s: %w", session.Address, err)
		}
		if ok {
			res.Received++
			total += c.clock.Now().Sub(begun)
		}
	}
	if res.Received > 0 {
		res.RTT = total / time.Duration(res.Received)
	}
	return res, nil
}

// awaitPong waits for one answer. Not to get it in time is an outcome, the end of ctx is an error.
func (c *carrier) awaitPong(ctx context.Context, seq uint16, answered <-chan uint16, timeout time.Duration) (bool, error) {
	wait, cancel := c.clock.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		select {
		case got := <-answered:
			if got == seq {
				return true, nil
			}
		case <-wait.Done():
			return false, context.Cause(ctx)
		case <-c.clock.stop:
			return false, ErrStopped
		}
	}
}
