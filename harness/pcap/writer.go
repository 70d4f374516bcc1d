package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// Section says what wrote a capture, for its section header. Empty texts are left out.
type Section struct {
	Hardware, OS, Application string
	Comment                   string
}

// Recording is the Section.Application of captures that tell when they are complete: their writer sets the section's
// length (at LengthAt) when it has written the last block. One whose length is not known was not written to its end,
// and Reader.Cut says so. Other tools that write such a capture anew put their own name there.
const Recording = "tollgate recording"

// LengthAt is where in a section its header has the section's length, as SectionLength writes it.
const LengthAt = 16

// SectionLength gives the eight bytes that stand at LengthAt in a section whose header is followed by so many bytes
// (section 4.1 of the pcapng draft).
func SectionLength(following int64) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(following))
}

// Interface is where packets of a capture come from.
type Interface struct {
	Name    string // "tap0"; left out where empty
	Comment string
	Link    LinkType
	SnapLen uint32 // bytes that were captured of a frame at most, 0 for no limit
}

// Stats are an interface's counts from its beginning.
type Stats struct {
	Time     int64  // of the counts, nanoseconds since the Unix epoch
	Received uint64 // packets received, the dropped ones included
	Dropped  uint64 // packets lost for lack of room
}

// Span is a stretch of an interface's time of which its statistics say something (isb_starttime, isb_endtime, opt_comment).
type Span struct {
	Interface string // its name; WriteSpan takes the interface's number instead
	From, To  int64  // nanoseconds since the Unix epoch
	Comment   string
}

// Writer writes a pcapng capture of one section, little-endian, its times in nanoseconds. That of NewWriter is buffered;
// Flush after a record makes it readable at the other end of a pipe. An error of the output stays there. A Writer is not
// safe for concurrent use.
type Writer struct {
	out        io.Writer
	buffer     *bufio.Writer // nil where every block is written at once
	interfaces int
	block      []byte
}

// NewWriter writes a section header and the interfaces, numbered from 0; more can be added later.
func NewWriter(out io.Writer, section Section, interfaces ...Interface) (*Writer, error) {
	buffer := bufio.NewWriterSize(out, readSize)
	return begin(&Writer{out: buffer, buffer: buffer}, section, interfaces)
}

// NewBlockWriter is NewWriter for an output that has its own buffer: each block is one call of out.Write, the first one
// the section header.
func NewBlockWriter(out io.Writer, section Section, interfaces ...Interface) (*Writer, error) {
	return begin(&Writer{out: out}, section, interfaces)
}

