package benchtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
)

// breach, in the environment, is the promise that the drivers of this test break.
const breach = "TOLLGATE_BENCHTEST_BREACH"

func broken(what string) bool { return os.Getenv(breach) == what }

// breaches are the ways to break a promise, by suite.
var breaches = map[string][]string{
	"TestTapSuite": {
		"no name", "flush before all is given", "given twice", "stats go back", "sink after close", "goroutine left", "close once",
		"start ignores context", "silent end", "flush after the end", "no error of a closed tap",
		"filtered is given", "filtered is not counted", "filtered is dropped", "stats forgotten at close", "stats reset by reading",
	},
	"TestCarrierSuite": {
		"verb twice", "verb without doc", "verb without limit", "bad default", "unknown main", "unknown verb", "required argument", "account",
		"events unordered", "old address", "same session", "stats shrink", "ignores context", "close once", "use after close",
	},
	"TestDeviceSuite": {
		"unknown verb is the device's", "line end", "line from the future", "line after close", "failure is the bench's",
		"open ignores context", "hang ignores context", "close once", "use after close", "goroutine left",
	},
}

// TestSuitesFindBreaches has each suite judge drivers that break one promise each, in a process of its own, and holds
// it to fail; and drivers that keep all of them, and holds it to pass.
func TestSuitesFindBreaches(t *testing.T) {
	if os.Getenv(breach) != "" {
		t.Skip("this is the process of a breach")
	}
	for suite, ways := range breaches {
		for _, way := range ways {
			t.Run(suite+" "+way, func(t *testing.T) {
				t.Parallel()
				cmd := exec.Command(os.Args[0], "-test.run", "^"+suite+"$")
				cmd.Env = append(os.Environ(), breach+"="+way, "GORACE=atexit_sleep_ms=0")
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit, "the suite found nothing:\n%s", out)
				require.Contains(t, string(out), "--- FAIL: "+suite)
				require.NotContains(t, string(out), "panic: ")
			})
		}
	}
}

// hasten makes a suite call a hang what lasts a moment, where a hang is what is to be found.
func hasten(t *testing.T) {
	if os.Getenv(breach) == "" {
		return
	}
	was := soon
	soon = 500 * time.Millisecond
	t.Cleanup(func() { soon = was })
}

// closer gives nil the first time, and an error afterwards where that is the breach.
type closer struct{ closed bool }

func (c *closer) Close() error {
	if c.closed && broken("close once") {
		return errors.New("closed before")
	}
	c.closed = true
	return nil
}

// leave leaves a goroutine where that is the breach.
func leave() {
	if broken("goroutine left") {
		go func() { select {} }()
	}
}

type memoryTap struct {
	mu     sync.Mutex
	closer closer
	sink   func(pcap.Record)
	held   []pcap.Record
	stats  bench.TapStats
	err    error
}

func (m *memoryTap) Name() string {
	if broken("no name") {
		return ""
	}
	return "memory"
}

func (m *memoryTap) Start(ctx context.Context, sink func(pcap.Record)) error {
	if ctx.Err() != nil && !broken("start ignores context") {
		return ctx.Err()
	}
	m.sink = sink
	leave()
	return nil
}

func (m *memoryTap) send(_ *testing.T, texts ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, text := range texts {
		m.held = append(m.held, pcap.Record{Data: []byte(text)})
	}
}

func (m *memoryTap) Flush(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if (m.sink == nil || m.closer.closed) && !broken("no error of a closed tap") {
		return errors.New("not capturing")
	}
	if m.err != nil && !broken("flush after the end") {
		return m.err
	}
	for i, r := range m.held {
		if broken("flush before all is given") && i == 5 {
			break
		}
		if m.filters(r) {
			continue
		}
		m.sink(r)
		if broken("given twice") {
			m.sink(r)
		}
		m.stats.Received++
	}
	if len(m.held) == 7 && broken("stats go back") {
		m.stats.Received -= 8
	}
	m.held = nil
	return nil
}

