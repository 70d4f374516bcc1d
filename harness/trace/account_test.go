package trace

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

func TestParseAccount(t *testing.T) {
	for text, want := range map[string]Account{
		"wire":                     Wire,
		"soracom":                  Soracom,
		"mno=wire+36up+4down":      {Name: "mno", PerPacketUp: 36, PerPacketDown: 4},
		"ip-only=wire-14up-14down": {Name: "ip-only", PerPacketUp: -14, PerPacketDown: -14},
		"wire+8down":               {Name: "wire+8down", PerPacketDown: 8},
		"twice=wire+10up+10up":     {Name: "twice", PerPacketUp: 20},
	} {
		got, err := ParseAccount(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "Soracom", "x=", "x=tcp+3up", "x=wire+36", "x=wire+36sideways", "soracom=wire+1up", "wire=wire+1up",
		"x=wire-15up", "x=wire-10up-10up", "a b=wire", "x=wire+99999up"} {
		_, err := ParseAccount(text)
		require.Error(t, err, text)
		require.Contains(t, err.Error(), "account")
	}
}

func TestAccountBytes(t *testing.T) {
	tally := flow.Tally{Packets: 10, Bytes: 774, AirPackets: 11, AirBytes: 828}
	require.EqualValues(t, 774+360, Soracom.Bytes(flow.Up, tally))
	require.EqualValues(t, 828+396, Soracom.AirBytes(flow.Up, tally))
	require.EqualValues(t, 774, Soracom.Bytes(flow.Down, tally))
	less := Account{Name: "ip", PerPacketUp: -14, PerPacketDown: -14}
	require.EqualValues(t, 774-140, less.Bytes(flow.Up, tally))
}
