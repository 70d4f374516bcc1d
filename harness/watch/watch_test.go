package watch

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

var begin = time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)

// seen feeds packets of a flow of a device.
func seen(b *Board, id int, device string, dir flow.Direction, packets int) {
	f := &flow.Flow{ID: id, Device: netip.MustParseAddrPort(device + ":40000"), Peer: netip.MustParseAddrPort("203.0.113.9:80"), Name: "h"}
	for range packets {
		b.Seen(f, &flow.Packet{Dir: dir, Wire: 100, Phase: flow.Request})
	}
}

func TestView(t *testing.T) {
	b := New(begin)
	seen(b, 1, "10.0.0.1", flow.Up, 4)
	seen(b, 1, "10.0.0.1", flow.Down, 2)
	seen(b, 2, "10.0.0.2", flow.Up, 20)
	seen(b, 3, "10.0.0.2", flow.Up, 2)
	seen(b, 4, "10.0.0.3", flow.Down, 1)
	v := b.View(begin.Add(2*time.Second), 2)
	require.Equal(t, 3, v.Devices)
	require.Equal(t, 4, v.Flows)
	require.Equal(t, Rate{13, 1300}, v.Up)
	require.Equal(t, Rate{1.5, 150}, v.Down)
	require.Len(t, v.Top, 2)
	require.Equal(t, Device{Address: netip.MustParseAddr("10.0.0.2"), Flows: 2, Up: Rate{11, 1100}, Peer: netip.MustParseAddrPort("203.0.113.9:80"), Name: "h", Phase: flow.Request}, v.Top[0])
	require.Equal(t, "10.0.0.1", v.Top[1].Address.String())
	require.Equal(t, 1, v.Others)
	require.Equal(t, Device{Flows: 1, Down: Rate{0.5, 50}}, v.Rest)

	v = b.View(begin.Add(3*time.Second), 9)
	require.Equal(t, 3, v.Devices, "they are shown for a while")
	require.Zero(t, v.Up)
	require.Equal(t, "10.0.0.1", v.Top[0].Address.String(), "where nothing passes they are in the order of their addresses")
}

// What is silent for a minute is let go; what talks stays.
func TestSilentAreLetGo(t *testing.T) {
	b := New(begin)
	seen(b, 1, "10.0.0.1", flow.Up, 1)
	seen(b, 2, "10.0.0.2", flow.Up, 1)
	seen(b, 3, "10.0.0.2", flow.Up, 1)
	b.View(begin.Add(time.Second), 9)
	for s := 2; s < 100; s++ {
		seen(b, 3, "10.0.0.2", flow.Up, 1)
		b.View(begin.Add(time.Duration(s)*time.Second), 9)
	}
	v := b.View(begin.Add(100*time.Second), 9)
	require.Equal(t, 1, v.Devices)
	require.Equal(t, 1, v.Flows)
	require.Equal(t, 1, v.Top[0].Flows)
}

// A flow whose device turns out to be the other end is that device's.
func TestTurnedFlow(t *testing.T) {
	b := New(begin)
	seen(b, 1, "10.0.0.1", flow.Up, 1)
	seen(b, 1, "10.0.0.2", flow.Up, 1)
	v := b.View(begin.Add(time.Second), 9)
	require.Equal(t, []int{0, 1}, []int{v.Top[0].Flows, v.Top[1].Flows})
	require.Equal(t, 1, v.Flows)
}

// However many devices and flows there are, no more than a bound is kept, and the sums are right.
func TestBounds(t *testing.T) {
	b := New(begin)
	for i := range maxDevices + 10 {
		seen(b, i, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), flow.Up, 1)
	}
	v := b.View(begin.Add(time.Second), 5)
	require.True(t, v.Bounded)
	require.Equal(t, maxDevices, v.Devices)
	require.InDelta(t, maxDevices+10, v.Up.Packets, 1e-6)

	f := &flow.Flow{Device: netip.MustParseAddrPort("10.0.0.1:1"), Messages: make([]flow.Message, maxDetail), Foreign: true}
	b.Seen(f, &flow.Packet{})
	require.Empty(t, f.Messages)
	require.Zero(t, b.View(begin.Add(2*time.Second), 5).Up, "strangers' packets are nobody's")
}