// filters counts a record that is not wanted, and says whether that is the end of it.
func (m *memoryTap) filters(r pcap.Record) bool {
	if string(r.Data) != "unwanted" {
		return false
	}
	switch {
	case broken("filtered is given"):
		return false
	case broken("filtered is dropped"):
		m.stats.Dropped++
	case broken("filtered is not counted"):
	default:
		m.stats.Filtered++
	}
	return true
}

func (m *memoryTap) Stats() bench.TapStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := m.stats
	if broken("stats reset by reading") {
		m.stats = bench.TapStats{}
	}
	return stats
}

func (m *memoryTap) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if broken("silent end") {
		return nil
	}
	return m.err
}

func (m *memoryTap) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closer.closed && m.sink != nil && broken("sink after close") {
		m.sink(pcap.Record{Data: []byte("late")})
	}
	if broken("stats forgotten at close") {
		m.stats = bench.TapStats{}
	}
	return m.closer.Close()
}

func TestTapSuite(t *testing.T) {
	hasten(t)
	Tap(t, func(*testing.T) TapFixture {
		m := &memoryTap{}
		unwanted := func(t *testing.T) int {
			m.send(t, "unwanted", "unwanted")
			return 2
		}
		return TapFixture{Tap: m, Send: m.send, Unwanted: unwanted, Text: func(b []byte) string { return string(b) }, Break: func(*testing.T) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.err = errors.New("ended")
		}}
	})
}

// wall is the wall's clock.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func (wall) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() } // nothing here needs time to pass

func (wall) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d/100)
}

// memoryCarrier is a carrier of nothing.
type memoryCarrier struct {
	closer
	session int
	events  []bench.Event
	count   bench.Count
	blocked bool
}

func newMemoryCarrier() *memoryCarrier {
	c := &memoryCarrier{}
	c.happened("session.created")
	return c
}

func (c *memoryCarrier) address() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(c.session)})
}

func (c *memoryCarrier) happened(name string) {
	e := bench.Event{Name: name, Time: time.Now(), SessionID: fmt.Sprint("s", c.session), Address: c.address()}
	if broken("same session") {
		e.SessionID = "s"
	}
	if broken("events unordered") {
		c.events = slices.Insert(c.events, 0, e)
		return
	}
	c.events = append(c.events, e)
}

func (c *memoryCarrier) Verbs() []plan.VerbSpec {
	cut := plan.VerbSpec{Name: "cut", Doc: "Cuts.", Timeout: time.Second}
	set := plan.VerbSpec{Name: "set", Doc: "Sets.", Timeout: time.Second, Main: "to", Args: []plan.ArgSpec{
		{Name: "to", Doc: "What to.", Type: plan.String, Required: true}, {Name: "for", Doc: "How long.", Type: plan.Duration, Default: "1s"},
	}}
	switch {
	case broken("verb twice"):
		set.Name = "cut"
	case broken("verb without doc"):
		cut.Doc = ""
	case broken("verb without limit"):
		cut.Timeout = 0
	case broken("bad default"):
		set.Args[1].Default = "1"
	case broken("unknown main"):
		set.Main = "too"
	}
	return []plan.VerbSpec{cut, set}
}

// usable is the error of a call.
func (c *memoryCarrier) usable(ctx context.Context) error {
	if c.blocked {
		<-ctx.Done()
	}
	if c.closed && !broken("use after close") {
		return errors.New("closed")
	}
	if broken("ignores context") {
		return nil
	}
	return ctx.Err()
}

func (c *memoryCarrier) Do(ctx context.Context, verb string, args map[string]string) (string, error) {
	switch {
	case verb == "cut":
		c.happened("session.deleted")
		c.session++
		c.happened("session.created")
	case verb == "set":
		if args["to"] == "" && !broken("required argument") {
			return "", errors.New("set to what?")
		}
	case !broken("unknown verb"):
		return "", errors.New("no such verb")
	}
	return "", c.usable(ctx)
}

func (c *memoryCarrier) Address(ctx context.Context) (netip.Addr, error) {
	if broken("old address") {
		return netip.AddrFrom4([4]byte{10, 0, 0, 0}), c.usable(ctx)
	}
	return c.address(), c.usable(ctx)
}

