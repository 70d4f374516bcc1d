package hub

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// Runs come, follow, and go while packets pass: each gets all of its own, and nobody else's.
func TestManyRunsJoinAndLeave(t *testing.T) {
	h, m := newHub(Options{})
	anchor := start(t, h)
	const runs, rounds = 16, 20
	stop, pushing := make(chan struct{}), make(chan struct{})
	noise := datagrams("10.9.9.9", server, "noise")
	go func() {
		defer close(pushing)
		for {
			select {
			case <-stop:
				return
			default:
				m.push(noise...)
			}
		}
	}()
	var group sync.WaitGroup
	failures := make(chan string, runs*rounds)
	for i := range runs {
		own := fmt.Sprintf("10.1.0.%d", i)
		group.Go(func() {
			for round := range rounds {
				r := &run{Tap: h.Tap(own)}
				if err := r.Start(context.Background(), r.take); err != nil {
					failures <- err.Error()
					return
				}
				var want []string
				for k := range 3 {
					text := fmt.Sprintf("%s %d %d", own, round, k)
					want = append(want, text)
					m.push(datagrams(own, server, text)...)
					if k == 1 {
						r.Follow(addr(own))
					}
					r.Stats()
				}
				if err := r.Close(); err != nil {
					failures <- err.Error()
				}
				m.push(datagrams(own, server, "after the close")...)
				if got := r.texts(); fmt.Sprint(got) != fmt.Sprint(want) {
					failures <- fmt.Sprintf("%s got %q, want %q", own, got, want)
				}
			}
		})
	}
	group.Wait()
	close(stop)
	<-pushing
	close(failures)
	for f := range failures {
		t.Error(f)
	}
	require.Equal(t, newOwners(), h.owners)
	require.NoError(t, anchor.Close())
	require.Equal(t, 1, m.closes)
}

// BenchmarkPacket shows that what a packet costs does not grow with the devices: with ten thousand of them it costs what it
// costs with one, and, where they talk in turn, what it takes to fetch what is known of each from memory. The frame lies where
// it lay before, as it does in a tap's buffer: only its device is another one.
func BenchmarkPacket(b *testing.B) {
	const inner = 38 + 14 // what is around the device's packet
	for _, c := range []struct{ devices, talking int }{{1, 1}, {10_000, 1}, {10_000, 10_000}} {
		devices := c.devices
		b.Run(fmt.Sprintf("%d devices, %d talking", c.devices, c.talking), func(b *testing.B) {
			h, m := newHub(Options{})
			given := 0
			addrs := make([][4]byte, devices)
			for i := range addrs {
				addrs[i] = [4]byte{10, 1 + byte(i>>16), byte(i >> 8), byte(i)}
				tap := h.Tap("run")
				tap.Follow(netip.AddrFrom4(addrs[i]))
				require.NoError(b, tap.Start(b.Context(), func(pcap.Record) { given++ }))
			}
			data := datagrams(deviceA, server, "payload")[0].Data
			rec := pcap.Record{Link: pcap.LinkEthernet, Data: data, Length: len(data)}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				copy(data[inner+12:], addrs[n%c.talking][:])
				m.sink(rec)
				n++
			}
			require.Equal(b, n, given)
			require.NoError(b, h.Close())
		})
	}
}
