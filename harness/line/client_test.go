//go:build linux || darwin

package line

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wall is this machine's clock as a bench's.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func (wall) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, context.DeadlineExceeded)
}

// far is the far end of a pseudo terminal: a board played by the test.
type far struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	in     *bufio.Reader
	once   sync.Once
}

func newFar(t *testing.T) *far {
	t.Helper()
	blocking, slave, err := pty.Open()
	require.NoError(t, err)
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(fd, true))
	require.NoError(t, blocking.Close())
	master := os.NewFile(uintptr(fd), "master")
	f := &far{t: t, master: master, slave: slave, in: bufio.NewReader(master)}
	t.Cleanup(f.unplug)
	return f
}

// unplug takes the port away.
func (f *far) unplug() {
	f.once.Do(func() {
		_ = f.master.Close()
		_ = f.slave.Close()
	})
}

func (f *far) says(text string) {
	_, err := f.master.WriteString(text)
	require.NoError(f.t, err)
}

func (f *far) hears() string {
	text, err := f.in.ReadString('\n')
	require.NoError(f.t, err)
	return strings.TrimRight(text, "\r\n")
}

// sink keeps lines.
type sink struct {
	mu    sync.Mutex
	lines []string
	came  chan struct{}
}

func newSink() *sink { return &sink{came: make(chan struct{}, 1000)} }

func (s *sink) add(l Line) {
	s.mu.Lock()
	s.lines = append(s.lines, l.Text)
	s.mu.Unlock()
	s.came <- struct{}{}
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// dial opens a client on a far end that is in raw mode by then.
func dial(t *testing.T) (*far, *Client, *sink) {
	t.Helper()
	f, s := newFar(t), newSink()
	c, err := Dial(f.slave.Name(), wall{}, s.add)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return f, c, s
}

func TestClientDo(t *testing.T) {
	f, c, s := dial(t)
	go func() {
		if f.hears() == `#0 hello` {
			f.says("noise\xff#0 OK \"wio-lte stock\"\r\n")
		}
		if f.hears() == `#1 udp h:1 "a b"` {
			f.says("#1 > udp\r\nConnected.\r\n#9 OK \"somebody else's\"\r\n#1 O")
			f.says("K \"201 two\"\r\n")
		}
		if f.hears() == `#2 udp` {
			f.says("#2 > udp\n### RECEIVE TIMEOUT! ###\n#2 ERROR no reply within 5s\n")
		}
		if f.hears() == `#3 udp` {
			f.says("#3 OK\n") // an answer without an acknowledgement will do
		}
	}()
	model, err := c.Hello(t.Context())
	require.NoError(t, err)
	require.Equal(t, "wio-lte stock", model)
	answer, err := c.Do(t.Context(), "udp", "h:1", "a b")
	require.NoError(t, err)
	require.Equal(t, "201 two", answer)
	_, err = c.Do(t.Context(), "udp")
	var failed *FailedError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "no reply within 5s", failed.Reason)
	answer, err = c.Do(t.Context(), "udp")
	require.NoError(t, err)
	require.Empty(t, answer)
	require.Contains(t, s.all(), "Connected.")
	require.Contains(t, s.all(), "### RECEIVE TIMEOUT! ###")
	require.Contains(t, s.all(), "#1 > udp", "replies are lines of the console too")
}

func TestClientSilentBoard(t *testing.T) {
	f, c, s := dial(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		f.hears()
		f.says("#1 > tcp\r\nstill working\r\n")
		<-s.came
		<-s.came // the acknowledgement was delivered before the line after it
		cancel(context.DeadlineExceeded)
	}()
	_, err := c.Do(ctx, "tcp")
	var silent *SilentError
	require.ErrorAs(t, err, &silent)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Contains(t, err.Error(), "tcp: accepted, but no answer")
}

// watched is a clock that tells when it is looked at.
type watched struct {
	wall
	look func()
}

func (w *watched) Now() time.Time {
	w.look()
	return w.wall.Now()
}

