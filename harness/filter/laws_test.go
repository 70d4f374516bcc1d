package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// The addresses, ports and networks that frames and filters are drawn from: few, so that they meet.
var (
	addrs4 = []string{"10.0.0.1", "10.0.0.200", "10.200.0.1", "192.0.2.1"}
	addrs6 = []string{"fd00::1", "fd00::8000:0:0:1", "fd00:0:0:1::1", "2001:db8::1"}
	ports  = []uint16{PortVXLAN, PortGENEVE, 8472, 53, 4790}
	vnis   = []uint32{0, 42, 0xffffff}
)

// frame is a drawn frame with what is special about it.
type frame struct {
	framing Framing
	data    []byte
	tags    int
	options bool // IPv6 with headers that are no fragment's
	whole   bool
}

func drawFrame(t *rapid.T) frame {
	f := frame{framing: rapid.SampledFrom([]Framing{Ethernet, RawIP}).Draw(t, "framing"), whole: true}
	var head []byte
	four, other := rapid.Bool().Draw(t, "ipv4"), rapid.IntRange(0, 9).Draw(t, "other") == 0
	if f.framing == Ethernet {
		head = make([]byte, 12)
		f.tags = rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 4}).Draw(t, "tags")
		for range f.tags {
			head = binary.BigEndian.AppendUint16(head, rapid.SampledFrom(vlanTypes).Draw(t, "tag"))
			head = append(head, 0, 5)
		}
		typ := uint16(etherIPv6)
		switch {
		case other:
			typ = rapid.SampledFrom([]uint16{0x0806, 0x8847, 60, 0x0801}).Draw(t, "type")
		case four:
			typ = etherIPv4
		}
		head = binary.BigEndian.AppendUint16(head, typ)
	}
	body := drawIPv6(t, &f)
	if four {
		body = drawIPv4(t)
	}
	if other && f.framing == RawIP {
		body[0] = rapid.Byte().Draw(t, "version")
	}
	f.data = append(head, body...)
	if rapid.IntRange(0, 3).Draw(t, "short") == 0 {
		f.data, f.whole = f.data[:rapid.IntRange(0, len(f.data)-1).Draw(t, "length")], false
	}
	return f
}

func drawIPv4(t *rapid.T) []byte {
	words := rapid.SampledFrom([]int{5, 5, 5, 6, 15}).Draw(t, "header words")
	b := make([]byte, words*4)
	b[0] = 0x40 | byte(words)
	binary.BigEndian.PutUint16(b[6:], drawPlace(t, 0x1fff, 1))
	b[9] = drawProto(t, extHopByHop)
	copy(b[12:], netip.MustParseAddr(rapid.SampledFrom(addrs4).Draw(t, "source")).AsSlice())
	copy(b[16:], netip.MustParseAddr(rapid.SampledFrom(addrs4).Draw(t, "destination")).AsSlice())
	return append(b, drawTransport(t, b[9])...)
}

// drawPlace draws a fragment's field of flags and place: the place's bits and a flag that says nothing of it.
func drawPlace(t *rapid.T, place, step uint16) uint16 {
	flag := rapid.SampledFrom([]uint16{0, 1 << 13}).Draw(t, "flag")
	if place == 0xfff8 {
		flag >>= 13
	}
	return flag | rapid.SampledFrom([]uint16{0, 0, 0, step, place &^ step, place}).Draw(t, "place")
}

func drawProto(t *rapid.T, more ...byte) byte {
	return rapid.SampledFrom(append([]byte{protoGRE, protoUDP, 6, 58}, more...)).Draw(t, "protocol")
}

func drawIPv6(t *rapid.T, f *frame) []byte {
	b := make([]byte, ipv6Len)
	b[0] = 0x60
	copy(b[8:], netip.MustParseAddr(rapid.SampledFrom(addrs6).Draw(t, "source")).AsSlice())
	copy(b[24:], netip.MustParseAddr(rapid.SampledFrom(addrs6).Draw(t, "destination")).AsSlice())
	headers := rapid.SampledFrom([]int{0, 0, 1, 1, 2, 3, 4, 5}).Draw(t, "headers")
	next := 6 // where the number of the next header goes
	for range headers {
		kind := rapid.SampledFrom([]byte{extHopByHop, extRouting, extFragment, extFragment, extDestination}).Draw(t, "header")
		b[next], next = kind, len(b)
		h := make([]byte, 8)
		if kind == extFragment {
			binary.BigEndian.PutUint16(h[2:], drawPlace(t, 0xfff8, 8))
		} else {
			f.options = true
			h[1] = rapid.SampledFrom([]byte{0, 0, 1, 3}).Draw(t, "header length")
			h = append(h, make([]byte, 8*int(h[1]))...)
		}
		b = append(b, h...)
	}
	f.options = f.options || headers > 1
	b[next] = drawProto(t)
	return append(b, drawTransport(t, b[next])...)
}

func drawTransport(t *rapid.T, proto byte) []byte {
	b := make([]byte, 24)
	switch proto {
	case protoGRE:
		binary.BigEndian.PutUint16(b[2:], rapid.SampledFrom([]uint16{0x6558, 0x0800, erspanII, erspanIII}).Draw(t, "GRE protocol"))
	case protoUDP:
		binary.BigEndian.PutUint16(b, rapid.SampledFrom(ports).Draw(t, "from port"))
		binary.BigEndian.PutUint16(b[2:], rapid.SampledFrom(ports).Draw(t, "to port"))
		binary.BigEndian.PutUint32(b[12:], rapid.SampledFrom(vnis).Draw(t, "VNI")<<8|0x7f)
	}
	return b
}

