package catalog

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// simConfig is how the simulated bench is to be.
type simConfig struct {
	world sim.Options
	api   api.Options
	peek  bool // the tap is the carrier's, not the mirror's
}

// simOption is one name of --sim.
type simOption struct {
	name, value, doc string
	set              func(c *simConfig, value string) error
}

// simOptions is the table of --sim: parsed by it, and shown by --help.
var simOptions = []simOption{
	{"firmware", "stock|patched|no-reconnect", "the Wio LTE's: stock sends the late RST, patched does not; no-reconnect stays offline after a cut", text(func(c *simConfig) *string { return &c.world.Firmware })},
	{"speed", "60", "how many seconds of the bench pass in one of yours while nothing happens; 1 is real time", setSpeed},
	{"seed", "1", "makes what is left to chance come out the same again", setSeed},
	{"mirror", "gre|vxlan", "how the mirror wraps packets", setWrapping},
	{"tap", "mirror|peek", "where packets are captured: at the mirror's end, or by the carrier's packet capture session", setTap},
	{"mirror_sequence", "true", "GRE sequence numbers, which prove a capture whole", flag(func(c *simConfig) *bool { return &c.world.Mirror.Sequence })},
	{"mirror_join", "true", "the mirror joins full segments that follow each other, as SORACOM's does", flag(func(c *simConfig) *bool { return &c.world.Mirror.Join })},
	{"mirror_loss", "0.05", "share of the packets that the mirror loses", share(func(c *simConfig) *float64 { return &c.world.Mirror.Loss })},
	{"mirror_lose", "7+9", "packets that the mirror loses, by number", numbers(func(c *simConfig) *[]int { return &c.world.Mirror.Lose })},
	{"mirror_duplicate", "0.1", "share of the packets that come twice", share(func(c *simConfig) *float64 { return &c.world.Mirror.Duplicate })},
	{"mirror_reorder", "0.1", "share of the packets that come after the next one", share(func(c *simConfig) *float64 { return &c.world.Mirror.Reorder })},
	{"mirror_snaplen", "96", "bytes that are captured of a packet at most", setSnapLen},
	{"gate", "true|translate", "a second tap, behind a gateway that everything passes, at the place gate (the first is at mirror); translate: the gateway gives the device other ports", setGate},
	{"gate_drop", "7+9", "packets that the gateway loses, by number", numbers(func(c *simConfig) *[]int { return &c.world.Gate.Drop })},
	{"gate_loss", "0.05", "share of the packets that the mirror behind the gateway loses", share(func(c *simConfig) *float64 { return &c.world.Gate.Loss })},
	{"keep_address", "true", "the device has the same address in every session", flag(func(c *simConfig) *bool { return &c.world.Carrier.KeepAddress })},
	{"deleted_lag", "5s", "the carrier tells of the end of a session so much later", length(func(c *simConfig) *time.Duration { return &c.world.Carrier.DeletedLag })},
	{"events_late", "30s", "the carrier tells of every session event so much later", length(func(c *simConfig) *time.Duration { return &c.api.Events.Late })},
	{"hang_on", "http_get", "the device says and hears nothing more after it took this command", text(func(c *simConfig) *string { return &c.world.Faults.HangOn })},
	{"vanish_on", "http_get", "the device's port vanishes at this command and comes back under another name", text(func(c *simConfig) *string { return &c.world.Faults.VanishOn })},
	{"carrier_429", "3", "the carrier's API answers so many calls with 429", fault(http.StatusTooManyRequests)},
	{"carrier_500", "3", "the carrier's API answers so many calls with 500", fault(http.StatusInternalServerError)},
}

