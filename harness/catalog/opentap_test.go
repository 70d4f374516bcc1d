package catalog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Options on a command line are those of a bench file, lists too.
func TestOpenTap(t *testing.T) {
	for _, words := range [][]string{
		{"file", "path=a,b.pcap", "pace=own"},
		{"pipe", "command=tail -f x"},
		{"pipe", "path=-"},
		{"vxlan", "listen=127.0.0.1:4790", "vni=7,8", "from=10.0.0.0/8"},
		{"vxlan", "vni=7"},
		{"gre", "key=0x1f"},
	} {
		tap, err := OpenTap(words[0], words[1:])
		require.NoError(t, err, words)
		require.NotEmpty(t, tap.Name())
		require.NoError(t, tap.Close())
	}
	for want, words := range map[string][]string{
		`tap vxlam: tap "vxlam": no driver "vxlam": did you mean "vxlan"?`:              {"vxlam"},
		`tap vxlan: "listen": write KEY=VALUE; known: buffer, from, listen, vni`:        {"vxlan", "listen"},
		`tap vxlan: unknown key "vnis" in a tap: did you mean "vni"?`:                   {"vxlan", "vnis=7"},
		`tap vxlan: vni[1]: "" is not a whole number from 0 to 16777215`:                {"vxlan", "vni=7,"},
		`tap vxlan: vni is given twice`:                                                 {"vxlan", "vni=7", "vni=8"},
		`tap pipe: a tap with driver pipe needs exactly one of path, command and stdin`: {"pipe", "command=a", "stdin=true"},
		`tap file: a tap needs "path"`:                                                  {"file"},
		`tap: which driver? `:                                                           nil,
	} {
		driver := ""
		if len(words) > 0 {
			driver, words = words[0], words[1:]
		}
		_, err := OpenTap(driver, words)
		require.ErrorAs(t, err, new(scenario.Errors), want)
		require.ErrorContains(t, err, want)
	}
}

func TestBenchTap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.yaml")
	require.NoError(t, os.WriteFile(file, []byte(devicesOnly+"  replay: {driver: file, path: x.pcap}\n"), 0o644))
	tap, err := BenchTap(file, "replay")
	require.NoError(t, err)
	require.Equal(t, "replay", tap.Name())
	_, err = BenchTap(file, "reply")
	require.ErrorContains(t, err, `has no tap "reply": did you mean "replay"?`)
	_, err = BenchTap(filepath.Join(t.TempDir(), "none.yaml"), "replay")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Every driver's options are told with what they are.
func TestTapHelp(t *testing.T) {
	help := TapHelp()
	for driver := range taps {
		require.Contains(t, help, "\n  "+driver+"\n")
		require.NotEmpty(t, tapProperties(driver), driver)
	}
	require.Contains(t, help, "    listen       Where the mirror sends to")
	require.NotContains(t, help, "<nil>")
}
