//go:build linux || darwin

package pipe

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// writeTo opens a FIFO, writes and leaves it again.
func writeTo(t *testing.T, path string, parts ...[]byte) {
	t.Helper()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = w.Write(bytes.Join(parts, nil))
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

// onFIFO starts a tap on a FIFO that a writer has written to, and gives what it takes.
func onFIFO(t *testing.T, first ...[]byte) (tap *Tap, path string, got chan string) {
	t.Helper()
	path = mkfifo(t)
	tap, err := New(Options{Name: "t", Path: path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tap.Close()) })
	got = make(chan string, 100)
	go writeTo(t, path, first...)
	require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { got <- textOf(r.Data) }))
	return tap, path, got
}

// outage waits for an outage to have begun, or to be over.
func outage(t *testing.T, tap *Tap, n int, over bool) bench.Outage {
	t.Helper()
	require.Eventually(t, func() bool {
		all := tap.Outages()
		return len(all) >= n && all[n-1].To.IsZero() != over
	}, within, time.Millisecond)
	return tap.Outages()[n-1]
}

// TestCutRecord: what a writer that died left unfinished is not given, and is counted as dropped. Each writer begins with its
// own header, of its own kind.
func TestCutRecord(t *testing.T) {
	tap, path, got := onFIFO(t, header(), textRecord("one"), textRecord("cut")[:20])
	require.Equal(t, "one", <-got)
	require.Contains(t, outage(t, tap, 1, false).Cause, "cut in the middle of record 2")
	require.EqualValues(t, 1, tap.Stats().Dropped)
	require.ErrorContains(t, tap.Flush(limited(t)), "flush tap t: it does not capture at the moment: the stream was cut")

	var ng bytes.Buffer
	w, err := pcap.NewWriter(&ng, pcap.Section{}, pcap.Interface{Link: pcap.LinkEthernet})
	require.NoError(t, err)
	require.NoError(t, w.Write(pcap.Record{Link: pcap.LinkEthernet, Data: []byte("text two"), Length: 8}))
	require.NoError(t, w.WriteStats(0, pcap.Stats{Dropped: 5}))
	require.NoError(t, w.Flush())
	writeTo(t, path, ng.Bytes())
	require.Equal(t, "two", <-got)
	outage(t, tap, 2, false)
	require.EqualValues(t, 6, tap.Stats().Dropped)
	writeTo(t, path, header(), textRecord("three"))
	require.Equal(t, "three", <-got)
	require.EqualValues(t, 6, tap.Stats().Dropped, "what was counted before is not forgotten")
	require.EqualValues(t, 3, tap.Stats().Received)
	require.NoError(t, tap.Err())
}

// TestTwoWritersOfOneFIFO: a shell keeps the FIFO open, and its loop's second tcpdump writes on where the first one died.
func TestTwoWritersOfOneFIFO(t *testing.T) {
	now := make([]byte, 4)
	binary.LittleEndian.PutUint32(now, uint32(time.Now().Unix()))
	second := append(header(), record([]byte("text swallowed"), 14)...)
	copy(second[24:], now)
	for name, first := range map[string][]byte{
		"between records":  append(header(), textRecord("one")...),
		"inside a record":  append(append(header(), textRecord("one")...), record(bytes.Repeat([]byte("x"), 120), 120)[:60]...),
		"with its head":    append(append(header(), textRecord("one")...), record(bytes.Repeat([]byte("x"), 120), 120)[:16]...),
		"and little of it": append(append(header(), textRecord("one")...), record(bytes.Repeat([]byte("x"), 30), 30)[:25]...),
	} {
		t.Run(name, func(t *testing.T) {
			path := mkfifo(t)
			tap, err := New(Options{Name: "t", Path: path})
			require.NoError(t, err)
			defer func() { require.NoError(t, tap.Close()) }()
			got := make(chan string, 100)
			go writeTo(t, path, first, second, second, second)
			require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { got <- textOf(r.Data) }))
			require.Equal(t, "one", <-got)
			outage(t, tap, 1, false)
			require.Empty(t, got, "nothing of two records is given as one")
			// What the second one writes is lost until it begins anew; so may be what comes before the tap has begun anew.
			again, heard := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(again)
				for {
					select {
					case <-heard:
						return
					case <-time.After(time.Millisecond):
					}
					w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
					if err != nil {
						continue // nobody reads at the moment
					}
					_, _ = w.Write(append(header(), textRecord("again")...))
					_ = w.Close()
				}
			}()
			require.Equal(t, "again", <-got)
			close(heard)
			<-again
		})
	}
}

// TestCutHeader: a writer that dies in its header is not what Start waits for, whether another one comes at once or later.
func TestCutHeader(t *testing.T) {
	for _, later := range []bool{false, true} {
		path := mkfifo(t)
		tap, err := New(Options{Name: "t", Path: path})
		require.NoError(t, err)
		go func() {
			w, err := os.OpenFile(path, os.O_WRONLY, 0)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return tap.present() != nil }, within, time.Millisecond)
			first := tap.present()
			_, err = w.Write(header()[:10])
			require.NoError(t, err)
			if later {
				require.NoError(t, w.Close())
				<-first.noted
			} else {
				_, err = w.Write(append(header(), textRecord("out of step")...))
				require.NoError(t, err)
				<-first.noted
				require.NoError(t, first.close()) // who comes before it is closed is in the same stream
				require.NoError(t, w.Close())
			}
			writeTo(t, path, header(), textRecord("one"))
		}()
		got := make(chan string, 100)
		require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { got <- textOf(r.Data) }))
		require.Equal(t, "one", <-got)
		outage(t, tap, 1, false) // of the last writer's end: before, it was not capturing
		require.NoError(t, tap.Close())
		require.Error(t, tap.Flush(limited(t)))
	}
}

// TestTheWrongWriter: what is no capture at all is told at once.
func TestTheWrongWriter(t *testing.T) {
	path := mkfifo(t)
	tap, err := New(Options{Name: "t", Path: path})
	require.NoError(t, err)
	go writeTo(t, path, []byte("ssh: connect to host mirror port 22: Connection refused\n"))
	require.ErrorIs(t, tap.Start(limited(t), func(pcap.Record) {}), pcap.ErrFormat)
}

// TestStartWaitsForSoLong and no longer, whatever its context says.
func TestStartWaitsForSoLong(t *testing.T) {
	tap, err := New(Options{Name: "t", Path: mkfifo(t), Wait: time.Millisecond})
	require.NoError(t, err)
	require.ErrorContains(t, tap.Start(context.Background(), func(pcap.Record) {}), "no capture header came: waited for 1ms")
}

// TestManyOutages are told as one from some number on: the last covers what comes after it.
func TestManyOutages(t *testing.T) {
	tap, err := New(Options{Name: "t", Path: "x"})
	require.NoError(t, err)
	at := time.Unix(0, 0)
	f := &feed{meter: newMeter(nil, func() time.Time { return at })}
	for range mostOutages + 5 {
		tap.broken(f, ErrEnded)
		tap.broken(f, os.ErrNotExist)
		last := tap.Outages()[len(tap.Outages())-1]
		require.Contains(t, last.Cause, "; tried again: file does not exist")
		tap.back()
	}
	all := tap.Outages()
	require.Len(t, all, mostOutages)
	require.Equal(t, ErrEnded.Error(), all[0].Cause)
	require.False(t, all[0].To.IsZero())
	require.Contains(t, all[mostOutages-1].Cause, ErrEnded.Error())
}
