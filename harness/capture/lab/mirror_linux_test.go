package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/capture/lab"
	"github.com/tollgate-iot/tollgate/harness/capture/socket"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

const within = 30 * time.Second

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// TestMirrors: real kernels talk, real mirrors show it, and what three taps make of the mirror is what tshark reads from
// a tcpdump that ran beside them.
func TestMirrors(t *testing.T) {
	lab.Require(t, "tc", "ethtool", "tcpdump", "tshark", "curl", "python3", "mosquitto", "mosquitto_pub")
	for _, c := range []struct {
		name      string
		word      string
		mtu       int
		segmented bool // no offload
		sequence  bool
		joined    bool // segments of more than the MSS are to be seen
		fragments bool
	}{
		{name: "vxlan in fragments", word: filter.VXLAN, mtu: 1500, segmented: true, fragments: true},
		{name: "vxlan with offload", word: filter.VXLAN, mtu: 1600, joined: true},
		{name: "gre in fragments", word: filter.GRE, mtu: 1500, segmented: true, fragments: true},
		{name: "gre with sequence numbers, offload and fragments", word: filter.GRE, mtu: 9000, sequence: true, joined: true, fragments: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := lab.NewMirror(t, c.mtu)
			if c.segmented {
				m.Segmented()
			}
			town := settle(t, m)
			s := &session{t: t, m: m, canary: "before"}
			s.mirror(c.word, c.sequence, c.joined)
			s.capture(c.word, c.joined)
			s.settled()
			town.talk(t, m)
			town.quiet(t, m)
			s.canary = "after"
			s.settled()
			s.end()
			lost := s.lost()
			want := tshark(t, s.file)
			require.Len(t, want, 5, "the conversations of the town")
			for _, tap := range s.taps {
				t.Run(tap.Name(), func(t *testing.T) {
					tr := tap.trace(t, lab.Device)
					compare(t, want, tr)
					judge(t, want, tr, lost)
					named(t, tr, c.joined, c.fragments && tap.Name() == "afpacket") // a socket gets whole datagrams
				})
			}
		})
	}
}

// session is a capture by several taps and a tcpdump.
type session struct {
	t      *testing.T
	m      *lab.Mirror
	word   string
	taps   []*tapped
	file   string
	stop   func()
	wraps  *lab.Wrapper
	feeder *afpacket.Tap
	canary string
}

// mirror begins to mirror.
func (s *session) mirror(word string, sequence, joined bool) {
	s.word = word
	if word == filter.VXLAN {
		s.m.VXLAN()
		return
	}
	if joined {
		// A frame of 64 KiB does not fit into a datagram of 64 KiB once it is wrapped.
		s.m.Device.IP("link", "set", "d0", "gso_max_size", "40000")
		s.m.Switch.IP("link", "set", "s0", "gso_max_size", "40000")
	}
	s.wraps = s.m.NewWrapper(sequence)
	var err error
	s.feeder, err = afpacket.New(afpacket.Options{Interface: "s0"})
	require.NoError(s.t, err)
	require.NoError(s.t, s.m.Switch.Do(func() error { return s.feeder.Start(limited(s.t), s.wraps.Take) }))
	s.t.Cleanup(func() { require.NoError(s.t, s.feeder.Close()) })
}

// capture starts the taps and tcpdump on the mirror's host.
func (s *session) capture(word string, joined bool) {
	f, err := filter.New(filter.Options{Words: []string{word}})
	require.NoError(s.t, err)
	ring, err := afpacket.New(afpacket.Options{Name: "afpacket", Interface: "m1", Filter: f})
	require.NoError(s.t, err)
	var sock *socket.Tap
	if word == filter.VXLAN {
		sock, err = socket.NewVXLAN(socket.Options{Name: "vxlan", Listen: lab.To.String()})
	} else {
		sock, err = socket.NewGRE(socket.Options{Name: "gre", Listen: lab.To.String()})
	}
	require.NoError(s.t, err)
	for _, tap := range []bench.Tap{ring, sock} {
		k := &tapped{Tap: tap}
		require.NoError(s.t, s.m.Host.Do(func() error { return tap.Start(limited(s.t), k.take) }))
		s.t.Cleanup(func() { require.NoError(s.t, tap.Close()) })
		s.taps = append(s.taps, k)
	}
	s.file = filepath.Join(s.t.TempDir(), "tcpdump.pcap")
	snap := "2048"
	if joined {
		snap = "70000"
	}
	s.tcpdump(f.Expression(), snap)
}

