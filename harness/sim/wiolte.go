package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	powerOnTakes  = 3 * time.Second // from the power key to the modem's RDY
	notices       = 2 * time.Second // until the sketch's loop sees that the session is gone
	replyDefault  = 5 * time.Second
	httpWithin    = 60 * time.Second
	closeWithin   = 10 * time.Second // AT+QICLOSE's own time-out
	socketPayload = 1460             // AT+QISEND takes no more
)

// wioLTE is a sketch for the Wio LTE that does what the line protocol tells it and prints what the vendor's samples
// print.
//
// Variants: "stock" has the modem's ways as they were seen; "patched" has a modem that sends no late RST; "no-reconnect"
// is stock whose sketch does not notice that its session is gone, like the vendor's samples.
type wioLTE struct {
	board     *board
	modem     *modem
	variant   string
	poweredOn bool
	apn       string
	last      report
}

// report is the last datagram that the sketch was told to send. After a reconnection it sends it again, as a sketch
// does that reports in its loop.
type report struct {
	to, payload string
}

func newWioLTE(w *World, variant string) firmware {
	f := &wioLTE{board: w.board, modem: w.modem, variant: variant}
	if variant != "no-reconnect" {
		w.modem.onLost = func() { w.board.background(f.reconnect) }
	}
	return f
}

func (f *wioLTE) name() string { return "wio-lte " + f.variant }

func (f *wioLTE) boot(context.Context) {
	f.board.println("### I/O Initialize.")
	f.board.println("### Power supply ON.")
	f.board.println("### Setup completed.")
}

func (f *wioLTE) halt() {
	f.modem.drop()
	f.poweredOn, f.apn, f.last = false, "", report{}
}

func (f *wioLTE) do(ctx context.Context, verb string, words []string) (string, error) {
	arg := func(i int, fallback string) string {
		if i < len(words) {
			return words[i]
		}
		return fallback
	}
	switch verb {
	case "activate":
		return f.activate(ctx, arg(0, "soracom.io"))
	case "deactivate":
		f.apn = ""
		return "", f.modem.deactivate(ctx)
	case "status":
		if a, ok := f.modem.active(); ok {
			return "active " + a.String(), nil
		}
		return "inactive", nil
	case "http_get":
		return f.httpGet(ctx, arg(0, ""))
	case "tcp", "udp":
		wait, err := time.ParseDuration(arg(2, replyDefault.String()))
		if err != nil {
			return "", err
		}
		if verb == "tcp" {
			return f.tcp(ctx, arg(0, ""), arg(1, ""), wait)
		}
		return f.udp(ctx, report{to: arg(0, ""), payload: arg(1, "")}, wait)
	}
	return "", errUnknownVerb
}

func (f *wioLTE) activate(ctx context.Context, apn string) (string, error) {
	if !f.poweredOn {
		f.board.println("### Turn on or reset.")
		if err := f.modem.clock.Sleep(ctx, powerOnTakes); err != nil {
			return "", err
		}
		f.poweredOn = true
	}
	f.board.println("### Connecting to %q.", apn)
	a, err := f.modem.activate(ctx, apn)
	if err != nil {
		f.board.println("### ERROR! ###")
		return "", err
	}
	f.apn = apn
	f.board.println("Connected.")
	return a.String(), nil
}

// reconnect is what the sketch's loop does when it finds its session gone.
func (f *wioLTE) reconnect(ctx context.Context) {
	if f.apn == "" || f.modem.clock.Sleep(ctx, notices) != nil {
		return
	}
	f.board.println("### Disconnected. ###")
	for {
		if _, err := f.activate(ctx, f.apn); err == nil {
			break
		}
		if f.modem.clock.Sleep(ctx, 5*time.Second) != nil {
			return
		}
	}
	if f.last.to != "" {
		_, _ = f.udp(ctx, f.last, replyDefault) // the console shows how it went
	}
}

func (f *wioLTE) httpGet(ctx context.Context, url string) (string, error) {
	wait, cancel := f.modem.clock.WithTimeout(ctx, httpWithin)
	defer cancel()
	late := lateReset
	if f.variant == "patched" {
		late = 0
	}
	res, err := f.modem.httpGet(wait, url, wioRequest, late)
	if err == nil && res.status >= 400 {
		err = fmt.Errorf("the server answered %d", res.status)
	}
	if err != nil {
		f.board.println("Send NG")
		return "", err
	}
	f.board.println("Send OK %d %s", len(res.body), res.body)
	return string(res.body), nil
}

// resolve gives the address behind host:port.
func (m *modem) resolve(ctx context.Context, hostport string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", port, err)
	}
	a, err := m.lookup(ctx, host)
	return netip.AddrPortFrom(a, uint16(p)), err
}

func (f *wioLTE) udp(ctx context.Context, r report, wait time.Duration) (string, error) {
	f.last = r
	peer, err := f.modem.resolve(ctx, r.to)
	if err != nil {
		f.board.println("### Connect ERROR! ###")
		return "", err
	}
	if len(r.payload) > socketPayload {
		f.board.println("### SEND ERROR! ###")
		return "", fmt.Errorf("%d bytes are more than the %d that the modem takes", len(r.payload), socketPayload)
	}
	waiting, cancel := f.modem.clock.WithTimeout(ctx, wait)
	defer cancel()
	reply, err := f.modem.exchangeUDP(waiting, peer, []byte(r.payload))
	if err != nil {
		return "", f.received(err, wait)
	}
	f.board.println("%s", strings.TrimRight(string(reply), "\r\n"))
	return string(reply), nil
}

// received prints why nothing was received, and gives the reason.
func (f *wioLTE) received(err error, wait time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		f.board.println("### RECEIVE TIMEOUT! ###")
		return fmt.Errorf("no reply within %s", wait)
	}
	f.board.println("### RECEIVE ERROR! ###")
	return err
}

func (f *wioLTE) tcp(ctx context.Context, to, payload string, wait time.Duration) (string, error) {
	peer, err := f.modem.resolve(ctx, to)
	if err != nil {
		f.board.println("### Connect ERROR! ###")
		return "", err
	}
	sock, err := f.modem.connect(ctx, peer, traits{resetAfter: promptReset})
	if err != nil {
		f.board.println("### Connect ERROR! ###")
		return "", err
	}
	defer sock.release()
	reply, err := f.talk(ctx, sock, payload, wait)
	f.closeSocket(ctx, sock)
	if err != nil {
		return "", err
	}
	return reply, nil
}

// talk sends once and receives once.
func (f *wioLTE) talk(ctx context.Context, sock *socket, payload string, wait time.Duration) (string, error) {
	if len(payload) > socketPayload {
		f.board.println("### SEND ERROR! ###")
		return "", fmt.Errorf("%d bytes are more than the %d that the modem takes", len(payload), socketPayload)
	}
	if _, err := sock.Write([]byte(payload)); err != nil {
		f.board.println("### SEND ERROR! ###")
		return "", err
	}
	reply, err := sock.receive(ctx, wait)
	if err != nil {
		return "", f.received(err, wait)
	}
	f.board.println("%s", strings.TrimRight(string(reply), "\r\n"))
	return string(reply), nil
}

// closeSocket is the samples' way to close: the first SocketClose fails where the close took an RST, the second does
// not.
func (f *wioLTE) closeSocket(ctx context.Context, sock *socket) {
	wait, cancel := f.modem.clock.WithTimeout(ctx, closeWithin)
	defer cancel()
	if reset, err := sock.finish(wait); err != nil || reset {
		f.board.println("### Close ERROR! ###")
	}
}
