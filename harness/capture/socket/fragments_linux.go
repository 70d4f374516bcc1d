package socket

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
)

// fragments tells of the datagrams whose fragments the kernel could not put together, or not yet: none of them comes out of
// a socket, and no counter of the socket's knows of them. The kernel counts them for all of a network namespace. What it
// waits for it gives up after half a minute (net.ipv4.ipfrag_time).
type fragments struct {
	files [len(fragmentCounts)]*os.File // of the namespace of the thread that opened them, whoever reads them
	began uint64
}

// fragmentCounts are where the counts are: given up and waited for, IPv4 and IPv6.
var fragmentCounts = [...]struct {
	file  string
	count func(text []byte) (uint64, bool)
}{
	{"snmp", func(text []byte) (uint64, bool) { return column(text, "Ip:", "ReasmFails") }},
	{"sockstat", func(text []byte) (uint64, bool) { return after(text, "FRAG:", "inuse") }},
	{"snmp6", func(text []byte) (uint64, bool) { return after(text, "Ip6ReasmFails") }},
	{"sockstat6", func(text []byte) (uint64, bool) { return after(text, "FRAG6:", "inuse") }},
}

// openFragments begins to count. A count that this kernel has not is left out.
func openFragments() *fragments {
	f := &fragments{}
	for i, c := range fragmentCounts {
		f.files[i], _ = os.Open("/proc/thread-self/net/" + c.file) // nil where it is not there
	}
	f.began = f.sum(0, 2)
	return f
}

// torn is how many datagrams were given up since the beginning, and how many are waited for.
func (f *fragments) torn() uint64 { return f.sum(0, 2) - min(f.began, f.sum(0, 2)) + f.sum(1, 3) }

// sum adds some of the counts up.
func (f *fragments) sum(which ...int) (sum uint64) {
	for _, i := range which {
		if f.files[i] == nil {
			continue
		}
		if _, err := f.files[i].Seek(0, io.SeekStart); err != nil {
			continue
		}
		text, err := io.ReadAll(f.files[i])
		if err != nil {
			continue
		}
		if n, ok := fragmentCounts[i].count(text); ok {
			sum += n
		}
	}
	return sum
}

func (f *fragments) close() {
	for _, file := range f.files {
		if file != nil {
			_ = file.Close() // it was read only
		}
	}
}

// column gives a value of a pair of lines that begin alike: names, and below them values (/proc/net/snmp).
func column(text []byte, line, name string) (uint64, bool) {
	var names [][]byte
	for row := range bytes.Lines(text) {
		fields := bytes.Fields(row)
		if len(fields) == 0 || string(fields[0]) != line {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if string(n) == name && i < len(fields) {
				return number(fields[i])
			}
		}
	}
	return 0, false
}

// after gives the value that follows some words at the beginning of a line.
func after(text []byte, words ...string) (uint64, bool) {
	for row := range bytes.Lines(text) {
		fields := bytes.Fields(row)
		if len(fields) <= len(words) {
			continue
		}
		same := true
		for i, w := range words {
			same = same && string(fields[i]) == w
		}
		if same {
			return number(fields[len(words)])
		}
	}
	return 0, false
}

func number(digits []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, err == nil
}

// uncounted says why not all losses are counted: here only those of fragments are not.
func uncounted(torn uint64) string {
	if torn == 0 {
		return ""
	}
	return fmt.Sprintf("fragments of datagrams to this host did not come (of %d, ReasmFails in /proc/net/snmp): whether they were the mirror's is not known; a larger MTU on its way avoids fragments", torn)
}