// tcpdump starts one and waits until it captures. In its immediate mode each frame has room for the snap length in its
// buffer of 128 MiB.
func (s *session) tcpdump(expression, snap string) {
	cmd := s.m.Host.Command("tcpdump", "-i", "m1", "-Z", "root", "-B", "131072", "-s", snap, "-U", "--immediate-mode", "-n", "-w", s.file, expression)
	said, err := cmd.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	buf := make([]byte, 4096)
	heard := ""
	for !strings.Contains(heard, "listening on") {
		n, err := said.Read(buf)
		require.NoError(s.t, err, heard)
		heard += string(buf[:n])
	}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(syscall.SIGINT) // gone already: Wait tells
			rest, _ := io.ReadAll(said)
			require.NoError(s.t, cmd.Wait(), string(rest))
			require.Contains(s.t, string(rest), "\n0 packets dropped by kernel")
		})
	}
	s.t.Cleanup(s.stop)
}

// settled sends canaries through the mirror and returns when all have seen them, and all that was sent before: nothing is
// left on the way from the device to the switch when a canary from each processor has come; nothing is left on the way from
// there to the mirror's host when as much has come as was sent; and tcpdump has written what the ring got.
func (s *session) settled() {
	var texts []string
	require.NoError(s.t, s.m.Device.DoOnEach(func(processor int) error {
		text := fmt.Sprintf("canary %s %d.", s.canary, processor)
		texts = append(texts, text)
		conn, err := net.Dial("udp4", net.JoinHostPort(lab.Server.String(), "9"))
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte(text))
		return errors.Join(err, conn.Close())
	}))
	for _, tap := range s.taps {
		for _, text := range texts {
			require.Eventually(s.t, func() bool { return tap.saw(text) }, within, 5*time.Millisecond, "%s of %s", text, tap.Name())
		}
	}
	ring, sock := s.taps[0], s.taps[1]
	sent := s.sent()
	require.Eventually(s.t, func() bool { return sock.Stats().Received >= sent || s.lost() > 0 }, within, 5*time.Millisecond, "%d mirrored", sent)
	for _, tap := range s.taps {
		require.NoError(s.t, tap.Flush(limited(s.t)))
	}
	require.Eventually(s.t, func() bool { return s.written() >= ring.Stats().Received }, within, 20*time.Millisecond, "what tcpdump wrote")
}

// sent gives how many frames have been mirrored.
func (s *session) sent() uint64 {
	if s.wraps != nil {
		return s.wraps.Sent()
	}
	return s.m.Switch.Sent("vx0")
}

// written gives how many frames tcpdump has written.
func (s *session) written() (n uint64) {
	f, err := os.Open(s.file)
	if err != nil {
		return 0
	}
	defer f.Close()
	in, err := pcap.NewReader(f)
	if err != nil {
		return 0
	}
	for rec := (pcap.Record{}); in.Read(&rec) == nil; {
		n++
	}
	return n
}

func (s *session) end() {
	s.stop()
	if s.wraps != nil {
		require.NoError(s.t, s.wraps.Err())
		require.Zero(s.t, s.feeder.Stats().Dropped)
	}
	for _, tap := range s.taps {
		require.Zero(s.t, tap.Stats().Dropped)
	}
}

// lost gives how many packets the links lost on their way to the taps.
func (s *session) lost() uint64 {
	n := s.m.Device.Lost("d0") + s.m.Switch.Lost("s0") + s.m.Switch.Lost("s1") + s.m.Host.Lost("m1")
	if s.word == filter.VXLAN {
		n += s.m.Switch.Lost("vx0")
	}
	if n > 0 {
		s.t.Logf("this machine is busy: its links lost %d packets", n)
	}
	return n
}

