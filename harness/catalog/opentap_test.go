package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/capture/peek"
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
		b, err := OpenTap(words[0], words[1:])
		require.NoError(t, err, words)
		require.NotEmpty(t, b.Taps[0].Name())
		require.Nil(t, b.Carrier)
		require.NoError(t, b.CloseParts())
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
	b, err := BenchTap(file, "replay", nil)
	require.NoError(t, err)
	require.Equal(t, "replay", b.Taps[0].Name())
	require.NoError(t, b.CloseParts())
	_, err = BenchTap(file, "reply", nil)
	require.ErrorContains(t, err, `has no tap "reply": did you mean "replay"?`)
	for _, option := range []string{"path=y", "sim=440103123456789", "sim="} {
		_, err = BenchTap(file, "replay", []string{option})
		require.ErrorContains(t, err, "leave "+option+" out, or --bench")
	}
	_, err = BenchTap(filepath.Join(t.TempDir(), "none.yaml"), "replay", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// signedIn gives a profile to sign in with: no call is made.
func signedIn(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "default.json"), []byte(`{"authKeyId": "k", "authKey": "s"}`), 0o600))
	t.Setenv("SORACOM_PROFILE_DIR", dir)
	t.Setenv("SORACOM_ENDPOINT", "http://127.0.0.1:1")
}

// A tap in the carrier's network has the carrier of a SIM: of the one that it names, or of a device of its bench.
func TestTapWithACarrier(t *testing.T) {
	signedIn(t)
	b, err := OpenTap("peek", []string{"sim=440103123456789", "limit=4h", "keep=true"})
	require.NoError(t, err)
	require.NotNil(t, b.Carrier)
	require.Equal(t, 4*time.Hour, b.Taps[0].(*peek.Tap).Lasts())
	require.NoError(t, b.CloseParts())

	for want, words := range map[string][]string{
		`tap peek: a tap needs "sim"`:                                        {"limit=4h"},
		`tap peek: limit: a packet capture session lasts from 30s to 24h`:    {"sim=440103123456789", "limit=1s"},
		`tap peek: unknown key "sin" in a tap: did you mean "sim"?`:          {"sin=440103123456789"},
		`open tap peek: use SIM "wio-1": neither an IMSI`:                    {"sim=wio-1"},
		`open tap peek: read profile nobody: no file `:                       {"sim=440103123456789", "profile=nobody"},
		`open tap peek: use endpoint http://example.com: credentials go ove`: {"sim=440103123456789", "endpoint=http://example.com"},
	} {
		_, err := OpenTap("peek", words)
		require.ErrorContains(t, err, want)
	}

	one := withCarrier + "  session: {driver: peek, limit: 3h}\n"
	two := strings.Replace(one, "taps:", "  e: {driver: wio-lte, port: {path: /dev/y}, carrier: soracom, imsi: \"440103123456780\"}\ntaps:", 1)
	for _, c := range []struct {
		bench   string
		options []string
		want    string // "" where it opens
	}{
		{one, nil, ""},
		{one, []string{"sim=d"}, ""},
		{one, []string{"sim=440103123456789"}, ""},
		{two, []string{"sim=e"}, ""},
		{two, nil, "tap session captures the packets of one SIM, and bench desk has several: say which with sim=d or sim=e"},
		{two, []string{"sim=f"}, `bench desk has no device "f" with a carrier: `},
		{two, []string{"limit=4h"}, "tap session is described in "},
		{two, []string{"sim=d", "sim=e"}, "tap session is described in "},
	} {
		file := filepath.Join(t.TempDir(), "b.yaml")
		require.NoError(t, os.WriteFile(file, []byte(c.bench), 0o644))
		b, err := BenchTap(file, "session", c.options)
		if c.want != "" {
			require.ErrorContains(t, err, c.want)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "session", b.Taps[0].Name())
		require.Equal(t, 3*time.Hour, b.Taps[0].(*peek.Tap).Lasts())
		require.NoError(t, b.CloseParts())
	}
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