// SimHelp tells of the names that --sim takes.
func SimHelp() string {
	var b strings.Builder
	b.WriteString("The simulated bench behaves as --sim says, names and values joined by commas:\n")
	for _, o := range simOptions {
		fmt.Fprintf(&b, "  %-36s %s\n", o.name+"="+o.value, o.doc)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// parseSim reads --sim.
func parseSim(text string) (simConfig, error) {
	var c simConfig
	names := make([]string, len(simOptions))
	for i, o := range simOptions {
		names[i] = o.name
	}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return c, fmt.Errorf("--sim: %q: write NAME=VALUE, %s=…", part, name)
		}
		option := findOption(name)
		if option == nil {
			return c, fmt.Errorf("--sim: unknown name %q: %s", name, scenario.Suggest(name, names))
		}
		if err := option.set(&c, value); err != nil {
			return c, fmt.Errorf("--sim: %s=%s: %w", name, value, err)
		}
	}
	if g := &c.world.Gate; len(g.Drop) > 0 || g.Loss > 0 {
		g.On = true
	}
	return c, nil
}

func findOption(name string) *simOption {
	for i := range simOptions {
		if simOptions[i].name == name {
			return &simOptions[i]
		}
	}
	return nil
}

func text(at func(*simConfig) *string) func(*simConfig, string) error {
	return func(c *simConfig, value string) error {
		*at(c) = value
		return nil
	}
}

func flag(at func(*simConfig) *bool) func(*simConfig, string) error {
	return func(c *simConfig, value string) (err error) {
		if *at(c), err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("write true or false")
		}
		return nil
	}
}

func share(at func(*simConfig) *float64) func(*simConfig, string) error {
	return func(c *simConfig, value string) (err error) {
		if *at(c), err = strconv.ParseFloat(value, 64); err != nil || !(*at(c) >= 0 && *at(c) <= 1) {
			return fmt.Errorf("write a share from 0 to 1")
		}
		return nil
	}
}

func length(at func(*simConfig) *time.Duration) func(*simConfig, string) error {
	return func(c *simConfig, value string) (err error) {
		*at(c), err = scenario.ParseLength(value)
		return err
	}
}

// fault makes so many calls of the carrier's API fail.
func fault(status int) func(*simConfig, string) error {
	return func(c *simConfig, value string) error {
		times, err := strconv.Atoi(value)
		if err != nil || times < 1 {
			return fmt.Errorf("write how many calls, 1 or more")
		}
		c.api.Faults = append(c.api.Faults, api.Fault{Status: status, Times: times})
		return nil
	}
}

func setSpeed(c *simConfig, value string) (err error) {
	c.world.Speed, err = strconv.ParseFloat(value, 64)
	if err != nil || !(c.world.Speed >= 1 && c.world.Speed <= 10_000) {
		return fmt.Errorf("write a number from 1 to 10000")
	}
	return nil
}

func setSeed(c *simConfig, value string) (err error) {
	if c.world.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
		return fmt.Errorf("write a whole number")
	}
	return nil
}

func setWrapping(c *simConfig, value string) error {
	c.world.Mirror.Wrapping = sim.Wrapping(value)
	if c.world.Mirror.Wrapping != sim.GRE && c.world.Mirror.Wrapping != sim.VXLAN {
		return fmt.Errorf("write gre or vxlan")
	}
	return nil
}

func setTap(c *simConfig, value string) error {
	if value != "mirror" && value != peekDriver {
		return fmt.Errorf("write mirror or peek")
	}
	c.peek = value == peekDriver
	return nil
}

func setGate(c *simConfig, value string) error {
	switch value {
	case "true", "translate":
		c.world.Gate.On, c.world.Gate.Translate = true, value == "translate"
	case "false":
		c.world.Gate.On = false
	default:
		return fmt.Errorf("write true, translate or false")
	}
	return nil
}

// numbers are packets.
func numbers(at func(*simConfig) *[]int) func(*simConfig, string) error {
	return func(c *simConfig, value string) error {
		for _, n := range strings.Split(value, "+") {
			number, err := strconv.Atoi(n)
			if err != nil || number < 1 {
				return fmt.Errorf("write the packets' numbers from 1, joined by +")
			}
			*at(c) = append(*at(c), number)
		}
		return nil
	}
}

func setSnapLen(c *simConfig, value string) (err error) {
	c.world.Mirror.SnapLen, err = strconv.Atoi(value)
	if err != nil || c.world.Mirror.SnapLen < 14 {
		return fmt.Errorf("write a number of bytes, 14 or more")
	}
	return nil
}