// tapped is a tap and what it gave, as a capture file.
type tapped struct {
	bench.Tap
	mu  sync.Mutex
	buf bytes.Buffer
	out *pcap.Writer
	err error
	all bytes.Buffer // the frames' bytes, to look for canaries
}

func (k *tapped) take(rec pcap.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out == nil && k.err == nil {
		k.out, k.err = pcap.NewWriter(&k.buf, pcap.Section{}, pcap.Interface{Name: k.Name(), Link: rec.Link})
	}
	if k.err == nil {
		k.err = k.out.Write(rec)
	}
	if len(rec.Data) < 200 {
		k.all.Write(rec.Data)
	}
}

func (k *tapped) saw(text string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Contains(k.all.Bytes(), []byte(text))
}

// trace reads what the tap gave, with the tap's own account of itself.
func (k *tapped) trace(t *testing.T, device netip.Addr) *trace.Trace {
	k.mu.Lock()
	defer k.mu.Unlock()
	require.NoError(t, k.err)
	require.NoError(t, k.out.Flush())
	c, err := trace.Read(bytes.NewReader(k.buf.Bytes()), k.Name(), trace.Options{
		Devices: []netip.Prefix{netip.PrefixFrom(device, 32)}, KeepFlows: true, KeepPackets: true})
	require.NoError(t, err)
	stats := k.Stats()
	require.Equal(t, c.Frames, stats.Received)
	return &trace.Trace{Account: trace.Wire, DeviceAddrs: []netip.Addr{device}, Capture: c, Evidence: trace.Evidence{Taps: []trace.TapEvidence{{
		Name: k.Name(), ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true,
		Received: stats.Received, Dropped: stats.Dropped, Truncated: stats.Truncated}}}}
}

// reading is what tshark reads of a TCP conversation.
type reading struct {
	packets, payload flow.Both[uint64]
	syn, fin, rst    flow.Both[int]
	rstBeforeFINs    bool
}

// close says how the conversation ended, by tshark's flags alone.
func (r *reading) close() flow.Close {
	reset := r.rst[flow.Up]+r.rst[flow.Down] > 0
	switch {
	case reset && r.rstBeforeFINs:
		return flow.ResetBefore
	case reset:
		return flow.ResetAfterClose
	case r.fin[flow.Up] > 0 && r.fin[flow.Down] > 0:
		return flow.Clean
	case r.fin[flow.Up] > 0 || r.fin[flow.Down] > 0:
		return flow.HalfClosed
	}
	return flow.Open
}

// tshark reads the conversations of a capture: of each frame the innermost headers.
func tshark(t *testing.T, file string) map[netip.AddrPort]*reading {
	out := lab.Run(t, "tshark", "-r", file, "-n", "-Y", "tcp", "-T", "fields", "-E", "occurrence=l", "-E", "separator=,",
		"-e", "ip.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "tcp.dstport", "-e", "tcp.len", "-e", "tcp.flags")
	all := map[netip.AddrPort]*reading{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) != 6 {
			require.Contains(t, line, "Running as user", "what else may be there") // on its standard error
			continue
		}
		dir, device := flow.Up, netip.MustParseAddrPort(f[0]+":"+f[1])
		if device.Addr() != lab.Device {
			dir, device = flow.Down, netip.MustParseAddrPort(f[2]+":"+f[3])
		}
		r := all[device]
		if r == nil {
			r = &reading{}
			all[device] = r
		}
		length, err := strconv.ParseUint(f[4], 10, 32)
		require.NoError(t, err)
		bits, err := strconv.ParseUint(f[5], 0, 16)
		require.NoError(t, err)
		flags := packet.Flags(bits)
		r.packets[dir]++
		r.payload[dir] += length
		if flags&packet.SYN != 0 {
			r.syn[dir]++
		}
		if flags&packet.RST != 0 {
			r.rst[dir]++
			r.rstBeforeFINs = r.rstBeforeFINs || r.fin[flow.Up] == 0 || r.fin[flow.Down] == 0
		}
		if flags&packet.FIN != 0 {
			r.fin[dir]++
		}
	}
	return all
}

