package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// made numbers the namespaces of this process.
var made atomic.Uint64

// Require skips the test where it can't make namespaces, or a command that it needs is missing.
func Require(t testing.TB, commands ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	for _, c := range append([]string{"ip"}, commands...) {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("needs the command %s: %v", c, err)
		}
	}
	if out, err := exec.Command("unshare", "--net", "true").CombinedOutput(); err != nil {
		t.Skipf("needs network namespaces, which this root may not make: %v: %s", err, out)
	}
}

// Namespace is a network namespace with its loopback interface up.
type Namespace struct {
	t    testing.TB
	Name string
}

// New makes a namespace that is removed when the test ends. What is for: part of its name, a few letters.
func New(t testing.TB, what string) *Namespace {
	t.Helper()
	n := &Namespace{t: t, Name: fmt.Sprintf("tollgate-%d-%d-%s", os.Getpid(), made.Add(1), what)}
	Run(t, "ip", "netns", "add", n.Name)
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", n.Name).CombinedOutput(); err != nil {
			t.Errorf("remove namespace %s: %v: %s", n.Name, err, out)
		}
	})
	// Nobody needs the addresses that IPv6 makes up by itself, and what it sends to make them would be captured.
	n.Write("net/ipv6/conf/all/disable_ipv6", "1")
	n.Write("net/ipv6/conf/default/disable_ipv6", "1")
	n.IP("link", "set", "lo", "up")
	return n
}

// Run runs a command and fails the test where that fails. It gives what the command said.
func Run(t testing.TB, command string, args ...string) string {
	t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// IP runs ip(8) in the namespace.
func (n *Namespace) IP(args ...string) string {
	n.t.Helper()
	return Run(n.t, "ip", append([]string{"-n", n.Name}, args...)...)
}

// TC runs tc(8) in the namespace.
func (n *Namespace) TC(args ...string) string {
	n.t.Helper()
	return Run(n.t, "tc", append([]string{"-n", n.Name}, args...)...)
}

// Command prepares a command that runs in the namespace.
func (n *Namespace) Command(command string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.Name, command}, args...)...)
}

// Write sets a parameter of the namespace's kernel (/proc/sys), where there is one.
func (n *Namespace) Write(parameter, value string) {
	n.t.Helper()
	err := n.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys", parameter), []byte(value), 0) })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatalf("set %s in namespace %s: %v", parameter, n.Name, err)
	}
}

// Do calls do on a thread that is in the namespace: sockets that it opens on its own goroutine are there, for as long as
// they live.
func (n *Namespace) Do(do func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread ends with the goroutine, which never unlocks it: it is of no use to others.
		runtime.LockOSThread()
		done <- n.enter(do)
	}()
	return <-done
}

// DoOnEach calls do as Do does, once on each processor that this process may use, by its number. What is sent through a
// virtual cable waits in a queue of the processor that sends it, and one that is held up gives its queue on later than the
// others do: behind a packet from each of them there is nothing left.
func (n *Namespace) DoOnEach(do func(processor int) error) error {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("ask for this process's processors: %w", err)
	}
	for i, left := 0, all.Count(); left > 0; i++ {
		if !all.IsSet(i) {
			continue
		}
		left--
		err := n.Do(func() error {
			var one unix.CPUSet
			one.Set(i)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return fmt.Errorf("run on processor %d: %w", i, err)
			}
			return do(i)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Namespace) enter(do func() error) error {
	f, err := os.Open(filepath.Join("/run/netns", n.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", n.Name, err)
	}
	return do()
}

// Lost gives how many packets an interface could not take in or hand over.
func (n *Namespace) Lost(name string) uint64 {
	n.t.Helper()
	s := n.statistics(name)
	return s.RX.Dropped + s.TX.Dropped
}

// Arrived gives how many packets an interface took in.
func (n *Namespace) Arrived(name string) uint64 {
	n.t.Helper()
	return n.statistics(name).RX.Packets
}

// Sent gives how many packets an interface sent.
func (n *Namespace) Sent(name string) uint64 {
	n.t.Helper()
	return n.statistics(name).TX.Packets
}

// statistics are the counts of an interface, as ip(8) tells them.
type statistics struct {
	RX, TX struct{ Packets, Dropped uint64 }
}

func (n *Namespace) statistics(name string) statistics {
	n.t.Helper()
	var links []struct {
		Stats statistics `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(n.IP("-j", "-s", "link", "show", "dev", name)), &links); err != nil || len(links) != 1 {
		n.t.Fatalf("read the statistics of %s: %v, %d interfaces", name, err, len(links))
	}
	return links[0].Stats
}

// Link makes a pair of interfaces, one in each namespace, that are the two ends of a cable, and sets both up.
func Link(a *Namespace, nameA string, b *Namespace, nameB string, mtu int) {
	a.t.Helper()
	size := fmt.Sprint(mtu)
	a.IP("link", "add", nameA, "mtu", size, "type", "veth", "peer", "name", nameB, "mtu", size, "netns", b.Name)
	a.IP("link", "set", nameA, "up")
	b.IP("link", "set", nameB, "up")
	a.Ready(nameA)
	b.Ready(nameB)
}

// Cable makes two namespaces and a cable between them: its end in near is m0, in far m1.
func Cable(t testing.TB, mtu int) (near, far *Namespace) {
	t.Helper()
	near, far = New(t, "near"), New(t, "far")
	Link(near, "m0", far, "m1", mtu)
	return near, far
}

// Ready returns when an interface sends what it is given. One whose carrier has just come drops everything in silence for
// a while: the kernel looks after carriers later.
func (n *Namespace) Ready(name string) {
	n.t.Helper()
	const looks = 2000 // of some milliseconds each
	var links []struct{ Qdisc, Operstate string }
	for range looks {
		if err := json.Unmarshal([]byte(n.IP("-j", "link", "show", "dev", name)), &links); err != nil || len(links) != 1 {
			n.t.Fatalf("look at %s: %v, %d interfaces", name, err, len(links))
		}
		if links[0].Qdisc != "noop" && links[0].Operstate == "UP" {
			return
		}
	}
	n.t.Fatalf("%s does not become ready: %+v", name, links[0])
}
