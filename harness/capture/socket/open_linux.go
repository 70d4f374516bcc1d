package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/privilege"
)

// socketConn is what is used of net's connections.
type socketConn interface {
	SyscallConn() (syscall.RawConn, error)
	SetReadDeadline(time.Time) error
	LocalAddr() net.Addr
	Close() error
}

// open binds a socket that keeps whatever comes for a receiver. It gives where the socket listens.
func open(p protocol, listen netip.AddrPort, buffer, room int) (receiver, netip.AddrPort, error) {
	size := 0
	var failed error
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		err := raw.Control(func(fd uintptr) { size, failed = prepare(int(fd), p, listen.Addr(), buffer) })
		return errors.Join(err, failed)
	}}
	network, address := where(p, listen)
	var conn net.PacketConn
	bind := func() (err error) {
		conn, err = config.ListenPacket(context.Background(), network, address)
		return err
	}
	err := as(p, bind)
	if err != nil {
		return nil, listen, explain(p, listen, err)
	}
	if u, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		listen = netip.AddrPortFrom(listen.Addr(), uint16(u.Port))
	}
	sock, ok := conn.(socketConn)
	if !ok {
		return nil, listen, errors.Join(fmt.Errorf("a socket of type %T can't be asked", conn), conn.Close())
	}
	r, err := newBatcher(sock, listen, size, room)
	if err != nil {
		return nil, listen, errors.Join(err, conn.Close())
	}
	return r, listen, nil
}

// as binds with the privilege that the protocol needs.
func as(p protocol, bind func() error) error {
	if p == gre {
		return privilege.With(bind)
	}
	return bind()
}

// where names a place for package net. [::] is every address, of IPv4 too; raw sockets have one version only.
func where(p protocol, listen netip.AddrPort) (network, address string) {
	switch a := listen.Addr(); {
	case p == gre && a.Is4():
		return "ip4:47", a.String()
	case p == gre:
		return "ip6:47", a.String()
	case a.Is4():
		return "udp4", listen.String()
	case a.IsUnspecified():
		return "udp", listen.String()
	}
	return "udp6", listen.String()
}

// prepare sets a socket's options before it is bound: when it is, whatever comes has its time, and its destination where
// that is not known without (a raw socket may get others' packets before it is bound).
func prepare(fd int, p protocol, listen netip.Addr, buffer int) (granted int, err error) {
	set := func(level, option int, name string) {
		if e := unix.SetsockoptInt(fd, level, option, 1); e != nil && err == nil {
			err = fmt.Errorf("set %s: %w", name, e)
		}
	}
	set(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, "SO_TIMESTAMPNS")
	set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, "SO_RXQ_OVFL")
	switch {
	case p == vxlan && !listen.IsUnspecified():
	case listen.Is4():
		set(unix.IPPROTO_IP, unix.IP_PKTINFO, "IP_PKTINFO")
	default:
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO")
	}
	if err != nil {
		return 0, err
	}
	return grow(fd, buffer)
}

// grow asks for a receive buffer and gives what was granted. The kernel keeps twice the number, for its own overhead, and
// tells that (socket(7)). With CAP_NET_ADMIN it need not stay within net.core.rmem_max.
func grow(fd, buffer int) (granted int, err error) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return 0, fmt.Errorf("set SO_RCVBUF: %w", err)
		}
	}
	kept, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return kept / 2, err
}

// raise is the command that lets a program ask for so large a buffer.
func raise(buffer int) string {
	return fmt.Sprintf("`sudo sysctl -w net.core.rmem_max=%d` raises the limit", buffer)
}

// explain adds to an error what can be done about it.
func explain(p protocol, listen netip.AddrPort, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch {
	case errno == unix.EPERM && p == gre:
		return fmt.Errorf("open a raw socket for GRE: %w: capturing needs CAP_NET_RAW, not root: run `%s` once, and again whenever the program is replaced", errno, privilege.Grant())
	case errno == unix.EADDRINUSE:
		return fmt.Errorf("%w: another program or a VXLAN device of this host receives there: `ss -Hulnp 'sport = :%d'` shows which", err, listen.Port())
	case errno == unix.EADDRNOTAVAIL:
		return fmt.Errorf("%w: %s is no address of this host: `ip -brief address` shows which there are, and 0.0.0.0 is all of them", err, listen.Addr())
	case errno == unix.EACCES:
		return fmt.Errorf("%w: ports below 1024 are for the privileged", err)
	}
	return err
}