func (c *memoryCarrier) Events(ctx context.Context, since time.Time) (out []bench.Event, err error) {
	for _, e := range c.events {
		if !e.Time.Before(since) {
			out = append(out, e)
		}
	}
	return out, c.usable(ctx)
}

func (c *memoryCarrier) Stats(ctx context.Context, _, _ time.Time) (bench.Count, error) {
	return c.count, c.usable(ctx)
}

func (c *memoryCarrier) Canary(ctx context.Context) error { return c.usable(ctx) }

func (c *memoryCarrier) Account() string {
	if broken("account") {
		return "guess"
	}
	return "wire"
}

func TestCarrierSuite(t *testing.T) {
	hasten(t)
	Carrier(t, func(*testing.T) CarrierFixture {
		c := newMemoryCarrier()
		return CarrierFixture{
			Carrier: c, Clock: wall{}, Address: c.address(), Cut: Call{Verb: "cut"}, Harmless: Call{Verb: "set", Args: map[string]string{"to": "x"}},
			Block: func(*testing.T) { c.blocked = true },
			Traffic: func(*testing.T) {
				if broken("stats shrink") {
					return
				}
				c.count = bench.Count{At: time.Now(), Packets: flow.Both[uint64]{1, 1}, Bytes: flow.Both[uint64]{60, 60}}
			},
		}
	})
}

// memoryDevice is a device that prints what it is told.
type memoryDevice struct {
	closer
	console chan<- bench.Line
	hung    bool
}

func (d *memoryDevice) Verbs() []plan.VerbSpec {
	return []plan.VerbSpec{
		{Name: "say", Doc: "Says something.", Timeout: time.Second, Main: "what", Args: []plan.ArgSpec{{Name: "what", Doc: "What.", Type: plan.String, Default: "hello"}}},
		{Name: "fail", Doc: "Fails.", Timeout: time.Second},
	}
}

func (d *memoryDevice) Open(ctx context.Context, console chan<- bench.Line) error {
	if ctx.Err() != nil && !broken("open ignores context") {
		return ctx.Err()
	}
	d.console = console
	leave()
	return nil
}

func (d *memoryDevice) Do(ctx context.Context, verb string, args map[string]string) (string, error) {
	if d.hung {
		if broken("hang ignores context") {
			select {}
		}
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if d.closed && !broken("use after close") {
		return "", errors.New("closed")
	}
	switch verb {
	case "say":
		if !d.closed {
			d.console <- line(args["what"])
		}
		return "", nil
	case "fail":
		if broken("failure is the bench's") {
			return "", errors.New("failed")
		}
		return "", &bench.DeviceError{Op: "fail", Reason: "as asked"}
	}
	if broken("unknown verb is the device's") {
		return "", &bench.DeviceError{Op: verb, Reason: "unknown"}
	}
	return "", errors.New("no such verb")
}

func line(text string) bench.Line {
	l := bench.Line{Time: time.Now(), Text: text}
	if broken("line end") {
		l.Text += "\r"
	}
	if broken("line from the future") {
		l.Time = l.Time.Add(time.Hour)
	}
	return l
}

func (d *memoryDevice) Close() error {
	if d.closed && d.console != nil && broken("line after close") {
		d.console <- line("late")
	}
	return d.closer.Close()
}

func TestDeviceSuite(t *testing.T) {
	hasten(t)
	Device(t, func(*testing.T) DeviceFixture {
		d := &memoryDevice{}
		return DeviceFixture{
			Device: d, Clock: wall{}, Works: Call{Verb: "say"}, Prints: true, Fails: Call{Verb: "fail"},
			Hang: func(*testing.T) { d.hung = true },
		}
	})
}

func TestFits(t *testing.T) {
	for typ, values := range map[plan.ArgType][2]string{
		plan.Int: {"1", "one"}, plan.Bool: {"true", "yes!"}, plan.Duration: {"1s", "1"}, plan.Pattern: {"a+", "a("},
	} {
		require.NoError(t, fits(typ, values[0]))
		require.Error(t, fits(typ, values[1]), "%s", typ)
	}
	require.NoError(t, fits(plan.String, strings.Repeat("x", 3)))
}
