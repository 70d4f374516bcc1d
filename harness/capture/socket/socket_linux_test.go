package socket

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// onOneProcessor keeps the caller on one processor until what it gives is called.
func onOneProcessor(t testing.TB) func() {
	t.Helper()
	runtime.LockOSThread()
	var was, one unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &was))
	for i := range len(was) * 64 {
		if was.IsSet(i) {
			one.Set(i)
			break
		}
	}
	require.NoError(t, unix.SchedSetaffinity(0, &one))
	return func() {
		require.NoError(t, unix.SchedSetaffinity(0, &was))
		runtime.UnlockOSThread()
	}
}

// kill ends a tap's socket behind its back.
func kill(t testing.TB, tap *Tap) {
	if p, is := tap.rx.(*plain); is {
		require.NoError(t, p.conn.Close())
		return
	}
	require.NoError(t, tap.rx.(*batcher).conn.Close())
}

// TestSocketThatFails: an error of the kernel's ends the tap, and Flush tells it.
func TestSocketThatFails(t *testing.T) {
	tap, err := NewVXLAN(Options{Name: "t", Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	begin(t, tap, func(pcap.Record) {})
	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	require.NoError(t, tap.rx.(*batcher).raw.Control(func(fd uintptr) {
		require.NoError(t, unix.Dup3(pipe[0], int(fd), unix.O_CLOEXEC)) // no socket any more
	}))
	require.NoError(t, unix.Close(pipe[0]))
	require.NoError(t, unix.Close(pipe[1]))
	want := fmt.Sprintf("tap t: receive on %s: recvmmsg: socket operation on non-socket", tap.Listening())
	require.EqualError(t, tap.Flush(limited(t)), "flush: "+want)
	require.EqualError(t, tap.Err(), want)
	require.ErrorContains(t, tap.Flush(limited(t)), want, "and again")
}

// TestLossesHaveTheirPlace: the record after a loss tells how many were lost before it, and Stats tells of losses that no
// record followed.
func TestLossesHaveTheirPlace(t *testing.T) {
	tap, err := NewVXLAN(Options{Listen: "127.0.0.1:0", IDs: []uint32{1}, Buffer: 16 << 10})
	require.NoError(t, err)
	inside, leave := make(chan bool), make(chan bool)
	var lost []uint64
	begin(t, tap, func(r pcap.Record) {
		if lost = append(lost, r.Drops); len(lost) == 1 {
			inside <- true
			<-leave
		}
	})
	f := newFar(t, tap.Listening())
	one := inVXLAN(1, beginText)
	f.send(t, one)
	<-inside
	var many [][]byte
	for range 500 {
		many = append(many, one)
	}
	f.send(t, many...)
	before := tap.Stats().Dropped
	require.Positive(t, before, "no record has told of it yet")
	leave <- true
	require.NoError(t, tap.Flush(limited(t)))
	f.send(t, inVXLAN(2, beginText), one) // what is not wanted takes no place from what is
	require.NoError(t, tap.Flush(limited(t)))
	require.EqualValues(t, 502, tap.Stats().Received+tap.Stats().Dropped)
	require.Equal(t, before, tap.Stats().Dropped)
	require.Equal(t, before, lost[len(lost)-1], "all of it between the last two")
	require.Zero(t, lost[0])
}
