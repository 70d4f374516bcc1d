package pipe

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// asWriter, in the environment, makes this program a command that writes what it is sent over a socket at that address
// to its standard output, as ssh does.
const asWriter = "TOLLGATE_PIPE_TEST_WRITER"

func writer() int {
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGTERM)
	conn, err := net.Dial("tcp", os.Getenv(asWriter))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		<-quit
		fmt.Fprint(os.Stderr, "12 packets captured\n14 packets received by filter\n2 packets dropped by kernel\n1 packet dropped by interface\n")
		os.Exit(0)
	}()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			fmt.Fprintln(os.Stderr, "Connection to mirror-host closed by remote host.")
			return 255
		}
		if _, err := os.Stdout.Write(buf[:n]); err != nil {
			return 1
		}
		if _, err := conn.Write(buf[:n]); err != nil { // so much is in the pipe now
			return 1
		}
	}
}

// commanded is a tap whose command is this program, and the socket that it is sent the stream by.
func commanded(t *testing.T) (*Tap, func(*testing.T) *far) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	t.Setenv(asWriter, l.Addr().String())
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector has programs wait a second before they end
	tap, err := New(Options{Name: "t", Command: []string{os.Args[0]}})
	require.NoError(t, err)
	return tap, func(t *testing.T) *far {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { _ = conn.Close() })
		f := &far{Conn: conn}
		f.send(t, header())
		return f
	}
}

// far is the test's end of the socket.
type far struct {
	net.Conn
	owed int // bytes sent that the command has not said it has written
}

func (f *far) send(t *testing.T, b []byte) {
	t.Helper()
	if _, err := f.Write(b); err != nil {
		t.Error(err)
	}
	f.owed += len(b)
}

// push sends bytes to the command and waits until it has written all that it was ever sent.
func (f *far) push(t *testing.T, b []byte) {
	t.Helper()
	f.send(t, b)
	require.NoError(t, f.SetDeadline(time.Now().Add(within)))
	_, err := io.ReadFull(f, make([]byte, f.owed))
	require.NoError(t, err)
	f.owed = 0
}

// TestPromisesOfACommand: the stream comes from a command's standard output.
func TestPromisesOfACommand(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		tap, accept := commanded(t)
		conns := make(chan *far, 1)
		return benchtest.TapFixture{
			Tap: tap, Text: textOf,
			Started: func() { conns <- accept(t) },
			Send: func(t *testing.T, texts ...string) {
				conn := <-conns
				for _, text := range texts {
					conn.push(t, textRecord(text))
				}
				conns <- conn
			},
			Break: func(t *testing.T) { require.NoError(t, (<-conns).Close()) },
		}
	})
}

func TestCommandThatFails(t *testing.T) {
	tap, accept := commanded(t)
	go func() { _ = accept(t).Close() }()
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	<-tap.done
	require.ErrorContains(t, tap.Err(), "the stream ended: its writer has closed it; the command ended: exit status 255: Connection to mirror-host closed by remote host.")
	require.NoError(t, tap.Close())
}

func TestCommandThatNeverStarts(t *testing.T) {
	tap, err := New(Options{Command: []string{"/nonexistent/tcpdump", "-w", "-"}})
	require.NoError(t, err)
	require.ErrorContains(t, tap.Start(limited(t), func(pcap.Record) {}), "run /nonexistent/tcpdump: ")
	require.NoError(t, tap.Close())

	t.Setenv(asWriter, "127.0.0.1:1") // where nobody listens
	tap, err = New(Options{Name: "t", Command: []string{os.Args[0]}})
	require.NoError(t, err)
	err = tap.Start(limited(t), func(pcap.Record) {})
	require.ErrorContains(t, err, "the stream ended without a byte")
	require.ErrorContains(t, err, "the command ended: exit status 1: dial tcp 127.0.0.1:1")
}

func TestCommandTellsItsDropsAtItsEnd(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a command can't be asked to end there")
	}
	tap, accept := commanded(t)
	go accept(t)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	require.Zero(t, tap.Stats().Dropped)
	require.NoError(t, tap.Close())
	require.EqualValues(t, 3, tap.Stats().Dropped)
	require.NoError(t, tap.Err())
}

func TestCommandAndContext(t *testing.T) {
	tap, accept := commanded(t)
	ctx, cancel := context.WithCancel(context.Background())
	l := make(chan *far, 1)
	go func() {
		l <- accept(t)
	}()
	require.NoError(t, tap.Start(ctx, func(pcap.Record) {}))
	cancel()
	conn := <-l
	conn.push(t, textRecord("a"))
	require.NoError(t, tap.Flush(limited(t)), "Start's context is for starting alone")
	require.EqualValues(t, 1, tap.Stats().Received)
	require.NoError(t, tap.Close())
}
