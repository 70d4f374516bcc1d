package trace

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// PartName names the files that a recording goes on in: the first is as it is, capture.pcapng, the second is
// capture-0002.pcapng. Their order is that of their numbers.
func PartName(first string, number int) string {
	if number < 2 {
		return first
	}
	ending := filepath.Ext(first)
	return fmt.Sprintf("%s-%04d%s", strings.TrimSuffix(first, ending), number, ending)
}

// Parts gives the files of a recording in their order, from its first: at least that one, whether or not it is there. A
// part that is missing between others is an error: what it held can't be told.
func Parts(first string) ([]string, error) {
	name := filepath.Base(first)
	entries, err := os.ReadDir(filepath.Dir(first))
	if err != nil {
		return []string{first}, nil // opening it tells what is wrong
	}
	numbers := []int{1}
	for _, e := range entries {
		if n, ok := partNumber(name, e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	missing := func(number, there int) error {
		return fmt.Errorf("%s is missing, and %s is there: put it back; without it nobody can tell what it held",
			PartName(first, number), PartName(name, there))
	}
	files := make([]string, len(numbers))
	for i, n := range numbers {
		if n != i+1 {
			return nil, missing(i+1, n)
		}
		files[i] = PartName(first, n)
	}
	if _, err := os.Stat(first); errors.Is(err, fs.ErrNotExist) && len(files) > 1 {
		return nil, missing(1, 2)
	}
	return files, nil
}

// FilesOf gives the files that a capture consists of: the parts of the recording that begins with it, and of every other
// capture itself, whatever files beside it are called.
func FilesOf(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if in, err := pcap.NewReader(f); err != nil || !in.Recording() {
		return []string{file}, nil // what is wrong with it is told when it is read
	}
	return Parts(file)
}

// partNumber gives the number that a file has among the parts of a recording, from 2.
func partNumber(first, name string) (int, bool) {
	ending := filepath.Ext(first)
	digits, ok := strings.CutPrefix(name, strings.TrimSuffix(first, ending)+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(digits, ending))
	return n, err == nil && n > 1 && PartName(first, n) == name
}

// ReadFiles analyses a recording's files, in their order, as the one capture that they are. Name is for messages and
// Capture.File; a single file gives what Read gives. A part that ends early is read as far as it goes, and so are those
// behind it.
func ReadFiles(files []string, name string, o Options) (*Capture, error) {
	if taps := tapsOfFile(files[0]); taps != nil {
		return readTaps(filesOpeners(files), name, taps, o)
	}
	a := newAnalysis(name, o)
	err := a.readFiles(files)
	a.end()
	if err != nil {
		return nil, err
	}
	return a.finish()
}

// tapsOfFile gives the taps that a recording's first file names; what is wrong with it is told when it is read.
func tapsOfFile(file string) []TapPlace {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	in, err := pcap.NewReader(f)
	if err != nil {
		return nil
	}
	return declaredTaps(in)
}

func (a *analysis) readFiles(files []string) error {
	for i, file := range files {
		if len(files) > 1 {
			a.file = filepath.Base(file) + ": "
		}
		if err := a.readFile(file, i > 0); err != nil {
			return fmt.Errorf("read capture %s: %w", cmp.Or(strings.TrimSuffix(a.file, ": "), a.out.File), err)
		}
	}
	return nil
}

// readFile reads one file. One that goes on from another may have been cut before its first byte.
func (a *analysis) readFile(file string, goesOn bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := pcap.NewReader(f)
	if info, e := f.Stat(); goesOn && errors.Is(err, pcap.ErrFormat) && e == nil && info.Size() < shortestFile {
		a.out.Cut, a.unfinished = true, true
		return nil
	}
	if err != nil {
		return err
	}
	return a.readAll(in)
}

// shortestFile is the size of a section header without options: a shorter file has no packet.
const shortestFile = 28
