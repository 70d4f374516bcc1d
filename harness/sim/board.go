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
	HangOn   string // the verb after whose acknowledgement the board says nothing more and hears nothing more, until a reset of power
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
	running  sync.Mutex         // the firmware's one thread
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
	b.mu.Unlock()
	b.tasks.Go(func() { b.read(term) })
	b.tasks.Go(b.write)
	b.boot()
}

// boot starts the firmware's life anew.
func (b *board) boot() {
	b.mu.Lock()
	b.life, b.kill = context.WithCancel(b.ctx)
	b.last, b.said, b.busy, b.hung = 0, nil, false, false
	life := b.life
	b.mu.Unlock()
	b.spawn(life, b.fw.boot)
}

// spawn runs a piece of the firmware's program when what runs now has ended.
func (b *board) spawn(life context.Context, f func(context.Context)) {
	b.tasks.Go(func() {
		b.running.Lock()
		defer b.running.Unlock()
		if life.Err() == nil {
			f(life)
		}
	})
}

// background runs a piece of the firmware's program for the present life.
func (b *board) background(f func(context.Context)) {
	b.mu.Lock()
	life := b.life
	closed := b.closed
	b.mu.Unlock()
	if !closed {
		b.spawn(life, f)
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
	text := fmt.Sprintf(format, args...) + "\r\n"
	b.clock.Touch()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hung || len(b.out)+len(text) > consoleBuffer {
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
	again := cmd.ID != 0 && cmd.ID == b.last
	said, busy, hung, life := b.said, b.busy, b.hung, b.life
	fault := b.fault(cmd.Verb)
	if !again && !busy && cmd.ID != 0 && !hung {
		b.last, b.said, b.busy = cmd.ID, nil, true
	}
	if cmd.ID == 0 {
		b.last, b.said = 0, nil
	}
	b.mu.Unlock()
	switch {
	case hung:
	case cmd.ID == 0:
		b.println("%s", line.Reply{Kind: line.OK, Text: b.fw.name()})
	case again:
		for _, r := range said {
			b.println("%s", r)
		}
	case busy:
		b.println("%s", line.Reply{ID: cmd.ID, Kind: line.Failed, Text: "busy"})
	case fault == faultVanish:
		b.vanish()
	default:
		b.say(line.Reply{ID: cmd.ID, Kind: line.Accepted, Text: cmd.Verb})
		if fault == faultHang {
			b.hang()
			return
		}
		b.run(life, cmd)
	}
}

// fault is what happens to the board on a verb.
type fault uint8

const (
	faultNone fault = iota
	faultHang
	faultVanish
)

// fault decides whether a verb is the one on which something is to go wrong. b.mu is held.
func (b *board) fault(verb string) fault {
	switch {
	case verb == b.faults.HangOn:
		return faultHang
	case verb == b.faults.VanishOn && !b.vanished:
		return faultVanish
	}
	return faultNone
}

// run carries a command out.
func (b *board) run(life context.Context, cmd line.Command) {
	if cmd.Verb == "reset" {
		b.answer(cmd, "", nil)
		b.reset()
		return
	}
	b.spawn(life, func(ctx context.Context) {
		answer, err := b.fw.do(ctx, cmd.Verb, cmd.Words)
		if ctx.Err() == nil {
			b.answer(cmd, answer, err)
		}
	})
}

// answer says how a command went.
func (b *board) answer(cmd line.Command, answer string, err error) {
	r := line.Reply{ID: cmd.ID, Kind: line.OK, Text: answer}
	if err != nil {
		r.Kind, r.Text = line.Failed, err.Error()
	}
	b.mu.Lock()
	b.busy = false
	b.mu.Unlock()
	b.say(r)
}

// say gives a reply and remembers it, for a command that is sent again.
func (b *board) say(r line.Reply) {
	b.mu.Lock()
	if b.last == r.ID {
		b.said = append(b.said, r)
	}
	b.mu.Unlock()
	b.println("%s", r)
}

// reset takes the firmware's power away and gives it back.
func (b *board) reset() {
	b.mu.Lock()
	kill := b.kill
	b.mu.Unlock()
	kill()
	b.tasks.Go(func() {
		b.running.Lock()
		b.fw.halt()
		b.running.Unlock()
		if b.ctx.Err() == nil {
			b.boot()
		}
	})
}

// hang makes the board silent and deaf.
func (b *board) hang() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hung = true
}

// vanish takes the port away, as a reset of the board's USB does; it comes back under another name.
func (b *board) vanish() {
	b.mu.Lock()
	term := b.term
	b.term, b.vanished = nil, true
	b.last, b.said, b.busy = 0, nil, false
	b.mu.Unlock()
	if term == nil {
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