// compare holds our reading of each conversation against tshark's.
func compare(t *testing.T, want map[netip.AddrPort]*reading, tr *trace.Trace) {
	seen := 0
	for _, f := range tr.Capture.Flows {
		if f.Kind != packet.TCP {
			continue
		}
		seen++
		r := want[f.Device]
		require.NotNil(t, r, "%s is no conversation of tshark's", f.Device)
		for _, d := range []flow.Direction{flow.Up, flow.Down} {
			what := fmt.Sprintf("%s to %s, %s", f.Device, f.Peer, d)
			side := f.Sides[d]
			require.Equal(t, r.packets[d], side.Tally.Packets, what)
			require.Equal(t, r.payload[d], side.Payload, what)
			require.Equal(t, []int{r.syn[d], r.fin[d], r.rst[d]}, []int{side.SYN, side.FIN, side.RST}, what)
			require.Zero(t, side.Missing, what)
			require.Zero(t, side.Duplicates, what)
		}
		require.Equal(t, r.close(), f.Close, "%s to %s", f.Device, f.Peer)
	}
	require.Equal(t, len(want), seen)
	require.Zero(t, tr.Capture.Undecodable)
}

// judge holds the verdicts about each conversation to be those that tshark's reading supports. Where the machine was too
// busy for its own network, and lost packets on their way to the taps, it may be that no verdict is given.
func judge(t *testing.T, want map[netip.AddrPort]*reading, tr *trace.Trace, lost uint64) {
	if lost == 0 {
		tr.Evidence.Mirror = &trace.MirrorEvidence{Whole: "every link that the mirror passes counts its losses, and counted none"}
	}
	complete := tr.Completeness(trace.Scope{})
	if lost == 0 {
		require.Equal(t, trace.Whole, complete.State, "%v", complete.Reasons)
	}
	for device, r := range want {
		one := *tr
		c := *tr.Capture
		one.Capture = &c
		c.Flows, c.Devices = nil, nil
		for _, f := range tr.Capture.Flows {
			if f.Device == device {
				c.Flows = append(c.Flows, f)
			}
		}
		for _, d := range tr.Capture.Devices {
			d.Flows = []int{c.Flows[0].ID}
			c.Devices = append(c.Devices, d)
		}
		set, err := expectations.Parse("x.yaml", 1, []byte("expect:\n  - teardown: clean\n  - resets: none\n"))
		require.NoError(t, err)
		got := set.Judge(&one, expectations.Options{Strict: true})
		require.Len(t, got, 2)
		for i, supported := range []bool{r.close() == flow.Clean, r.rst[flow.Up]+r.rst[flow.Down] == 0} {
			want := map[bool]verdict.Verdict{true: verdict.Pass, false: verdict.Fail}[supported]
			if complete.State != trace.Whole && got[i].Verdict == verdict.Inconclusive {
				continue
			}
			require.Equal(t, want, got[i].Verdict, "%s: %+v; %v", device, got[i], complete.Reasons)
		}
	}
}

// named: what the mirror's network did to packets is told.
func named(t *testing.T, tr *trace.Trace, joined, fragments bool) {
	var marks flow.Mark
	var tally flow.Tally
	longest := uint32(0)
	for _, f := range tr.Capture.Flows {
		for _, p := range f.Packets {
			marks |= p.Mark
			longest = max(longest, p.Wire)
		}
		for _, side := range f.Sides {
			tally.Add(side.Tally)
		}
	}
	require.Equal(t, joined, marks&flow.Joined != 0)
	require.Equal(t, joined, tally.AirPackets > tally.Packets)
	require.Equal(t, joined, longest > 30_000, "the longest frame has %d bytes", longest)
	require.Equal(t, fragments, tr.Capture.Frames > tr.Capture.Total.Tally[flow.Up].Packets+tr.Capture.Total.Tally[flow.Down].Packets+tr.Capture.Foreign)
	t.Logf("%d frames, %d packets, of the air %d, the longest %d bytes", tr.Capture.Frames, tally.Packets, tally.AirPackets, longest)
}
