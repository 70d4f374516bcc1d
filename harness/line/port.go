package line

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.bug.st/serial"
)

// Clock is the time of a bench, as far as the line needs it.
type Clock interface {
	Now() time.Time
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

const (
	// pollEvery is how long a read waits at most, on the wall's clock: the reader looks so often whether it is to end.
	// The library's Close gives the file descriptor back before it wakes a reader, so none may be waiting then.
	pollEvery = 50 * time.Millisecond
	// writeWithin is how long the machine may take to write a line's piece, on the wall's clock: at 9600 baud a piece
	// takes less than a tenth of it.
	writeWithin = 3 * time.Second
	writePiece  = 256
	baudRate    = 115200 // means nothing to a USB or pseudo port
)

// ErrClosed is what the methods of a closed port return.
var ErrClosed = errors.New("the port is closed")

// Port is an open serial port that is read all the time. Lines go to the sink given to Open, one after the other.
type Port struct {
	path   string
	port   serial.Port
	clock  Clock
	lines  splitter
	closed chan struct{} // Close was called
	gone   chan struct{} // the reader ended
	err    error         // why, readable after gone

	round   sync.Mutex
	reading chan struct{} // closed, and another made, when a read begins

	closeOnce sync.Once
	closeErr  error
	writing   sync.Mutex
}

// Open opens a serial port and reads it until Close. The sink gets every line in order, from one goroutine; while it
// blocks nothing is read.
func Open(path string, clock Clock, sink func(Line)) (*Port, error) {
	sp, err := serial.Open(path, mode())
	if err != nil {
		return nil, openError(path, err)
	}
	if err := sp.SetReadTimeout(pollEvery); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: set the read timeout: %w", path, err), sp.Close())
	}
	p := &Port{
		path: path, port: sp, clock: clock, lines: splitter{emit: sink},
		closed: make(chan struct{}), gone: make(chan struct{}), reading: make(chan struct{}),
	}
	go p.read()
	return p, nil
}

// mode is how ports are opened: 8 bits, no parity, one stop bit.
func mode() *serial.Mode { return &serial.Mode{BaudRate: baudRate} }

// openError says what can be done about a port that can't be opened.
func openError(path string, err error) error {
	var pe *serial.PortError
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.As(err, &pe) && pe.Code() == serial.PortNotFound:
		return fmt.Errorf("open %s: there is no such port; is the board plugged in, powered and not in DFU mode? (%w)", path, err)
	case errors.As(err, &pe) && pe.Code() == serial.PortBusy:
		return fmt.Errorf("open %s: another program has the port; close it (a serial monitor?) and try again (%w)", path, err)
	case errors.As(err, &pe) && pe.Code() == serial.PermissionDenied:
		return fmt.Errorf("open %s: not permitted; join the port's group (dialout or uucp) and sign in again (%w)", path, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

func (p *Port) read() {
	defer close(p.gone)
	buf := make([]byte, 4096)
	for {
		select {
		case <-p.closed:
			p.lines.flush(p.clock.Now())
			p.err = ErrClosed
			return
		default:
		}
		p.round.Lock()
		close(p.reading)
		p.reading = make(chan struct{})
		p.round.Unlock()
		n, err := p.port.Read(buf) // 0, nil after a time-out
		if n > 0 {
			p.lines.add(buf[:n], p.clock.Now())
		}
		if err != nil {
			p.lines.flush(p.clock.Now())
			p.err = fmt.Errorf("read %s: the port is gone: the board was reset, unplugged or lost power; "+
				"it may be back under another name (%w)", p.path, err)
			return
		}
	}
}

// settle returns when all that had come to the port before the call has been read and given to the sink, as far as lines end
// in it: the read in progress may have missed it, the one after that has not.
func (p *Port) settle() {
	for range 2 {
		p.round.Lock()
		next := p.reading
		p.round.Unlock()
		select {
		case <-next:
		case <-p.gone:
			return
		}
	}
}

// Path is the port's name.
func (p *Port) Path() string { return p.path }

// Gone is closed when nothing is read any more; Err then says why.
func (p *Port) Gone() <-chan struct{} { return p.gone }

// Err says why the port is no longer read: ErrClosed after Close, nil while it is read.
func (p *Port) Err() error {
	select {
	case <-p.gone:
		return p.err
	default:
		return nil
	}
}

// WriteLine writes a line and its end. It fails when the port does not take it in time: then nobody reads at the other
// end, and what was not sent is thrown away.
func (p *Port) WriteLine(ctx context.Context, text string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	for b := []byte(text + "\r\n"); len(b) > 0; {
		n := min(len(b), writePiece)
		if err := p.write(ctx, b[:n]); err != nil {
			return fmt.Errorf("write %s: %w", p.path, err)
		}
		b = b[n:]
	}
	return nil
}

// write writes one piece. The library's Write can block for ever and its Close does not free it, emptying the output
// buffer does: so Write has a goroutine of its own, which write waits for whatever happens.
func (p *Port) write(ctx context.Context, b []byte) error {
	select {
	case <-p.gone:
		return p.err
	case <-p.closed:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	done := make(chan error, 1)
	go func() { done <- writeAll(p.port, b) }()
	late := time.NewTimer(writeWithin)
	defer late.Stop()
	var why error
	select {
	case err := <-done:
		return p.failed(err)
	case <-late.C:
		why = fmt.Errorf("nothing took %d bytes within %s: is the board's program running and reading?", len(b), writeWithin)
	case <-ctx.Done():
		if over, err := soon(done); over { // what the board has heard was not interrupted
			return p.failed(err)
		}
		why = context.Cause(ctx)
	case <-p.closed:
		why = ErrClosed
	}
	p.unblock(done)
	return why
}

// soon gives the result of a write that ends at once, as nearly all do.
func soon(done <-chan error) (over bool, err error) {
	late := time.NewTimer(pollEvery)
	defer late.Stop()
	select {
	case err = <-done:
		return true, err
	case <-late.C:
		return false, nil
	}
}

// failed explains why a write failed. Most often the port is gone, which the reader sees as well, and says better: it is
// given the time for it, so that whoever was told knows at once that the port must be opened anew.
func (p *Port) failed(err error) error {
	if err == nil {
		return nil
	}
	late := time.NewTimer(writeWithin)
	defer late.Stop()
	select {
	case <-p.gone:
		return p.err
	case <-p.closed:
		return ErrClosed
	case <-late.C:
		return err
	}
}

// unblock empties the output buffer until the write in progress has ended. On Linux that alone wakes no writer that
// sleeps already; setting the mode, even to what it is, does. Both fail on a port that is gone, where Write fails too.
func (p *Port) unblock(done <-chan error) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		_ = p.port.ResetOutputBuffer()
		_ = p.port.SetMode(mode())
		select {
		case <-done:
			return
		case <-again.C:
		}
	}
}

func writeAll(port serial.Port, b []byte) error {
	for len(b) > 0 {
		n, err := port.Write(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close stops reading, frees a write in progress and gives the port back. It may be called twice.
func (p *Port) Close() error {
	p.closeOnce.Do(func() {
		close(p.closed)
		<-p.gone
		p.writing.Lock()
		defer p.writing.Unlock()
		p.closeErr = p.port.Close()
	})
	return p.closeErr
}
