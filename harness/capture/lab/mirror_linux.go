package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// The addresses of a Mirror.
var (
	Device = netip.MustParseAddr("10.77.0.2") // of the device, on its interface d0
	Server = netip.MustParseAddr("10.77.0.1") // of the switch, which is the server too, on its interface s0
	From   = netip.MustParseAddr("10.88.0.1") // the mirror sends from here, on s1
	To     = netip.MustParseAddr("10.88.0.2") // to here, on m1
)

// VNI is the network identifier of the VXLAN mirror.
const VNI = 42

// Mirror is a device's network that is mirrored: a device, the switch that it is at, and the host that gets the mirror.
//
//	Device d0 ── s0 Switch s1 ── m1 Host
type Mirror struct {
	t                    testing.TB
	Device, Switch, Host *Namespace
}

// NewMirror makes the three and their links. The link to the mirror's host has an MTU of its own: with one that is no
// larger than the device's 1500, mirrored packets come in fragments. Nothing is mirrored yet.
func NewMirror(t testing.TB, mtu int) *Mirror {
	t.Helper()
	m := &Mirror{t, New(t, "dev"), New(t, "sw"), New(t, "host")}
	Link(m.Device, "d0", m.Switch, "s0", 1500)
	Link(m.Switch, "s1", m.Host, "m1", mtu)
	m.Device.IP("addr", "add", Device.String()+"/24", "dev", "d0")
	m.Switch.IP("addr", "add", Server.String()+"/24", "dev", "s0")
	m.Switch.IP("addr", "add", From.String()+"/24", "dev", "s1")
	m.Host.IP("addr", "add", To.String()+"/24", "dev", "m1")
	return m
}

// Segmented turns off every offload of the path, so that segments are what the wire carries; else they are joined, up to
// 64 KiB. It needs ethtool.
func (m *Mirror) Segmented() {
	m.t.Helper()
	for _, end := range []struct {
		in   *Namespace
		name string
	}{{m.Device, "d0"}, {m.Switch, "s0"}, {m.Switch, "s1"}, {m.Host, "m1"}} {
		out, err := end.in.Command("ethtool", "-K", end.name, "tso", "off", "gso", "off", "gro", "off", "tx", "off").CombinedOutput()
		if err != nil {
			m.t.Fatalf("turn off the offloads of %s: %v: %s", end.name, err, out)
		}
	}
}

// VXLAN mirrors what passes the device's link, both ways, through a VXLAN device: as AWS does. It needs tc.
func (m *Mirror) VXLAN() {
	m.t.Helper()
	m.Switch.IP("link", "add", "vx0", "type", "vxlan", "id", fmt.Sprint(VNI), "remote", To.String(), "local", From.String(), "dev", "s1", "dstport", "4789", "nolearning")
	m.Switch.IP("link", "set", "vx0", "up")
	m.Switch.TC("qdisc", "add", "dev", "s0", "clsact")
	for _, way := range []string{"ingress", "egress"} {
		m.Switch.TC("filter", "add", "dev", "s0", way, "protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "mirror", "dev", "vx0")
	}
}

// Wrapper sends frames on as a mirror by GRE does: protocol 0x6558, each in a datagram of its own (RFC 1701, RFC 2784),
// with sequence numbers (RFC 2890) where they are wanted.
type Wrapper struct {
	to       *net.IPAddr
	conn     net.PacketConn
	sequence bool

	mu     sync.Mutex
	next   uint32
	packet []byte
	sent   uint64
	failed error
}

// NewWrapper opens a wrapper that sends from the switch to the mirror's host.
func (m *Mirror) NewWrapper(sequence bool) *Wrapper {
	m.t.Helper()
	w := &Wrapper{to: &net.IPAddr{IP: To.AsSlice()}, sequence: sequence}
	err := m.Switch.Do(func() (err error) {
		w.conn, err = net.ListenPacket("ip4:47", From.String())
		return err
	})
	if err != nil {
		m.t.Fatalf("open a raw socket for GRE: %v", err)
	}
	m.t.Cleanup(func() { _ = w.conn.Close() })
	return w
}

// Take sends a frame on; it is a tap's sink.
func (w *Wrapper) Take(rec pcap.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	const ethernet, hasSequence = 0x6558, 0x1000
	flags := uint16(0)
	if w.sequence {
		flags = hasSequence
	}
	w.packet = binary.BigEndian.AppendUint16(w.packet[:0], flags)
	w.packet = binary.BigEndian.AppendUint16(w.packet, ethernet)
	if w.sequence {
		w.packet = binary.BigEndian.AppendUint32(w.packet, w.next)
		w.next++
	}
	w.packet = append(w.packet, rec.Data...)
	w.sent++
	if _, err := w.conn.WriteTo(w.packet, w.to); err != nil && w.failed == nil {
		w.failed = fmt.Errorf("send %d bytes on: %w", len(w.packet), err)
	}
}

// Sent gives how many frames have been sent on.
func (w *Wrapper) Sent() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// Err gives the first failure to send on.
func (w *Wrapper) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}
