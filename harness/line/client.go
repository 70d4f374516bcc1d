package line

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// acceptWithin is how long a board may take to acknowledge, on the bench's clock, before it is told again.
	acceptWithin = 4 * time.Second
	attempts     = 4
	// busyPause is how long a busy board is left alone before it is told again, on the bench's clock.
	busyPause = time.Second
)

// Busy is what a board answers while it carries out the command before: one whose caller was interrupted.
const Busy = "busy"

// Holder is a clock that can be kept from hurrying: a simulated one. While a command is on its way to the board time
// passes on this machine and not on the bench. release may be called more than once.
type Holder interface {
	Hold() (release func())
}

// FailedError is a board's ERROR to a command: the device's own failure.
type FailedError struct {
	Verb, Reason string
}

func (e *FailedError) Error() string { return e.Verb + ": " + e.Reason }

// SilentError is a board's silence after it had acknowledged a command. It wraps why the waiting ended.
type SilentError struct {
	Verb  string
	After time.Duration // on the bench's clock, since the acknowledgement
	Cause error
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("%s: accepted, but no answer within %s", e.Verb, e.After.Round(time.Millisecond))
}

func (e *SilentError) Unwrap() error { return e.Cause }

// Client speaks the protocol on a port.
type Client struct {
	port  *Port
	clock Clock

	doing   sync.Mutex // one command at a time
	mu      sync.Mutex
	next    uint32
	waiting uint32
	replies chan Reply // of the command that is waited for; nil where none is
}

// Dial opens a port for the protocol. The sink gets every line, replies too, before they are acted on.
func Dial(path string, clock Clock, sink func(Line)) (*Client, error) {
	c := &Client{clock: clock}
	port, err := Open(path, clock, func(l Line) {
		sink(l)
		if r, ok := ParseReply(l.Text); ok {
			c.deliver(r)
		}
	})
	if err != nil {
		return nil, err
	}
	c.port = port
	return c, nil
}

// deliver hands a reply to the command that waits for it. Repeats that find no room are repeats.
func (c *Client) deliver(r Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.replies == nil || c.waiting != r.ID {
		return
	}
	select {
	case c.replies <- r:
	default:
	}
}

// Hello greets the board: it forgets earlier commands and answers with its model and firmware.
func (c *Client) Hello(ctx context.Context) (string, error) {
	c.doing.Lock()
	defer c.doing.Unlock()
	return c.exchange(ctx, Command{ID: 0, Verb: "hello"})
}

// Do tells the board to do something and waits for its answer until ctx ends. A *FailedError or a *SilentError is the
// device's fault; everything else is the line's: the command was perhaps never heard. A board that is busy with a command
// that nobody waits for any more is told again until it has finished that.
func (c *Client) Do(ctx context.Context, verb string, words ...string) (string, error) {
	c.doing.Lock()
	defer c.doing.Unlock()
	for {
		c.mu.Lock()
		c.next++
		id := c.next
		c.mu.Unlock()
		answer, err := c.exchange(ctx, Command{ID: id, Verb: verb, Words: words})
		var failed *FailedError
		if !errors.As(err, &failed) || failed.Reason != Busy {
			return answer, err
		}
		pause, cancel := c.clock.WithTimeout(ctx, busyPause)
		<-pause.Done()
		cancel()
		if ctx.Err() != nil {
			return "", fmt.Errorf("%s: the board on %s was busy with the command before all the time: %w", verb, c.port.Path(), context.Cause(ctx))
		}
	}
}

// WriteLine writes a line outside the protocol.
func (c *Client) WriteLine(ctx context.Context, text string) error {
	return c.port.WriteLine(ctx, text)
}

// Gone is closed when the port is not read any more; see Err.
func (c *Client) Gone() <-chan struct{} { return c.port.Gone() }

// Err says why the port is not read any more, nil while it is.
func (c *Client) Err() error { return c.port.Err() }

// Close closes the port.
func (c *Client) Close() error { return c.port.Close() }

func (c *Client) exchange(ctx context.Context, cmd Command) (string, error) {
	replies := c.listen(cmd.ID)
	defer c.deafen()
	first, err := c.begin(ctx, cmd, replies)
	if err != nil {
		return "", err
	}
	begun := c.clock.Now()
	for r := first; ; {
		switch r.Kind {
		case OK:
			return r.Text, nil
		case Failed:
			return "", &FailedError{Verb: cmd.Verb, Reason: r.Text}
		}
		select {
		case r = <-replies:
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return "", fmt.Errorf("%s: %w", cmd.Verb, context.Cause(ctx))
			}
			after := c.clock.Now().Sub(begun)
			c.port.settle() // a board that has answered is not silent, however late this machine is to read it
			select {
			case r = <-replies:
			default:
				return "", &SilentError{Verb: cmd.Verb, After: after, Cause: context.Cause(ctx)}
			}
		case <-c.port.Gone():
			return "", fmt.Errorf("%s: %w", cmd.Verb, c.port.Err())
		}
	}
}

// begin sends a command until the board says anything to it.
func (c *Client) begin(ctx context.Context, cmd Command, replies <-chan Reply) (Reply, error) {
	release := func() {}
	if h, ok := c.clock.(Holder); ok {
		release = h.Hold()
	}
	defer release()
	for range attempts {
		if err := c.port.WriteLine(ctx, cmd.String()); err != nil {
			return Reply{}, fmt.Errorf("%s: %w", cmd.Verb, err)
		}
		wait, cancel := c.clock.WithTimeout(ctx, acceptWithin)
		select {
		case r := <-replies:
			cancel()
			return r, nil
		case <-c.port.Gone():
			cancel()
			return Reply{}, fmt.Errorf("%s: %w", cmd.Verb, c.port.Err())
		case <-wait.Done():
			cancel()
		}
		select {
		case r := <-replies: // it came in the last moment
			return r, nil
		default:
		}
		release() // a board that is there has had its time
		if ctx.Err() != nil {
			return Reply{}, fmt.Errorf("%s: %s did not acknowledge: %w", cmd.Verb, c.port.Path(), context.Cause(ctx))
		}
	}
	return Reply{}, fmt.Errorf("%s: nothing on %s acknowledged the command, sent %d times %s apart: "+
		"is the board running a sketch that speaks the line protocol?", cmd.Verb, c.port.Path(), attempts, acceptWithin)
}

func (c *Client) listen(id uint32) <-chan Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.replies = id, make(chan Reply, 16)
	return c.replies
}

func (c *Client) deafen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replies = nil
}
