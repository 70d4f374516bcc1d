package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

const (
	// mirrored is the network identifier that mirrors sends with.
	mirrored = 42
	// inGRE is how many bytes a capture of a GRE mirror has in front of the device's frame: Ethernet, IPv4, GRE.
	inGRE = 14 + 20 + 4
	// patience is how long somebody may take to listen.
	patience = time.Minute
)

// mirrors CAPTURE ADDRESS waits until somebody listens at a UDP address, and sends there, by VXLAN, the frames that a GRE
// mirror sent in a capture, after a datagram that is no VXLAN.
func mirrors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mirrors CAPTURE ADDRESS:PORT")
	}
	to, err := netip.ParseAddrPort(args[1])
	ts.Check(err)
	for begin := time.Now(); !listens(ts, to); <-time.After(10 * time.Millisecond) {
		if time.Since(begin) > patience {
			ts.Fatalf("nobody listens at %s", to)
		}
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	ts.Check(err)
	defer conn.Close()
	_, err = conn.Write([]byte("\x00: a tap leaves this out"))
	ts.Check(err)
	file, err := os.Open(args[0])
	ts.Check(err)
	defer file.Close()
	in, err := pcap.NewReader(file)
	ts.Check(err)
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ts.Check(err)
		_, err = conn.Write(append([]byte{0x08, 0, 0, 0, 0, 0, mirrored, 0}, rec.Data[inGRE:]...))
		ts.Check(err)
	}
}

// listens says whether a socket is bound to an IPv4 address and port: the kernel's table has it (proc(5): /proc/net/udp), in
// which an address is a number of this machine's byte order. To send and wait for a refusal would be a guess: on a busy machine
// that comes late.
func listens(ts *testscript.TestScript, at netip.AddrPort) bool {
	table, err := os.ReadFile("/proc/net/udp")
	ts.Check(err)
	a := at.Addr().As4()
	return bytes.Contains(table, fmt.Appendf(nil, " %08X:%04X ", binary.NativeEndian.Uint32(a[:]), at.Port()))
}
