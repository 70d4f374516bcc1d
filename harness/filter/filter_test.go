package filter

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
)

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"word":           {Options{Words: []string{"gre", "geer"}}, `"geer" is nothing to capture: give any of gre, erspan, vxlan, geneve, plain, all`},
		"ports alone":    {Options{Words: []string{GRE}, Ports: []uint16{8472}}, "vxlan is not asked for"},
		"port 0":         {Options{Words: []string{VXLAN}, Ports: []uint16{0}}, "port 0 can't be"},
		"geneve's port":  {Options{Words: []string{VXLAN}, Ports: []uint16{6081}}, "port 6081 can't be"},
		"VNIs alone":     {Options{Words: []string{GRE}, VNIs: []uint32{1}}, "VNIs choose among the networks of vxlan and geneve"},
		"VNIs of all":    {Options{VNIs: []uint32{1}}, "not asked for by those names"},
		"large VNI":      {Options{Words: []string{VXLAN}, VNIs: []uint32{1 << 24}}, "24 bits"},
		"no network":     {Options{Sources: []netip.Prefix{{}}}, "outer source invalid Prefix is no IPv4 or IPv6 network"},
		"mapped address": {Options{Destinations: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "outer destination ::ffff:10.0.0.0/104 is no"},
		"IP versions":    {Options{Sources: []netip.Prefix{netip.MustParsePrefix("::/0")}, Destinations: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "no packet has both"},
		"too many":       {Options{Words: []string{VXLAN}, VNIs: make([]uint32, 65)}, "more than 64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.o)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "all"},
		{Options{Words: []string{GRE, ERSPAN}}, "gre, erspan"},
		{Options{Words: []string{VXLAN}, Ports: []uint16{8472, 4789}, VNIs: []uint32{42, 7, 42}}, "vxlan (VXLAN ports 4789, 8472; VNI 7, 42)"},
		{Options{Words: []string{All}, Sources: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}, Destinations: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}},
			"all from 10.0.0.0/8 to 10.0.0.1/32"},
	} {
		f, err := New(c.o)
		require.NoError(t, err)
		require.Equal(t, c.want, f.String())
	}
}

// TestExpressions shows what is sent to a tcpdump elsewhere; that it means the right thing, the laws hold against tcpdump.
func TestExpressions(t *testing.T) {
	f, err := New(Options{Words: []string{All}})
	require.NoError(t, err)
	require.Empty(t, f.Expression())
	f, err = New(Options{Words: []string{All}, Sources: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("fd00::/8")}})
	require.NoError(t, err)
	require.Equal(t, "ip src net 10.1.2.3/32 or ip6 src net fd00::/8", f.Expression())
	f, err = New(Options{Words: []string{GRE}})
	require.NoError(t, err)
	require.Contains(t, f.Expression(), "ip[9] = 47 or (ip6[6] = 47 or (ip6[6] = 44 and ip6[40] = 47) or ")
}

// TestFixtures: what the mirrors of the fixtures send is taken by their words and by no others.
func TestFixtures(t *testing.T) {
	for name, c := range map[string]struct {
		mirror synth.Mirror
		taken  []string
	}{
		"plain":      {synth.Plain, []string{Plain, All}},
		"gre":        {synth.GRE, []string{GRE, All}},
		"gre with a": {synth.GRESeq, []string{GRE, All}},
		"gre of ip":  {synth.GREIP, []string{GRE, All}},
		"vxlan":      {synth.VXLAN, []string{VXLAN, All}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, word := range Words() {
				f, err := New(Options{Words: []string{word}})
				require.NoError(t, err)
				vm, err := bpf.NewVM(f.Program(Ethernet, 1<<18))
				require.NoError(t, err)
				for _, frame := range synth.Neighbours(synth.Options{Mirror: c.mirror, VNI: 42}) {
					want := slices.Contains(c.taken, word)
					require.Equal(t, want, f.Takes(Ethernet, frame.Data), "%s of %x", word, frame.Data)
					n, err := vm.Run(frame.Data)
					require.NoError(t, err)
					require.Equal(t, want, n == 1<<18, "%s of %x", word, frame.Data)
				}
			}
		})
	}
}

// TestTheLargestFilterIsAProgramTheKernelTakes: BPF_MAXINSNS of linux/bpf_common.h.
func TestTheLargestFilterIsAProgramTheKernelTakes(t *testing.T) {
	o := Options{Words: []string{ERSPAN, VXLAN, GENEVE, Plain}}
	for i := range maxList {
		o.Ports = append(o.Ports, uint16(10000+i))
		o.VNIs = append(o.VNIs, uint32(i))
		var a [16]byte
		a[0], a[15] = 0xfd, byte(i)
		o.Sources = append(o.Sources, netip.PrefixFrom(netip.AddrFrom16(a), 128))
	}
	o.Destinations = o.Sources
	f, err := New(o)
	require.NoError(t, err)
	code, err := bpf.Assemble(f.Program(Ethernet, 1))
	require.NoError(t, err)
	require.Greater(t, len(code), 256, "or long jumps are not tested here")
	require.LessOrEqual(t, len(code), 4096)
}
