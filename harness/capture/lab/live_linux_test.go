package lab_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/capture/afpacket"
	"github.com/tollgate-iot/tollgate/harness/capture/lab"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/watch"
)

// rounds is how often the stream is sent, each time with other TCP numbers. A device's ports come round again for new
// connections, as they do in the field, but faster: so as many flows are open at a time as in the field, and not all that
// there ever are.
const rounds = 10

// role, in the environment, says what part of a measurement this process is: sender FILE, receiver WHAT, width, or stream
// DURATION.
const role = "TOLLGATE_LIVE"

func TestMain(m *testing.M) {
	part, what, _ := strings.Cut(os.Getenv(role), " ")
	var result any
	var err error
	switch part {
	case "sender":
		result, err = send(what)
	case "receiver":
		result, err = receive(what)
	case "width":
		result = width()
	case "stream":
		result, err = stream(what)
	default:
		os.Exit(m.Run())
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// BenchmarkLive measures taps on a mirror by GRE that one processor sends as fast as it can, through a pair of interfaces
// between two namespaces; the other receives. Each tap is a process of its own and gets the same stream: the ring alone,
// the ring with the whole analysis (trace.Live), the same with what `tap --watch` shows, tcpdump and dumpcap, each with
// 24 MiB of buffer. It needs root and two processors that have nothing else to do.
//
//	go test ./harness/capture/lab -run '^$' -bench Live -benchtime 1x
//
// Of each: packets a second offered (pkt/s), processor time a packet received (ns/pkt), packets that reached the interface
// and not the tap (lost), of them those it reports (reported), its memory at most (MiB), and how much of the processors' time
// a virtual machine's host kept for others (%stolen), in which nothing can be received. What processor time is worth is told
// beside it (adds/cycle): a processor of a virtual machine is mostly one of a core's two hardware threads, and while the other
// one is at work, for the sender or for somebody else, each gets half of the core. TOLLGATE_LIVE_RATE=340000 makes the sender
// keep to so many packets a second.
func BenchmarkLive(b *testing.B) {
	lab.Require(b, "taskset", "tcpdump", "dumpcap")
	load := synth.FleetLoad(synth.GRE)
	load.Packets, load.Devices = load.Packets/rounds, load.Devices/rounds
	file := filepath.Join(b.TempDir(), "fleet.pcap")
	f, err := os.Create(file)
	require.NoError(b, err)
	_, err = synth.WriteLoad(f, load)
	require.NoError(b, err)
	require.NoError(b, f.Close())
	for _, c := range []struct {
		name string
		run  func(b *testing.B, near *lab.Namespace, stream func() sent) result
	}{
		{"ring", ours("ring")},
		{"analysis", ours("analysis")},
		{"watch", ours("watch")},
		{"tcpdump", theirs("listening on", tcpdumpSaid, "tcpdump", "-i", "m0", "-Z", "root", "-B", "24576", "-s", "0", "-n", "-w", os.DevNull, "proto gre")},
		{"dumpcap", theirs("Capturing on", dumpcapSaid, "dumpcap", "-i", "m0", "-B", "24", "-q", "-w", os.DevNull, "-f", "proto gre")},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				near, far := lab.Cable(b, 9000)
				var s sent
				var adds float64
				before := spent()
				got := c.run(b, near, func() sent {
					adds = part[float64](b, near, "1", "width", func() { s = part[sent](b, far, "0", "sender "+file, nil) })
					return s
				})
				arrived := near.Arrived("m0")
				if strings.HasPrefix(got.Name, "our") {
					require.Equal(b, arrived, got.Received+got.Dropped, "what is lost is reported, to the packet")
				}
				b.ReportMetric(float64(s.Packets)/time.Duration(s.Took).Seconds(), "pkt/s")
				b.ReportMetric(float64(got.CPU)/float64(got.Received), "ns/pkt")
				b.ReportMetric(float64(arrived-got.Received), "lost")
				b.ReportMetric(float64(got.Dropped), "reported")
				b.ReportMetric(float64(got.Memory)/(1<<20), "MiB")
				b.ReportMetric(stolen(before), "%stolen")
				b.ReportMetric(adds, "adds/cycle")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// sent is what a sender did.
type sent struct {
	Packets int
	Took    int64 // ns
}

// result is what a tap got, and what that cost.
type result struct {
	Name              string
	Received, Dropped uint64
	CPU               int64 // ns of processor time, of user and system
	Memory            uint64
}

// send sends the frames of a capture file on m1.
func send(file string) (sent, error) {
	frames, err := load(file)
	if err != nil {
		return sent{}, err
	}
	s, err := lab.OpenSender("m1")
	if err != nil {
		return sent{}, err
	}
	perSecond, err := strconv.ParseFloat(cmp.Or(os.Getenv(role+"_RATE"), "inf"), 64)
	if err != nil {
		return sent{}, err
	}
	var out sent
	room := make([][]byte, 0, together)
	began := time.Now()
	for range rounds {
		for batch := range slices.Chunk(frames, together) {
			for i := range batch {
				batch[i].renumber()
			}
			n, err := s.SendAll(data(batch, room))
			out.Packets += n
			if err != nil {
				return out, errors.Join(err, s.Close())
			}
			for time.Since(began).Seconds() < float64(out.Packets)/perSecond { // sleeping would take too long
			}
		}
	}
	out.Took = int64(time.Since(began))
	return out, s.Close()
}

// frame is one to be sent.
type frame struct {
	data    []byte
	numbers []byte // TCP's sequence number and acknowledgement number, in data; nil where it has none
}

// together is how many frames are sent with one call of the system.
const together = 64

// renumber moves a segment's numbers on, so that it is of another connection than in the round before.
func (f *frame) renumber() {
	if f.numbers == nil {
		return
	}
	const on = 0x2545F491
	seq, ack := f.numbers[:4], f.numbers[4:]
	binary.BigEndian.PutUint32(seq, binary.BigEndian.Uint32(seq)+on)
	if n := binary.BigEndian.Uint32(ack); n != 0 {
		binary.BigEndian.PutUint32(ack, n+on)
	}
}

func data(frames []frame, room [][]byte) [][]byte {
	room = room[:0]
	for i := range frames {
		room = append(room, frames[i].data)
	}
	return room
}

// load gives the frames of a capture file, all in memory.
func load(file string) ([]frame, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		return nil, err
	}
	d := packet.NewDecoder(packet.Options{})
	var frames []frame
	var room []byte
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		if len(room) < len(rec.Data) {
			room = make([]byte, 1<<20)
		}
		n := copy(room, rec.Data)
		rec.Data, room = room[:n:n], room[n:]
		frames = append(frames, frame{data: rec.Data, numbers: numbersIn(d, rec)})
	}
}

// numbersIn finds the TCP numbers of a frame.
func numbersIn(d *packet.Decoder, rec pcap.Record) []byte {
	var p packet.Packet
	if d.Decode(&packet.Frame{Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}, &p) != packet.Decoded || p.Kind != packet.TCP {
		return nil
	}
	numbers := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, p.Seq), p.Ack)
	at := bytes.Index(rec.Data, numbers)
	return rec.Data[at : at+len(numbers)]
}