func drawFilter(t *rapid.T) *Filter {
	some := func(of []string, what string, bits ...int) (out []netip.Prefix) {
		for _, a := range rapid.SliceOfN(rapid.SampledFrom(of), 0, 2).Draw(t, what) {
			out = append(out, netip.PrefixFrom(netip.MustParseAddr(a), rapid.SampledFrom(bits).Draw(t, "bits")))
		}
		return out
	}
	o := Options{Words: rapid.SliceOfNDistinct(rapid.SampledFrom(Words()), 0, 3, rapid.ID).Draw(t, "words")}
	has := func(w string) bool { return slices.Contains(o.Words, w) }
	if has(VXLAN) || has(Plain) {
		o.Ports = rapid.SliceOfN(rapid.SampledFrom([]uint16{8472, 4790}), 0, 2).Draw(t, "ports")
	}
	if (has(VXLAN) || has(GENEVE)) && !has(All) {
		o.VNIs = rapid.SliceOfN(rapid.SampledFrom(vnis), 0, 2).Draw(t, "VNIs")
	}
	if rapid.IntRange(0, 2).Draw(t, "addresses") == 0 {
		o.Sources = append(some(addrs4, "sources 4", 0, 8, 24, 25, 32), some(addrs6, "sources 6", 0, 64, 65, 128, 31)...)
		o.Destinations = append(some(addrs4, "destinations 4", 8, 32), some(addrs6, "destinations 6", 64, 128)...)
		if disjoint(o.Sources, o.Destinations) {
			o.Destinations = nil
		}
	}
	f, err := New(o)
	require.NoError(t, err)
	return f
}

// TestLawTheProgramTakesWhatTakesSays runs the BPF program in the library's virtual machine.
func TestLawTheProgramTakesWhatTakesSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t)
		vms := map[Framing]*bpf.VM{}
		for _, framing := range []Framing{Ethernet, RawIP} {
			vm, err := bpf.NewVM(f.Program(framing, 262144))
			require.NoError(t, err)
			vms[framing] = vm
		}
		for range 20 {
			in := drawFrame(t)
			if rapid.IntRange(0, 9).Draw(t, "noise") == 0 {
				in.data = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "bytes")
			}
			if in.framing == RawIP && len(in.data) == 0 {
				continue // the machine takes no empty packet
			}
			n, err := vms[in.framing].Run(in.data)
			require.NoError(t, err)
			want := 0
			if f.Takes(in.framing, in.data) {
				want = 262144
			}
			require.Equal(t, want, n, "filter %s, framing %d, frame %x", f, in.framing, in.data)
		}
	})
}

// TestLawTheExpressionTakesWhatTakesSays has tcpdump compile the expression. It may take more only where its language
// can't say it: options over IPv6.
func TestLawTheExpressionTakesWhatTakesSays(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("no tcpdump to hold the expression against: ", err)
	}
	empty := map[Framing]string{Ethernet: emptyCapture(t, pcap.LinkEthernet), RawIP: emptyCapture(t, pcap.LinkRaw)}
	frames := make([]frame, 2000)
	for i := range frames {
		frames[i] = rapid.Custom(drawFrame).Example(i)
	}
	for i := range 60 { // each is two processes
		f := rapid.Custom(drawFilter).Example(i)
		vms := map[Framing]*bpf.VM{}
		for framing, file := range empty {
			vms[framing] = compiled(t, tcpdump, file, f.Expression())
		}
		for _, in := range frames {
			if in.tags > 0 || !in.whole {
				continue
			}
			n, err := vms[in.framing].Run(in.data)
			require.NoError(t, err)
			if got, want := n > 0, f.Takes(in.framing, in.data); got != want && !(got && in.options) {
				require.Fail(t, "they differ", "filter %s, framing %d, takes %v, %q takes %v: %x", f, in.framing, want, f.Expression(), got, in.data)
			}
		}
	}
}

func emptyCapture(t *testing.T, link pcap.LinkType) string {
	t.Helper()
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
	head = binary.LittleEndian.AppendUint32(head, uint32(link))
	file := filepath.Join(t.TempDir(), "empty.pcap")
	require.NoError(t, os.WriteFile(file, head, 0o600))
	return file
}

// compiled gives the program that tcpdump makes of an expression.
func compiled(t require.TestingT, tcpdump, file, expression string) *bpf.VM {
	cmd := exec.Command(tcpdump, "-r", file, "-ddd", expression)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", expression, stderr.String())
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var code []bpf.RawInstruction
	for _, line := range lines[1:] {
		var i bpf.RawInstruction
		_, err := fmt.Sscan(line, &i.Op, &i.Jt, &i.Jf, &i.K)
		require.NoError(t, err, line)
		code = append(code, i)
	}
	program, decoded := bpf.Disassemble(code)
	require.True(t, decoded)
	vm, err := bpf.NewVM(program)
	require.NoError(t, err)
	return vm
}
