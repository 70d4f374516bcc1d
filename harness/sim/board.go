package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/line"
)

// firmware is the program on a simulated board. Its methods run one at a time.
type firmware interface {
	// name is the answer to hello: model and variant.
	name() string
	// boot is the program from its start to where it takes commands. It ends soon after ctx.
	boot(ctx context.Context)
	// do carries out a command; the error is the reason of the ERROR line.
	do(ctx context.Context, verb string, words []string) (answer string, err error)
	// halt takes its power away.
	halt()
}

// Faults are what can be asked to go wrong with the board.
type Faults struct {
	HangOn   string // the verb after whose acknowledgement the board says and hears nothing more
	VanishOn string // the verb at which the port vanishes, once, to come back under another name
}

const (
	consoleBuffer = 64 << 10        // bytes that wait for a reader; a board drops what is more
	backAfter     = 2 * time.Second // until a port that vanished is back
	maxCommand    = 8192
)

// errUnknownVerb is the reason for a verb that a firmware does not know.
var errUnknownVerb = errors.New("unknown verb")

// board is what is between the serial port and the firmware.
type board struct {
	clock  *Clock
	fw     firmware
	faults Faults

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	wake     sync.Cond // output came, or the port changed
	term     *terminal // nil while the port has vanished
	out      []byte
	closed   bool
	hung     bool
	vanished bool               // the fault has happened
	last     uint32             // number of the last command
	said     []line.Reply       // to it
	busy     bool               // it is not answered yet
	life     context.Context    // of the firmware, from one reset to the next
	kill     context.CancelFunc // ends it
	jobs     []job              // for the firmware's one thread
}

// job is a piece of the firmware's program. It is left out when its life ended before its turn came.
type job struct {
	life context.Context
	run  func(context.Context)
}

// newBoard makes a board with its port. It does nothing until start.
func newBoard(clock *Clock, faults Faults) (*board, error) {
	term, err := openTerminal()
	if err != nil {
		return nil, err
	}
	b := &board{clock: clock, faults: faults, term: term}
	b.wake.L = &b.mu
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// start gives the board power.
func (b *board) start(fw firmware) {
	b.fw = fw
	b.mu.Lock()
	term := b.term
	b.beginLife(fw.boot)
	b.mu.Unlock()
	b.tasks.Go(func() { b.read(term) })
	b.tasks.Go(b.write)
	b.tasks.Go(b.thread)
}

// beginLife begins a life of the firmware with a piece of its program; what is left of the life before is dropped.
// b.mu is held.
func (b *board) beginLife(first func(context.Context)) {
	if b.kill != nil {
		b.kill()
	}
	b.life, b.kill = context.WithCancel(b.ctx)
	b.last, b.said, b.busy = 0, nil, false
	b.enqueue(first)
}

// enqueue lets the firmware's thread run a piece of its program, in the present life. b.mu is held.
func (b *board) enqueue(f func(context.Context)) {
	b.jobs = append(b.jobs, job{b.life, f})
	b.wake.Broadcast()
}

// background lets the firmware run a piece of its program that nobody asked for.
func (b *board) background(f func(context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enqueue(f)
}

// spawn runs something beside the firmware's thread, which the board's end waits for.
func (b *board) spawn(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.tasks.Go(f)
	}
}

// thread is the firmware's one thread: one piece of its program after the other.
func (b *board) thread() {
	for {
		b.mu.Lock()
		for !b.closed && len(b.jobs) == 0 {
			b.wake.Wait()
		}
		if b.closed {
			b.mu.Unlock()
			return
		}
		next := b.jobs[0]
		b.jobs = b.jobs[1:]
		b.mu.Unlock()
		if next.life.Err() == nil {
			next.run(next.life)
		}
	}
}

// close takes power and port away and waits for everything.
func (b *board) close() error {
	b.mu.Lock()
	b.closed = true
	term := b.term
	b.term = nil
	b.wake.Broadcast()
	b.mu.Unlock()
	b.cancel()
	var err error
	if term != nil {
		err = term.close()
	}
	b.tasks.Wait()
	return err
}

// path is the port's present name, "" while it has vanished.
func (b *board) path() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term == nil {
		return ""
	}
	return b.term.path()
}