// receive captures on m0 until its standard input ends.
func receive(what string) (result, error) {
	f, err := filter.New(filter.Options{Words: []string{filter.GRE}})
	if err != nil {
		return result{}, err
	}
	tap, err := afpacket.New(afpacket.Options{Interface: "m0", Filter: f})
	if err != nil {
		return result{}, err
	}
	sink, finish := func(pcap.Record) {}, func() error { return nil }
	if what != "ring" {
		o := trace.Options{SameMirror: true}
		if what == "watch" {
			o.Decoded = watch.New(time.Now(), nil).Add
		}
		live := trace.NewLive("m0", o)
		sink = func(rec pcap.Record) { live.Add(&rec) }
		finish = func() error {
			_, err := live.End(0)
			return err
		}
	}
	before := processorTime()
	if err := tap.Start(context.Background(), sink); err != nil {
		return result{}, err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := tap.Flush(context.Background()); err != nil {
		return result{}, err
	}
	cost := processorTime() - before
	out := result{Name: "our " + what, CPU: cost, Memory: peak(os.Getpid())}
	if err := tap.Close(); err != nil {
		return result{}, err
	}
	if err := finish(); err != nil {
		return result{}, err
	}
	out.Received, out.Dropped = tap.Stats().Received, tap.Stats().Dropped
	return out, nil
}

// processorTime is that of this process, of user and system.
func processorTime() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// width measures, every ten milliseconds until its standard input ends, how much of its core this processor has: how many
// additions, of which none waits for another, it does in a cycle. Cycles are told by a chain of multiplications, each of which
// takes three on x86-64, however busy the core's other thread is. It gives the mean.
func width() float64 {
	const (
		multiplications, multiplication = 5000, 3  // cycles
		turns, additions                = 2000, 32 // in each turn
	)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	fmt.Println("ready")
	var rates, samples float64 // of turns, in a nanosecond
	fastest := time.Duration(math.MaxInt64)
	for every := time.NewTicker(10 * time.Millisecond); ; samples++ {
		began := time.Now()
		product := uint64(3)
		for range multiplications {
			product *= product
		}
		multiplied := time.Now()
		a, b, c, d, e, f, g, h, x := used, used+1, used+2, used+3, used+4, used+5, used+6, used+7, used+8
		for range turns { // long ones, so that where the loop lies in the program makes no difference
			a, b, c, d, e, f, g, h = a+x, b+x, c+x, d+x, e+x, f+x, g+x, h+x
			a, b, c, d, e, f, g, h = a+x, b+x, c+x, d+x, e+x, f+x, g+x, h+x
			a, b, c, d, e, f, g, h = a+x, b+x, c+x, d+x, e+x, f+x, g+x, h+x
			a, b, c, d, e, f, g, h = a+x, b+x, c+x, d+x, e+x, f+x, g+x, h+x
		}
		added := time.Now()
		used += product + a + b + c + d + e + f + g + h
		fastest = min(fastest, multiplied.Sub(began)) // any other was interrupted
		rates += turns / float64(added.Sub(multiplied))
		select {
		case <-every.C:
		case <-ended:
			cycle := float64(fastest) / (multiplications * multiplication)
			return additions * rates / (samples + 1) * cycle
		}
	}
}

// used keeps the compiler from leaving out what is calculated only to take its time.
var used uint64

// peak is the most memory that a process had (proc(5): VmHWM).
func peak(pid int) uint64 { return memoryOf(pid, "VmHWM:") }

// memoryOf gives a figure of a process's status, in bytes.
func memoryOf(pid int, figure string) uint64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), figure)
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseUint(kib, 10, 64)
	return n << 10
}