func begin(w *Writer, section Section, interfaces []Interface) (*Writer, error) {
	w.begin(blockSection)
	w.uint32(byteOrderMagic)
	w.uint16(1)
	w.uint16(0)
	w.uint64(notKnown)
	w.text(optComment, section.Comment)
	w.text(optHardware, section.Hardware)
	w.text(optOS, section.OS)
	w.text(optApplication, section.Application)
	if err := w.end(); err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		if _, err := w.AddInterface(i); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// AddInterface writes an interface description and gives the interface's number.
func (w *Writer) AddInterface(i Interface) (int, error) {
	w.begin(blockInterface)
	w.uint16(uint16(i.Link))
	w.uint16(0)
	w.uint32(i.SnapLen)
	w.text(optComment, i.Comment)
	w.text(optName, i.Name)
	w.option(optResolution, []byte{9})
	if err := w.end(); err != nil {
		return 0, err
	}
	w.interfaces++
	return w.interfaces - 1, nil
}

// Write writes a record of the interface that rec.Interface numbers: its time, data, length and drops, and comments,
// each cut at the 65,535 bytes that the format can hold, and only so many as a reader believes a block to have (six of that length at least). rec.Number and rec.Link are not written. Times before 1970 can't be written.
func (w *Writer) Write(rec Record, comments ...string) error {
	switch {
	case rec.Interface < 0 || rec.Interface >= w.interfaces:
		return fmt.Errorf("write record: interface %d of %d: add it first", rec.Interface, w.interfaces)
	case len(rec.Data) > MaxRecord:
		return fmt.Errorf("write record: %d bytes, and at most %d can be read again", len(rec.Data), MaxRecord)
	case rec.Time < 0:
		return fmt.Errorf("write record: time %d is before 1970", rec.Time)
	}
	w.begin(blockEnhanced)
	w.uint32(uint32(rec.Interface))
	w.time(rec.Time)
	w.uint32(uint32(len(rec.Data)))
	w.uint32(uint32(max(rec.Length, len(rec.Data))))
	w.padded(rec.Data)
	for _, c := range comments {
		if len(w.block)+len(c) > maxBlock-64<<10-64 {
			break // what a reader would refuse as a damaged block
		}
		w.text(optComment, c)
	}
	if rec.Drops > 0 {
		w.number(optDropCount, rec.Drops)
	}
	return w.end()
}

// WriteStats writes the counts of an interface. A later one replaces those before.
func (w *Writer) WriteStats(number int, s Stats) error {
	if err := w.beginStats(number, s.Time); err != nil {
		return err
	}
	w.number(optIfRecv, s.Received)
	w.number(optIfDrop, s.Dropped)
	return w.end()
}

// WriteSpan writes what there is to say of a stretch of an interface's time, as statistics without counts.
func (w *Writer) WriteSpan(number int, s Span) error {
	if err := w.beginStats(number, s.To); err != nil {
		return err
	}
	w.text(optComment, s.Comment)
	w.moment(optFrom, s.From)
	w.moment(optTo, s.To)
	return w.end()
}

// beginStats starts an interface's statistics, which are of a time.
func (w *Writer) beginStats(number int, at int64) error {
	if number < 0 || number >= w.interfaces {
		return fmt.Errorf("write statistics: interface %d of %d: add it first", number, w.interfaces)
	}
	w.begin(blockStats)
	w.uint32(uint32(number))
	w.time(max(at, 0))
	return nil
}

// Flush hands everything written to the output.
func (w *Writer) Flush() error {
	if w.buffer == nil {
		return nil
	}
	if err := w.buffer.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// begin starts a block; its length is filled in by end.
func (w *Writer) begin(kind uint32) {
	w.block = w.block[:0]
	w.uint32(kind)
	w.uint32(0)
}

// end closes the options, where there are any, and the block, and writes it.
func (w *Writer) end() error {
	w.uint32(optEnd)
	length := uint32(len(w.block) + 4)
	w.uint32(length)
	binary.LittleEndian.PutUint32(w.block[4:], length)
	if _, err := w.out.Write(w.block); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

func (w *Writer) uint16(v uint16) { w.block = binary.LittleEndian.AppendUint16(w.block, v) }
func (w *Writer) uint32(v uint32) { w.block = binary.LittleEndian.AppendUint32(w.block, v) }
func (w *Writer) uint64(v uint64) { w.block = binary.LittleEndian.AppendUint64(w.block, v) }

// time writes a timestamp, whose upper half comes first in either byte order.
func (w *Writer) time(t int64) {
	w.uint32(uint32(t >> 32))
	w.uint32(uint32(t))
}

func (w *Writer) padded(b []byte) {
	w.block = append(w.block, b...)
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

func (w *Writer) option(code uint16, value []byte) {
	w.uint16(code)
	w.uint16(uint16(len(value)))
	w.padded(value)
}

// moment writes a timestamp as an option.
func (w *Writer) moment(code uint16, t int64) {
	w.uint16(code)
	w.uint16(8)
	w.time(max(t, 0))
}

func (w *Writer) number(code uint16, v uint64) {
	w.option(code, binary.LittleEndian.AppendUint64(nil, v))
}

// text writes a text, cut at a whole character where an option can't hold it, and nothing for an empty one.
func (w *Writer) text(code uint16, s string) {
	if len(s) > 0xffff {
		cut := 0xffff
		for cut > 0xffff-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	if s != "" {
		w.option(code, []byte(s))
	}
}