// println prints a line on the console. What finds no room is lost, as on a board that nobody reads.
func (b *board) println(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.print(fmt.Sprintf(format, args...))
}

// print does so with b.mu held.
func (b *board) print(text string) {
	text += "\r\n"
	b.clock.Touch()
	if b.hung || b.term == nil || len(b.out)+len(text) > consoleBuffer {
		return
	}
	b.out = append(b.out, text...)
	b.wake.Broadcast()
}

// write carries output to the port.
func (b *board) write() {
	for {
		b.mu.Lock()
		for !b.closed && (len(b.out) == 0 || b.term == nil) {
			b.wake.Wait()
		}
		if b.closed {
			b.mu.Unlock()
			return
		}
		chunk, term := b.out, b.term
		b.out = nil
		b.mu.Unlock()
		_, _ = term.master.Write(chunk) // fails when the port vanishes: lost, as on a real one
		b.clock.Touch()
	}
}

// read takes commands from a port until it vanishes.
func (b *board) read(term *terminal) {
	in := bufio.NewReaderSize(term.master, maxCommand)
	for {
		text, tooLong, err := in.ReadLine()
		if err != nil {
			return
		}
		b.clock.Touch()
		if tooLong {
			continue
		}
		if cmd, ok := line.ParseCommand(string(text)); ok {
			b.command(cmd)
		}
	}
}

// command takes one command as the protocol says.
func (b *board) command(cmd line.Command) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.hung:
	case cmd.ID == 0:
		b.last, b.said = 0, nil
		b.print(line.Reply{Kind: line.OK, Text: b.fw.name()}.String())
	case cmd.ID == b.last:
		for _, r := range b.said {
			b.print(r.String())
		}
	case b.busy:
		b.print(line.Reply{ID: cmd.ID, Kind: line.Failed, Text: line.Busy}.String())
	case cmd.Verb == b.faults.VanishOn && !b.vanished:
		b.unplug()
	default:
		b.last, b.said, b.busy = cmd.ID, nil, true
		b.say(line.Reply{ID: cmd.ID, Kind: line.Accepted, Text: cmd.Verb})
		b.carryOut(cmd)
	}
}

// carryOut does what a command says. b.mu is held.
func (b *board) carryOut(cmd line.Command) {
	switch cmd.Verb {
	case b.faults.HangOn:
		b.hung = true
	case "reset":
		b.say(line.Reply{ID: cmd.ID, Kind: line.OK})
		b.beginLife(func(ctx context.Context) {
			b.fw.halt()
			b.fw.boot(ctx)
		})
	default:
		b.enqueue(func(ctx context.Context) {
			answer, err := b.fw.do(ctx, cmd.Verb, cmd.Words)
			if ctx.Err() == nil {
				b.answer(cmd, answer, err)
			}
		})
	}
}

// answer says how a command went.
func (b *board) answer(cmd line.Command, answer string, err error) {
	r := line.Reply{ID: cmd.ID, Kind: line.OK, Text: answer}
	if err != nil {
		r.Kind, r.Text = line.Failed, err.Error()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
	b.say(r)
}

// say gives a reply and remembers it, for a command that is sent again. b.mu is held.
func (b *board) say(r line.Reply) {
	if b.last == r.ID {
		b.said = append(b.said, r)
	}
	b.print(r.String())
}

// hang makes the board silent and deaf for good.
func (b *board) hang() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hung = true
}

// vanish takes the port away, as a reset of the board's USB does; it comes back under another name.
func (b *board) vanish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unplug()
}

// unplug does so with b.mu held.
func (b *board) unplug() {
	term := b.term
	b.term, b.vanished = nil, true
	b.last, b.said = 0, nil
	if term == nil || b.closed {
		return
	}
	b.tasks.Go(func() {
		fresh, err := openTerminal() // before the old one is closed, whose name it would get
		_ = term.close()
		if err != nil {
			return // the port stays away: that is what the driver will say
		}
		if b.clock.Sleep(b.ctx, backAfter) != nil || !b.plug(fresh) {
			_ = fresh.close()
			return
		}
		b.read(fresh)
	})
}

// plug gives the board a port again, unless it has been closed.
func (b *board) plug(term *terminal) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.term = term
	b.wake.Broadcast()
	return true
}
