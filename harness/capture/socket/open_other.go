//go:build !linux

package socket

import (
	"errors"
	"fmt"
	"net/netip"
)

// open binds a socket that keeps whatever comes for a receiver. It gives where the socket listens.
func open(p protocol, listen netip.AddrPort, buffer, room int) (receiver, netip.AddrPort, error) {
	if p == gre {
		return nil, listen, errors.New("a raw socket for GRE can be had on Linux only: capture on a Linux host with a tap of driver ssh, or have the mirror send VXLAN")
	}
	r, bound, err := openPlain(listen, buffer, room)
	if err != nil {
		return nil, listen, fmt.Errorf("%w: is it an address of this host, and does no other program receive there?", err)
	}
	return r, bound, nil
}

// raise says how a program may ask for so large a buffer.
func raise(int) string {
	return "the system's limit on socket buffers can be raised by its administrator"
}

// uncounted says why not all losses are counted.
func uncounted(uint64) string {
	return "this system does not count the datagrams that a socket loses: only a canary and the packets themselves can tell; on Linux they are counted"
}
