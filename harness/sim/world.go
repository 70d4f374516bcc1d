// Package sim is the simulated bench: a device on a real pseudo terminal, a modem with a TCP/IP stack, the cellular
// network with its sessions, its counters and its mirror, and the servers beyond it, all in one process, without root,
// hardware or network, on a clock that hurries when nothing happens.
//
//	driver ═ pty ═ board ─ firmware ─ modem ══ radio ══ gateway ══ gate ══ backhaul ══ DNS, web, Beam, metadata
//	                                                     │          └─ where there is one: another mirror
//	                                                     ├─ mirror: GRE or VXLAN in a pcap stream
//	                                                     └─ carrier: sessions, events, counts (api.Backend)
//
// Nothing in it is made for a test's sake: the packets are those of live TCP/IP stacks, retransmission and all, so
// counts of pure acknowledgements depend on scheduling. What a stack of ours would do otherwise than the real device
// is put right in the packets' path; traits.go and ackdelay.go say what and why. Sizes come out as the article's
// tables have them for an object "/hello.txt" of a bucket whose name has 20 letters, as in
//
//	http://tollgate-test-bucket.s3-website-ap-northeast-1.amazonaws.com/hello.txt
//	https://tollgate-test-bucket.s3-ap-northeast-1.amazonaws.com/hello.txt
//	http://beam.soracom.io:8888/
package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// Options says what a World is like. The zero value is a stock Wio LTE on a network without faults.
type Options struct {
	Personality string  // see Personalities; "" is wio-lte
	Firmware    string  // one of the personality's variants; "" is the first
	Speed       float64 // simulated seconds in an idle second of the wall; 0 is DefaultSpeed
	Seed        uint64  // of everything that is random
	Mirror      MirrorOptions
	Gate        GateOptions
	Carrier     CarrierOptions
	Faults      Faults
}

// personality is a kind of device.
type personality struct {
	variants []string // of its firmware, the first is the default
	firmware func(w *World, variant string) firmware
}

var personalities = map[string]personality{
	"wio-lte":       {variants: []string{"stock", "patched", "no-reconnect"}, firmware: newWioLTE},
	"gps-multiunit": {variants: []string{"stock"}, firmware: newMultiunit},
	"button":        {variants: []string{"stock"}, firmware: newButton},
}

// Personalities gives the devices that can be simulated.
func Personalities() []string {
	var names []string
	for name := range personalities {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Firmwares gives a personality's firmware variants, the default first.
func Firmwares(personality string) []string {
	return slices.Clone(personalities[personality].variants)
}

// World is one simulated bench.
type World struct {
	opts    Options
	clock   *Clock
	board   *board
	modem   *modem
	net     *network
	carrier *carrier
	mirror  *mirror
	gate    *gate
	servers *servers

	closeOnce sync.Once
	closeErr  error
}

// New makes a world and gives its device power.
func New(o Options) (*World, error) {
	if o.Personality == "" {
		o.Personality = "wio-lte"
	}
	kind, ok := personalities[o.Personality]
	if !ok {
		return nil, fmt.Errorf("simulate %q: there is no such personality; there are %s", o.Personality, strings.Join(Personalities(), ", "))
	}
	if o.Firmware == "" {
		o.Firmware = kind.variants[0]
	}
	if !slices.Contains(kind.variants, o.Firmware) {
		return nil, fmt.Errorf("simulate %s with firmware %q: there are %s", o.Personality, o.Firmware, strings.Join(kind.variants, ", "))
	}
	w := &World{opts: o, clock: NewClock(o.Speed)}
	if err := w.build(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.board.start(kind.firmware(w, o.Firmware))
	return w, nil
}

// build makes the parts and joins them.
func (w *World) build() (err error) {
	if w.board, err = newBoard(w.clock, w.opts.Faults); err != nil {
		return err
	}
	if w.modem, err = newModem(w.clock, w.opts.Seed); err != nil {
		return err
	}
	if w.servers, err = newServers(w.clock); err != nil {
		return err
	}
	w.carrier = newCarrier(w.clock, w.opts.Seed, w.opts.Carrier)
	w.mirror = newMirror(w.clock, w.opts.Seed, w.opts.Mirror)
	w.gate = newGate(w.clock, w.opts.Seed, w.opts.Gate, w.opts.Mirror)
	w.net = newNetwork(w.clock, w.carrier, w.mirror, w.gate, w.modem.ingress, w.servers.ingress)
	w.carrier.net, w.modem.net, w.servers.back = w.net, w.net, w.net.downBack
	return nil
}

// Clock is the bench's time. It is a *Clock, whose Hold keeps it from hurrying.
func (w *World) Clock() bench.Clock { return w.clock }

// Hold keeps the clock at the wall's speed until release is called; see Clock.Hold.
func (w *World) Hold() (release func()) { return w.clock.Hold() }

// Port is the path of the board's serial port at this moment, "" while it has vanished.
func (w *World) Port() string { return w.board.path() }

// Model is what the personality is called on a bench: "wio-lte".
func (w *World) Model() string { return w.opts.Personality }

// Firmware is the variant of the firmware: "stock".
func (w *World) Firmware() string { return w.opts.Firmware }

// Mirror starts a capture of the mirror: a pcap stream, the file's header first, then each packet as soon as it was
// mirrored, as from `ssh host tcpdump -U -w -`. Nothing is lost however slowly it is read. Its capture times are the
// simulated clock's. Each call is a capture of its own.
func (w *World) Mirror() io.ReadCloser { return w.mirror.open() }

// Gate starts a capture of the mirror behind the gate, as Mirror does of the network's. Without Options.Gate there is none,
// and the capture ends before its first packet.
func (w *World) Gate() io.ReadCloser {
	if w.gate == nil {
		return io.NopCloser(bytes.NewReader(nil))
	}
	return w.gate.mirror.open()
}

// Carrier is the network's side of the device's SIM, for the simulated API.
func (w *World) Carrier() api.Backend { return w.carrier }

// Vanish takes the board's port away; it comes back under another name.
func (w *World) Vanish() { w.board.vanish() }

// Hang makes the board silent: it hears nothing and says nothing any more. What its firmware does goes on.
func (w *World) Hang() { w.board.hang() }

// Close takes the bench down. Nothing of it runs afterwards. It may be called twice.
func (w *World) Close() error {
	w.closeOnce.Do(func() {
		// First, so that what the taking down makes (servers that go reset what is open) is in no capture.
		if w.mirror != nil {
			w.mirror.close()
		}
		if w.gate != nil {
			w.gate.mirror.close()
		}
		if w.board != nil {
			w.closeErr = w.board.close()
		}
		if w.modem != nil {
			w.modem.close()
		}
		if w.servers != nil {
			w.servers.shut()
		}
		w.clock.Stop()
	})
	return w.closeErr
}
