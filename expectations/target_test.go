package expectations

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		text, addr string
		port       uint16
		names      []string
		want       bool
	}{
		{"beam.soracom.io", "1.2.3.4", 80, []string{"Beam.SORACOM.io."}, true},
		{"beam.soracom.io:8888", "1.2.3.4", 80, []string{"beam.soracom.io"}, false},
		{"beam.soracom.io:8888", "1.2.3.4", 8888, []string{"x", "beam.soracom.io"}, true},
		{"beam.soracom.io", "1.2.3.4", 80, nil, false},
		{".soracom.io", "1.2.3.4", 80, []string{"beam.soracom.io"}, true},
		{"*.soracom.io", "1.2.3.4", 80, []string{"beam.soracom.io"}, true},
		{".soracom.io", "1.2.3.4", 80, []string{"soracom.io"}, false},
		{".soracom.io", "1.2.3.4", 80, []string{"notsoracom.io"}, false},
		{"100.127.0.0/16", "100.127.69.42", 1, nil, true},
		{"100.127.0.0/16:53", "100.127.69.42", 54, nil, false},
		{"100.127.69.42", "100.127.69.42", 1, nil, true},
		{"100.127.69.42:23080", "100.127.69.42", 23080, nil, true},
		{"100.127.69.42:23080", "100.127.69.43", 23080, nil, false},
		{":123", "9.9.9.9", 123, nil, true},
		{"[2001:db8::1]:443", "2001:db8::1", 443, nil, true},
		{"2001:db8::1", "2001:db8::1", 443, nil, true},
		{"2001:db8::/32", "2001:db8:1::1", 443, nil, true},
		{"2001:db8::/32", "2001:db9::1", 443, nil, false},
	} {
		target, err := parseTarget(c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, target.holds(netip.MustParseAddr(c.addr), c.port, c.names), "%s holds %s:%d %v", c.text, c.addr, c.port, c.names)
	}
	for _, text := range []string{"", "a b", ":0", ":x", "host:", "host:65536", "300.1.2.3", "-a.example", "a..b", "1.2.3.4/33", "https://x"} {
		_, err := parseTarget(text)
		require.Error(t, err, text)
	}
}
