package lab_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/capture/lab"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

const (
	soakRate    = 50_000 // packets a second
	soakDevices = 50_000 // each wakes and talks every fifteen seconds or so, over new ports
	soakLooks   = 60     // how often the tap's memory is looked at
)

// BenchmarkSoak feeds `tollgate tap`, as its users run it, 50 thousand packets a second of flows that come and go at the
// pace of the field, and looks at its memory. It takes a minute, or as long as TOLLGATE_SOAK says; flows of UDP are
// remembered for five minutes, so what it says of less than a quarter of an hour is how memory fills.
//
//	TOLLGATE_SOAK=1h go test ./harness/capture/lab -run '^$' -bench Soak -benchtime 1x -timeout 2h
//
// It tells packets a second (pkt/s), packets that reached the interface and not the tap (lost), processor time a packet
// (ns/pkt), the flows seen, what the host stole (%stolen, as in BenchmarkLive), and the tap's memory: at most in the second
// sixth of the time (early-MiB) and in the last (late-MiB). With -v every look is logged.
func BenchmarkSoak(b *testing.B) {
	lab.Require(b, "taskset")
	lasts, err := time.ParseDuration(cmp.Or(os.Getenv("TOLLGATE_SOAK"), "1m"))
	require.NoError(b, err)
	tollgate := filepath.Join(b.TempDir(), "tollgate")
	build := exec.Command("go", "build", "-o", tollgate, "github.com/tollgate-iot/tollgate/cmd/tollgate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	said, err := build.CombinedOutput()
	require.NoError(b, err, string(said))
	for b.Loop() {
		soak(b, tollgate, lasts)
	}
}

func soak(b *testing.B, tollgate string, lasts time.Duration) {
	near, far := lab.Cable(b, 9000)
	tap := listen(b, near, tollgate)
	var s sent
	before := spent()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s = part[sent](b, far, "0", fmt.Sprintf("stream %s", lasts), nil)
	}()
	memory := look(b, tap.cmd.Process.Pid, lasts, done)
	require.Positive(b, s.Packets)
	end := tap.end(b)
	arrived := near.Arrived("m0")
	require.Equal(b, arrived, end.Counts.Received+end.Counts.Dropped, "what is lost is reported, to the packet")
	b.ReportMetric(float64(s.Packets)/time.Duration(s.Took).Seconds(), "pkt/s")
	b.ReportMetric(float64(arrived-end.Counts.Received), "lost")
	b.ReportMetric(float64(tap.cmd.ProcessState.UserTime()+tap.cmd.ProcessState.SystemTime())/float64(end.Counts.Received), "ns/pkt")
	b.ReportMetric(float64(end.Flows), "flows")
	b.ReportMetric(stolen(before), "%stolen")
	sixth := soakLooks / 6
	b.ReportMetric(most(memory[min(sixth, len(memory)-1):min(2*sixth, len(memory))]), "early-MiB")
	b.ReportMetric(most(memory[max(0, len(memory)-sixth):]), "late-MiB")
	b.ReportMetric(0, "ns/op")
}

func most(memory []uint64) (mib float64) {
	for _, m := range memory {
		mib = max(mib, float64(m)/(1<<20))
	}
	return mib
}

// look reads a process's memory at even distances until done.
func look(b *testing.B, pid int, lasts time.Duration, done <-chan struct{}) (memory []uint64) {
	every := time.NewTicker(lasts / soakLooks)
	defer every.Stop()
	began := time.Now()
	for {
		select {
		case <-done:
			return memory
		case <-every.C:
			memory = append(memory, resident(pid))
			b.Logf("%s: %.1f MiB", time.Since(began).Round(time.Second), most(memory[len(memory)-1:]))
		}
	}
}

// resident is the memory that a process has now (proc(5): VmRSS).
func resident(pid int) uint64 { return memoryOf(pid, "VmRSS:") }

// listening is a `tollgate tap` that captures.
type listening struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// soaked is what it tells at its end.
type soaked struct {
	End    string
	Counts struct{ Received, Dropped uint64 }
	Flows  uint64
}

func listen(b *testing.B, in *lab.Namespace, tollgate string) *listening {
	cmd := in.Command("taskset", "-c", "1", tollgate, "tap", "afpacket", "interface=m0", "--json")
	stdout, err := cmd.StdoutPipe()
	require.NoError(b, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the benchmark failed
	says := bufio.NewReader(stderr)
	ready, err := says.ReadString('\n')
	require.NoError(b, err)
	require.Contains(b, ready, "capturing on afpacket")
	go func() { _, _ = io.Copy(io.Discard, says) }()
	l := &listening{cmd: cmd, lines: bufio.NewScanner(stdout)}
	l.lines.Buffer(nil, 1<<20)
	return l
}

// end interrupts it and gives its last word.
func (l *listening) end(b *testing.B) (out soaked) {
	go func() { _ = l.cmd.Process.Signal(syscall.SIGINT) }()
	for l.lines.Scan() {
		require.NoError(b, json.Unmarshal(l.lines.Bytes(), &out), l.lines.Text())
	}
	require.NoError(b, l.lines.Err())
	require.NoError(b, l.cmd.Wait())
	require.NotEmpty(b, out.End)
	return out
}

// stream sends a fleet's load on m1, made while it is sent: each packet when it is due.
func stream(lasts string) (sent, error) {
	span, err := time.ParseDuration(strings.TrimSpace(lasts))
	if err != nil {
		return sent{}, err
	}
	r, w := io.Pipe()
	go func() {
		_, err := synth.WriteLoad(w, synth.Load{Packets: int(soakRate * span.Seconds()), Devices: soakDevices, Span: span, Mirror: synth.GRE, Seed: 1})
		w.CloseWithError(err)
	}()
	in, err := pcap.NewReader(r)
	if err != nil {
		return sent{}, err
	}
	s, err := lab.OpenSender("m1")
	if err != nil {
		return sent{}, err
	}
	var out sent
	began := time.Now()
	for err == nil {
		err = due(in, s, began, &out)
	}
	out.Took = int64(time.Since(began))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, errors.Join(err, s.Close())
}

// due sends the packets of the next five milliseconds.
func due(in *pcap.Reader, s *lab.Sender, began time.Time, out *sent) error {
	const step = 5 * time.Millisecond
	var rec pcap.Record
	var frames [][]byte
	for range int(soakRate * step / time.Second) {
		if err := in.Read(&rec); err != nil {
			n, sending := s.SendAll(frames)
			out.Packets += n
			return errors.Join(sending, err)
		}
		frames = append(frames, append([]byte(nil), rec.Data...))
	}
	n, err := s.SendAll(frames)
	out.Packets += n
	<-time.After(time.Until(began.Add(time.Duration(out.Packets) * time.Second / soakRate)))
	return err
}
