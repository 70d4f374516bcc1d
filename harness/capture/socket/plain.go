package socket

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// plain receives one datagram at a time with what every system has. It can't prove a queue empty: it sends itself a mark,
// which comes out of the queue after everything that was in it.
type plain struct {
	conn  *net.UDPConn
	bound netip.AddrPort
	size  int
	one   [1]datagram

	marker *net.UDPConn   // sends marks; nothing is ever read from it
	marks  netip.AddrPort // where the marks go
	secret [markSecret]byte
}

// A mark is a secret that nobody else knows, and a number. Its first byte is 0: it is no VXLAN.
const (
	markSecret = 24
	markSize   = markSecret + 8
)

// openPlain binds a UDP socket.
func openPlain(listen netip.AddrPort, buffer, room int) (*plain, netip.AddrPort, error) {
	network, here := "udp4", netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if listen.Addr().Is6() {
		network, here = "udp6", netip.IPv6Loopback()
		if listen.Addr().IsUnspecified() {
			network = "udp"
		}
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(listen))
	if err != nil {
		return nil, listen, err
	}
	bound := netip.AddrPortFrom(listen.Addr(), uint16(conn.LocalAddr().(*net.UDPAddr).Port))
	if !listen.Addr().IsUnspecified() {
		here = listen.Addr()
	}
	p := &plain{conn: conn, bound: bound, size: growPlain(conn, buffer), marks: netip.AddrPortFrom(here, bound.Port())}
	p.one[0].buf = make([]byte, headroom+room)
	_, _ = rand.Read(p.secret[1:]) // it never fails (package crypto/rand)
	if p.marker, err = net.DialUDP(network, nil, net.UDPAddrFromAddrPort(p.marks)); err != nil {
		_ = conn.Close() // the first error is the cause
		return nil, listen, fmt.Errorf("open a socket for marks: %w", err)
	}
	return p, bound, nil
}

// growPlain asks for a receive buffer, for less where that is refused, and gives what was asked for last.
func growPlain(conn *net.UDPConn, buffer int) int {
	const least = 64 << 10
	for ; buffer > least; buffer /= 2 {
		if conn.SetReadBuffer(buffer) == nil {
			return buffer
		}
	}
	return buffer
}

func (p *plain) receive(bool) ([]datagram, error) {
	d := &p.one[0]
	n, from, err := p.conn.ReadFromUDPAddrPort(d.buf[headroom:])
	if err != nil {
		return nil, err
	}
	d.n, d.length, d.time, d.mark = n, n, time.Now().UnixNano(), 0
	d.from, d.fromPort = from.Addr().Unmap().WithZone(""), from.Port()
	d.to, d.toPort = p.bound.Addr().WithZone(""), p.bound.Port()
	if d.to.IsUnspecified() {
		d.to = netip.Addr{} // not known here
	}
	if b := d.payload(); n == markSize && bytes.Equal(b[:markSecret], p.secret[:]) {
		d.mark = binary.BigEndian.Uint64(b[markSecret:])
	}
	return p.one[:], nil
}

func (p *plain) nudge(mark uint64) error {
	_, err := p.marker.Write(binary.BigEndian.AppendUint64(bytes.Clone(p.secret[:]), mark))
	return err
}

func (p *plain) lost() uint64 { return 0 }

func (p *plain) count() uint64 { return 0 }

func (p *plain) queued() (uint64, bool) { return 0, false }

func (p *plain) torn() uint64 { return 0 }

func (p *plain) granted() int { return p.size }

func (p *plain) close() error {
	err := p.conn.Close()
	if e := p.marker.Close(); err == nil {
		err = e
	}
	return err
}
