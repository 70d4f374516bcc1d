package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

const withCarrier = `bench: desk
carriers:
  soracom: {driver: soracom}
devices:
  d: {driver: wio-lte, port: {path: /dev/x}, carrier: soracom, imsi: "440103123456789"}
taps:
`

func TestTapOfTheCarrier(t *testing.T) {
	inv, err := Inventory("b.yaml", []byte(withCarrier+"  session: {driver: peek, limit: 4h, keep: true}\n"))
	require.NoError(t, err)
	carrier, err := soracom.New(soracom.Options{SIM: "440103123456789", Credentials: soracom.Credentials{AuthKeyID: "k", AuthKey: "s"}, Endpoint: "http://127.0.0.1:1", Clock: wallClock{}})
	require.NoError(t, err)
	tap, err := taps[peekDriver].open(&inv.Taps[0], &bench.Bench{Clock: wallClock{}, Carrier: carrier})
	require.NoError(t, err)
	require.Equal(t, "session", tap.Name())
	a := Abilities(&bench.Bench{Driver: "wio-lte", Taps: []bench.Tap{tap}})
	require.True(t, a.Tap && a.Deferred)
	require.True(t, partAbilities(inv, &inv.Devices[0]).Deferred)
	require.NoError(t, tap.Close())
	require.NoError(t, carrier.Close())

	_, err = taps[peekDriver].open(&inv.Taps[0], &bench.Bench{Clock: wallClock{}})
	require.ErrorContains(t, err, "the device has no carrier: name one, with the SIM's imsi, in the bench file")
	inv, err = Inventory("b.yaml", []byte(withCarrier+"  session: {driver: peek}\n  live: {driver: gre}\n"))
	require.NoError(t, err)
	require.False(t, partAbilities(inv, &inv.Devices[0]).Deferred, "another tap is live")
}

func TestTapOfTheCarrierMistakes(t *testing.T) {
	for text, want := range map[string]string{
		withCarrier + "  s: {driver: peek, limit: 20s}\n": "b.yaml:7:28: limit: a packet capture session lasts from 30s to 24h0m0s",
		withCarrier + "  s: {driver: peek, limit: 2d}\n":  "limit: a packet capture session lasts",
		withCarrier + "  s: {driver: peek, keep: yep}\n":  "true or false",
		withCarrier + "  s: {driver: peek, vpg: x}\n":     `unknown key "vpg"`,
		withCarrier + "  s: {driver: peek, limit: 90}\n":  "b.yaml:7:28: limit: ",
		devicesOnly + "  s: {driver: peek}\n":             `b.yaml:5:15: tap "s": driver peek captures in the network of a device's carrier, and no device of the bench has a carrier`,
	} {
		_, err := Inventory("b.yaml", []byte(text))
		require.ErrorAs(t, err, new(scenario.Errors), text)
		require.ErrorContains(t, err, want, text)
	}
}