// ticks are the processors' time so far: all, and what a virtual machine's host kept for others.
type ticks struct{ all, stolen float64 }

// spent reads the first line of /proc/stat (proc_stat(5)).
func spent() (t ticks) {
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	const steal = 8
	for i, field := range strings.Fields(line) {
		n, _ := strconv.ParseFloat(field, 64) // "cpu" is none
		if i <= steal {
			t.all += n // what follows is part of these
		}
		if i == steal {
			t.stolen = n
		}
	}
	return t
}

// stolen is the share stolen since, in per cent.
func stolen(since ticks) float64 {
	now := spent()
	return 100 * (now.stolen - since.stolen) / max(1, now.all-since.all)
}

// part runs a process of this program in a namespace, on one processor, in a role, and gives what it told. While it runs,
// and once it is ready, it is given to meanwhile, where that is not nil; then its standard input ends.
func part[T any](b *testing.B, in *lab.Namespace, processor, as string, meanwhile func()) (out T) {
	b.Helper()
	cmd := in.Command("taskset", "-c", processor, os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	lines := bufio.NewReader(stdout)
	if meanwhile != nil {
		line, err := lines.ReadString('\n')
		require.NoError(b, err)
		require.Equal(b, "ready\n", line)
		meanwhile()
	}
	require.NoError(b, stdin.Close())
	text, err := io.ReadAll(lines)
	require.NoError(b, err)
	require.NoError(b, cmd.Wait())
	require.NoError(b, json.Unmarshal(text, &out), string(text))
	return out
}

func ours(what string) func(*testing.B, *lab.Namespace, func() sent) result {
	return func(b *testing.B, near *lab.Namespace, stream func() sent) result {
		return part[result](b, near, "1", "receiver "+what, func() { stream() })
	}
}

// theirs runs another program that captures, which says on its standard error when it does, and at its end what it got.
func theirs(ready string, said func(text string) (received, dropped uint64, ok bool), command ...string) func(*testing.B, *lab.Namespace, func() sent) result {
	return func(b *testing.B, near *lab.Namespace, stream func() sent) result {
		cmd := near.Command("taskset", append([]string{"-c", "1"}, command...)...)
		stderr, err := cmd.StderrPipe()
		require.NoError(b, err)
		require.NoError(b, cmd.Start())
		var text strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(text.String(), ready) {
			n, err := stderr.Read(buf)
			require.NoError(b, err, text.String())
			text.Write(buf[:n])
		}
		stream()
		settled(b, cmd)
		out := result{Name: command[0], Memory: peak(cmd.Process.Pid)}
		require.NoError(b, cmd.Process.Signal(syscall.SIGINT))
		rest, err := io.ReadAll(stderr)
		require.NoError(b, err)
		require.NoError(b, cmd.Wait())
		text.Write(rest)
		var ok bool
		out.Received, out.Dropped, ok = said(text.String())
		require.True(b, ok, text.String())
		out.CPU = int64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
		return out
	}
}

// settled returns when a process has used no processor time for half a second: it has read all there was to read.
func settled(b *testing.B, cmd *exec.Cmd) {
	used, since := "", time.Now()
	for time.Since(since) < 500*time.Millisecond {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		require.NoError(b, err)
		_, after, _ := strings.Cut(string(stat), ") ")
		if now := strings.Join(strings.Fields(after)[11:13], " "); now != used {
			used, since = now, time.Now()
		}
		<-time.After(20 * time.Millisecond)
	}
}

var (
	tcpdumpLines = regexp.MustCompile(`(\d+) packets captured\n\d+ packets received by filter\n(\d+) packets dropped by kernel`)
	dumpcapLines = regexp.MustCompile(`Packets received/dropped on interface 'm0': (\d+)/(\d+)`)
)

func tcpdumpSaid(text string) (received, dropped uint64, ok bool) { return numbers(tcpdumpLines, text) }
func dumpcapSaid(text string) (received, dropped uint64, ok bool) { return numbers(dumpcapLines, text) }

func numbers(form *regexp.Regexp, text string) (received, dropped uint64, ok bool) {
	m := form.FindStringSubmatch(text)
	if m == nil {
		return 0, 0, false
	}
	received, err1 := strconv.ParseUint(m[1], 10, 64)
	dropped, err2 := strconv.ParseUint(m[2], 10, 64)
	return received, dropped, err1 == nil && err2 == nil
}
