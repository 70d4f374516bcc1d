package pcap

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the history that a zstd file can ask for; 32 MiB is what `zstd --ultra -20` needs.
const maxWindow = 32 << 20

// Reader reads the records of one capture in their order. It is not safe for concurrent use.
type Reader struct {
	src         source
	classic     classic
	ng          *sections // nil for pcap
	compression string
	number      uint64
	cut         bool
	err         error // that Next keeps giving
}

// NewReader looks at the first bytes of in, which may be a live pipe, and takes off gzip or zstd. An input that is no
// capture gives an error that wraps ErrFormat and names what was found.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{src: newSource(in)}
	if err := r.decompress(); err != nil {
		return nil, err
	}
	r.src.need(4)
	head := r.src.rest()
	if isNG(head) {
		r.ng = &sections{}
		if err := r.section(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return r, nil
	}
	if err := r.openClassic(head); err != nil {
		return nil, err
	}
	return r, nil
}

// decompress replaces the source by what is inside it, where its first bytes say gzip or zstd.
func (r *Reader) decompress() error {
	r.src.need(4)
	compressed := r.src
	switch r.compression = compression(r.src.rest()); r.compression {
	case "gzip":
		z, err := gzip.NewReader(&compressed)
		if err != nil {
			return fmt.Errorf("%w: gzip header: %w", ErrFormat, err)
		}
		r.src = newSource(z)
	case "zstd":
		// One worker means none besides the caller, so that there is nothing to close.
		z, err := zstd.NewReader(&compressed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("%w: zstd header: %w", ErrFormat, err)
		}
		r.src = newSource(z)
	}
	return nil
}

// Format gives "pcap" or "pcapng".
func (r *Reader) Format() string {
	if r.ng != nil {
		return "pcapng"
	}
	return "pcap"
}

// Compression gives "gzip", "zstd" or "".
func (r *Reader) Compression() string { return r.compression }

// Cut says whether the file ended inside a record, or is a Recording that was not written to its end. It is settled once
// Next has given io.EOF.
func (r *Reader) Cut() bool { return r.cut || r.Unfinished() }

// Recording says that the file, or the section of it that is being read, is a Recording.
func (r *Reader) Recording() bool { return r.ng != nil && r.ng.recording }

// Unfinished says that the file is a Recording whose writer has not completed it: it was killed, or still writes.
func (r *Reader) Unfinished() bool { return r.ng != nil && r.ng.unfinished }

// Drops gives the packets that were lost before they could be recorded, as far as the file has said so up to now.
// Where an interface's statistics and its packets' own counts both speak, the larger counts.
func (r *Reader) Drops() uint64 {
	if r.ng == nil {
		return 0
	}
	return r.ng.past + r.ng.drops()
}

// DropsOf is Drops of the interfaces with a name alone.
func (r *Reader) DropsOf(name string) uint64 {
	if r.ng == nil {
		return 0
	}
	sum := r.ng.lost[name]
	for i := range r.ng.interfaces {
		if r.ng.interfaces[i].name == name {
			sum += r.ng.interfaces[i].drops()
		}
	}
	return sum
}

// Spans gives what the interfaces' statistics have said of stretches of time up to now, of the first thousand.
func (r *Reader) Spans() []Span {
	if r.ng == nil {
		return nil
	}
	return r.ng.spans
}

// Comment gives the comment of the file's first section header, "" where there is none.
func (r *Reader) Comment() string {
	if r.ng == nil {
		return ""
	}
	return r.ng.comment
}

// InterfaceName gives the name of an interface of the section being read, by Record.Interface; "" where it has none.
func (r *Reader) InterfaceName(number int) string {
	if r.ng == nil || number < r.ng.base || number-r.ng.base >= len(r.ng.interfaces) {
		return ""
	}
	return r.ng.interfaces[number-r.ng.base].name
}

// Comments gives the comments of the record that Next gave last.
func (r *Reader) Comments() []string {
	if r.ng == nil {
		return nil
	}
	return r.ng.comments()
}

// Next gives the next record as soon as it is whole, and waits for nothing behind it. Its data is valid until the call
// after. At the end it gives io.EOF, also where the file was cut (see Cut); an error that wraps ErrDamaged where the file
// contradicts itself, after all records before that place; and any error of the input. An error stays.
func (r *Reader) Next() (Record, error) {
	var rec Record
	if err := r.Read(&rec); err != nil {
		return Record{}, err
	}
	return rec, nil
}

// Read is Next into a Record that the caller keeps, all of whose fields it sets: for loops over millions, where carrying
// a Record back costs as much as reading it. After an error the record holds nothing.
func (r *Reader) Read(rec *Record) error {
	if r.err != nil {
		return r.err
	}
	if r.ng != nil {
		return r.readNG(rec)
	}
	return r.readClassic(rec)
}

// end stops at the end of the input.
func (r *Reader) end() error {
	if r.err == nil {
		cut, err := r.src.ended()
		r.cut = r.cut || cut
		r.err = err
	}
	return r.err
}

// damage stops at a contradiction.
func (r *Reader) damage(format string, args ...any) error {
	r.err = fmt.Errorf("%w after record %d: %s", ErrDamaged, r.number, fmt.Sprintf(format, args...))
	return r.err
}
