package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	unifiedPort = 23080
	uploadWait  = 10 * time.Second
)

// triggered is what the devices without a console share: an actuator on the serial port, which answers at once, and a
// device that goes its own way until its power is taken.
type triggered struct {
	board *board
	modem *modem

	mu  sync.Mutex
	off context.CancelFunc // takes the power of a device that is on
}

// switchOn gives the device power and lets it run its program; it says whether the device was off.
func (t *triggered) switchOn(program func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.off != nil {
		return false
	}
	ctx, off := context.WithCancel(t.board.ctx)
	t.off = off
	t.board.spawn(func() {
		if _, err := t.modem.activate(ctx, "soracom.io"); err != nil {
			t.switchOff()
			return
		}
		if ctx.Err() != nil { // the power went meanwhile
			t.modem.drop()
			return
		}
		program(ctx)
	})
	return true
}

// switchOff takes the device's power, if it has any. The network keeps its session.
func (t *triggered) switchOff() {
	t.mu.Lock()
	off := t.off
	t.off = nil
	t.mu.Unlock()
	if off != nil {
		off()
		t.modem.drop()
	}
}

// The actuator itself has nothing to boot; without power it lets go of the device's.

func (*triggered) boot(context.Context) {}
func (t *triggered) halt()              { t.switchOff() }

// button is the LTE-M Button: on a click it wakes, asks for its endpoint's address, sends four bytes and goes to
// sleep. Every click is a session of its own, so the name is looked up each time.
type button struct{ triggered }

func newButton(w *World, _ string) firmware {
	w.carrier.hadSession()
	return &button{triggered{board: w.board, modem: w.modem}}
}

func (*button) name() string { return "button stock" }

// clicks are the payloads: the kind of click is in the second and the last byte but one.
var clicks = map[string]string{"single": "4d010351", "double": "4d020352", "long": "4d030353"}

func (b *button) do(_ context.Context, verb string, words []string) (string, error) {
	if verb != "click" {
		return "", errUnknownVerb
	}
	kind := "single"
	if len(words) > 0 {
		kind = words[0]
	}
	payload, err := hex.DecodeString(clicks[kind])
	if err != nil || len(payload) == 0 {
		return "", fmt.Errorf("click %q: there are single, double and long", kind)
	}
	if !b.switchOn(func(ctx context.Context) { b.send(ctx, payload) }) {
		return "", errors.New("the button is still busy with the click before")
	}
	return "", nil
}

// send is what the button does once it is awake. The light on it is all that would tell how it went.
func (b *button) send(ctx context.Context, payload []byte) {
	defer b.switchOff()
	peer, err := b.modem.resolve(ctx, fmt.Sprintf("button.soracom.io:%d", unifiedPort))
	if err != nil {
		return
	}
	wait, cancel := b.modem.clock.WithTimeout(ctx, uploadWait)
	defer cancel()
	_, _ = b.modem.exchangeUDP(wait, peer, payload)
}

// multiunit is the GPS Multiunit: switched on it sends its sensors' values to the unified endpoint, by address, and
// fetches its settings from the metadata service. It never answers the FIN that ends that.
type multiunit struct{ triggered }

func newMultiunit(w *World, _ string) firmware {
	w.carrier.hadSession()
	return &multiunit{triggered{board: w.board, modem: w.modem}}
}

func (*multiunit) name() string { return "gps-multiunit stock" }

func (u *multiunit) do(_ context.Context, verb string, _ []string) (string, error) {
	switch verb {
	case "power_on":
		if !u.switchOn(u.start) {
			return "", errors.New("the unit is on already")
		}
		return "", nil
	case "power_off":
		u.switchOff()
		return "", nil
	}
	return "", errUnknownVerb
}

// sensors are 98 bytes, as long as the upload in the Multiunit's table.
const sensors = `{"lat":null,"lon":null,"bat":3,"rs":4,"temp":21.5,"humi":40.2,"x":0,"y":-64.0,"z":-960.0,"type":1}`

func (u *multiunit) start(ctx context.Context) {
	wait, cancel := u.modem.clock.WithTimeout(ctx, uploadWait)
	_, err := u.modem.exchangeUDP(wait, netip.AddrPortFrom(unifiedAddr, unifiedPort), []byte(sensors))
	cancel()
	if err != nil {
		return
	}
	u.fetchSettings(ctx)
}

// fetchSettings reads the user data and leaves the connection as it is: deaf to the server's FIN, and without one of
// its own.
func (u *multiunit) fetchSettings(ctx context.Context) {
	peer, err := u.modem.resolve(ctx, "metadata.soracom.io:80")
	if err != nil {
		return
	}
	sock, err := u.modem.connect(ctx, peer, traits{deafToFIN: true})
	if err != nil {
		return
	}
	defer sock.release()
	if _, err := sock.Write([]byte(multiunitRequest)); err != nil {
		return
	}
	_, _ = sock.receive(ctx, uploadWait) // the settings change nothing that could be seen
}

// multiunitRequest is 247 bytes, as long as the request in the Multiunit's table.
var multiunitRequest = func() string {
	const head = "GET /v1/userdata HTTP/1.1\r\nHost: metadata.soracom.io\r\nAccept: text/plain\r\nConnection: close\r\nUser-Agent: "
	return head + strings.Repeat("u", 247-len(head)-4) + "\r\n\r\n"
}()
