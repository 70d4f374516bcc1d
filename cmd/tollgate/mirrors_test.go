package main

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
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
// mirror sent in a capture.
func mirrors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mirrors CAPTURE ADDRESS:PORT")
	}
	conn, err := net.Dial("udp", args[1])
	ts.Check(err)
	defer conn.Close()
	for begin := time.Now(); !listens(ts, conn); {
		if time.Since(begin) > patience {
			ts.Fatalf("nobody listens at %s", args[1])
		}
	}
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

// listens says whether somebody takes what is sent: where nobody does, the kernel says so in answer to a datagram, and it
// takes a moment to say nothing.
func listens(ts *testscript.TestScript, conn net.Conn) bool {
	_, err := conn.Write([]byte("\x00: is anybody there?")) // no VXLAN: a tap leaves it out
	if err == nil {
		ts.Check(conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		_, err = conn.Read(make([]byte, 1))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		ts.Check(err)
	}
	return false
}