// TestClientAtTheLastMoment: a board whose answer lies on the port when the time is over has answered, though this machine
// was held up and had not read it.
func TestClientAtTheLastMoment(t *testing.T) {
	f := newFar(t)
	held, goOn := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	var once sync.Once
	clock := &watched{look: func() {
		if ctx.Err() != nil { // that the time is over has been noticed
			once.Do(func() { close(goOn) })
		}
	}}
	c, err := Dial(f.slave.Name(), clock, func(l Line) {
		if l.Text == "held up" {
			close(held)
			<-goOn
		}
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	go func() {
		id, _, _ := strings.Cut(f.hears(), " ")
		f.says(id + " > tcp\nheld up\n")
		<-held
		f.says(id + " OK done\n")
		cancel(context.DeadlineExceeded)
	}()
	answer, err := c.Do(ctx, "tcp")
	require.NoError(t, err)
	require.Equal(t, "done", answer)
}

func TestClientIsInterrupted(t *testing.T) {
	_, c, _ := dial(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	_, err := c.Do(ctx, "tcp")
	require.ErrorContains(t, err, "interrupted")
	var silent *SilentError
	require.NotErrorAs(t, err, &silent, "a command that was not accepted is not the device's fault")
}

// hasty is a clock on which every wait is over soon, so that a command is sent again at once.
type hasty struct{ wall }

func (hasty) WithTimeout(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 20*time.Millisecond, context.DeadlineExceeded)
}

// restless is a clock on which a busy board is hardly left alone.
type restless struct{ wall }

func (restless) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == busyPause {
		d = time.Millisecond
	}
	return wall{}.WithTimeout(ctx, d)
}

// A board that still does what an interrupted caller asked for is told again, until it is free or the time is over.
func TestClientOfABusyBoard(t *testing.T) {
	f := newFar(t)
	s := newSink()
	c, err := Dial(f.slave.Name(), restless{}, s.add)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for n, id := 0, ""; n < 3; n++ {
			for last := id; id == last; { // what is told again because this test is slow is answered once
				id, _, _ = strings.Cut(f.hears(), " ")
			}
			f.says(id + []string{" ERROR busy\n", " ERROR busy\n", " OK \"done\"\n"}[n])
		}
		f.hears()
		cancel(errors.New("time is over"))
		f.says("#4 ERROR busy\n#5 ERROR busy\n")
	}()
	answer, err := c.Do(ctx, "deactivate")
	require.NoError(t, err)
	require.Equal(t, "done", answer)
	_, err = c.Do(ctx, "deactivate")
	require.ErrorContains(t, err, "time is over")
	var failed *FailedError
	require.NotErrorAs(t, err, &failed, "that a board is busy is no failure of the device's")
}

func TestClientTellsABoardAgain(t *testing.T) {
	f := newFar(t)
	c, err := Dial(f.slave.Name(), hasty{}, func(Line) {})
	require.NoError(t, err)
	defer c.Close()
	go func() {
		first := f.hears()
		if again := f.hears(); again == first {
			f.says("#1 OK heard\r\n")
		}
	}()
	answer, err := c.Do(t.Context(), "status")
	require.NoError(t, err)
	require.Equal(t, "heard", answer)
}

func TestClientWithoutABoard(t *testing.T) {
	f := newFar(t)
	c, err := Dial(f.slave.Name(), hasty{}, func(Line) {})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Do(t.Context(), "status")
	require.ErrorContains(t, err, "acknowledged the command, sent 4 times")
	require.ErrorContains(t, err, "speaks the line protocol?")
}

func TestPortVanishes(t *testing.T) {
	f, c, s := dial(t)
	f.says("a line\r\nhalf a line") // one write, so whoever has the first has the other: the system forgets what was not read
	<-s.came
	go func() {
		f.hears()
		f.unplug()
	}()
	_, err := c.Do(t.Context(), "http_get")
	require.ErrorContains(t, err, f.slave.Name()+": the port is gone")
	require.ErrorContains(t, err, "under another name")
	<-c.Gone()
	require.Error(t, c.Err())
	require.Equal(t, []string{"a line", "half a line"}, s.all(), "what was begun is not lost")
	require.Error(t, c.WriteLine(t.Context(), "x"))
}

func TestPortKeepsWhatWasPrintedBeforeItWasOpened(t *testing.T) {
	f, s := newFar(t), newSink()
	raw(t, f.slave)
	f.says("### I/O Initialize.\r\n")
	p, err := Open(f.slave.Name(), wall{}, s.add)
	require.NoError(t, err)
	<-s.came
	require.Equal(t, []string{"### I/O Initialize."}, s.all())
	require.Equal(t, f.slave.Name(), p.Path())
	require.NoError(t, p.Err())
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Err(), ErrClosed)
	require.ErrorIs(t, p.WriteLine(t.Context(), "x"), ErrClosed)
}

func raw(t *testing.T, slave *os.File) {
	t.Helper()
	p, err := Open(slave.Name(), wall{}, func(Line) {}) // the library makes it raw, and leaves it so
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

// A write that nobody takes ends with its context or with Close, and leaves no goroutine behind.
func TestPortWriteThatNobodyReads(t *testing.T) {
	flood := strings.Repeat("x", 1<<20)
	t.Run("context", func(t *testing.T) {
		_, c, _ := dial(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("enough")) })
		require.ErrorContains(t, c.WriteLine(ctx, flood), "enough")
	})
	t.Run("close", func(t *testing.T) {
		_, c, _ := dial(t)
		time.AfterFunc(50*time.Millisecond, func() { _ = c.Close() })
		require.ErrorIs(t, c.WriteLine(t.Context(), flood), ErrClosed)
	})
	t.Run("its own deadline", func(t *testing.T) {
		_, c, _ := dial(t)
		require.ErrorContains(t, c.WriteLine(t.Context(), flood), "is the board's program running and reading?")
	})
}

func TestOpenErrors(t *testing.T) {
	_, err := Open("/dev/tollgate-none", wall{}, func(Line) {})
	require.ErrorContains(t, err, "open /dev/tollgate-none: there is no such port; is the board plugged in")
	_, err = Open(os.DevNull, wall{}, func(Line) {})
	require.ErrorContains(t, err, "open "+os.DevNull)
}
