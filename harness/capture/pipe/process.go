package pipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// process is a command that writes a capture stream. It runs in a process group of its own where the system has such:
// a Ctrl-C at the terminal does not reach it before the run has cleaned up, and its children end with it.
type process struct {
	cmd    *exec.Cmd
	input  *os.File // what keeps its standard input open; nil where it has none
	stderr tail
	done   chan struct{} // closed when it has been waited for
	err    error         // of Wait; set before done is closed
}

// patience is how long a command may take to end when asked to, before it is made to.
const patience = 2 * time.Second

// startProcess starts a command and gives the pipe that its standard output goes into.
func startProcess(command []string, hold bool, listening string) (*process, io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &process{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	p.stderr.await, p.stderr.heard = listening, make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = w, &p.stderr
	if hold {
		in, own, err := os.Pipe()
		if err != nil {
			return nil, nil, errors.Join(err, r.Close(), w.Close())
		}
		defer func() { _ = in.Close() }() // the command has its own
		p.cmd.Stdin, p.input = in, own
	}
	p.cmd.WaitDelay = patience
	p.cmd.SysProcAttr = ownGroup()
	err = p.cmd.Start()
	_ = w.Close() // the command has its own
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w", command[0], errors.Join(err, r.Close(), p.letGo()))
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, r, nil
}

// letGo ends the command's standard input.
func (p *process) letGo() error {
	if p.input == nil {
		return nil
	}
	return p.input.Close()
}

// listens returns when the command has said that it captures.
func (p *process) listens(quit context.Context) error {
	if p.stderr.await == "" {
		return nil
	}
	select {
	case <-p.stderr.heard:
		return nil
	case <-p.done:
		select {
		case <-p.stderr.heard: // it ended at once afterwards
			return nil
		default:
			return fmt.Errorf("the command ended before it said %q", p.stderr.await)
		}
	case <-quit.Done():
		return quit.Err()
	}
}

// stop ends the command and whatever it started, and waits for it. One that ended by itself is left alone: the number
// of its group may be another's by now.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	if p.input != nil {
		_ = p.letGo()             // the end of its input asks it to end
		if p.ends(2 * patience) { // its output may be held for one by what it leaves behind
			return
		}
	}
	interrupt(p.cmd.Process)
	p.ends(patience)
	kill(p.cmd.Process) // also what of its group outlived it
	<-p.done
}

// ends says whether the command ends within a time.
func (p *process) ends(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// status is the exit status of a command that has ended; -1 where it has none, or still runs.
func (p *process) status() int {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// said gives how the command ended and what it last wrote to standard error: the cause, where a stream ended early.
func (p *process) said() string {
	how := "the command still runs"
	if p.ends(patience) {
		if how = "the command ended"; p.err != nil {
			how = "the command ended: " + p.err.Error()
		}
	}
	if text := p.stderr.lines(); text != "" {
		how += ": " + text
	}
	return how
}

var dropLine = regexp.MustCompile(`(?m)^(\d+) packets? dropped by (?:kernel|interface)`)

// drops gives the packets that the command says were dropped, as tcpdump does at its end.
func (p *process) drops() uint64 {
	var sum uint64
	for _, m := range dropLine.FindAllStringSubmatch(p.stderr.text(), -1) {
		if n, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			sum += n
		}
	}
	return sum
}

// tail keeps the end of what is written to it, and listens for a text in it.
type tail struct {
	await string
	heard chan struct{} // closed when await was written

	mu  sync.Mutex
	buf []byte
	was bool // heard is closed
}

// tailSize is how much a tail keeps.
const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if t.await != "" && !t.was && bytes.Contains(t.buf, []byte(t.await)) {
		t.was = true
		close(t.heard)
	}
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// lines gives the last three lines on one.
func (t *tail) lines() string {
	all := strings.FieldsFunc(strings.ToValidUTF8(t.text(), "\uFFFD"), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(all[max(0, len(all)-3):], "; ")
}
