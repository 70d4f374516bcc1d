package recording

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// part is one file of a recording while it is being written.
type part struct {
	file   File
	writer *pcap.Writer // into buffer
	header int64        // bytes of the section header
	known  int          // interfaces that are described in it
	frames uint64
	since  map[string]Counts // what the taps had counted when it began

	size   int64    // bytes in the file: whole blocks
	buffer []byte   // blocks not yet in the file
	queue  []queued // frames, interfaces and spans in the buffer
	torn   bool     // the file ends inside a block that could not be taken back
	wrote  bool     // frames have reached the file since it was last looked at
}

// queued is a frame, or what is said of an interface, that waits in the buffer.
type queued struct {
	from, to int // its block in the buffer
	origin   int
	frame    bool
	time     int64
	carries  losses // the frame itself, and those before it that it tells of
}

// newPart makes a file with its header.
func newPart(name string, o Options) (*part, error) {
	file, err := o.Create(name)
	if err != nil {
		return nil, err
	}
	p := &part{file: file}
	section := pcap.Section{Application: pcap.Recording, Comment: o.Comment}
	if _, is := file.(*stream); is {
		section.Application = "tollgate" // nobody can go back and complete its header
	}
	if p.writer, err = pcap.NewBlockWriter(p, section); err == nil {
		p.header = int64(len(p.buffer))
		_, err = p.flush()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return p, nil
}

// Write puts a block of the writer's into the buffer.
func (p *part) Write(block []byte) (int, error) {
	p.buffer = append(p.buffer, block...)
	return len(block), nil
}

func (p *part) length() int64 { return p.size + int64(len(p.buffer)) }

// add puts a frame into the buffer, and before it the interfaces that the file does not know.
func (p *part) add(all []*origin, rec pcap.Record, comments []string, carries losses) error {
	p.describe(all[:rec.Interface+1])
	from := len(p.buffer)
	if err := p.writer.Write(rec, comments...); err != nil {
		return err
	}
	p.queue = append(p.queue, queued{from: from, to: len(p.buffer), origin: rec.Interface, frame: true, time: rec.Time, carries: carries})
	p.frames++
	return nil
}

// describe puts into the buffer those interfaces that the file does not know.
func (p *part) describe(all []*origin) {
	for ; p.known < len(all); p.known++ {
		o, from := all[p.known], len(p.buffer)
		if _, err := p.writer.AddInterface(pcap.Interface{Name: o.tap, Link: o.link}); err != nil {
			panic("recording: " + err.Error()) // the buffer takes everything
		}
		p.queue = append(p.queue, queued{from: from, to: len(p.buffer), origin: p.known})
	}
}

// stats puts counts into the buffer.
func (p *part) stats(number int, s pcap.Stats) {
	if err := p.writer.WriteStats(number, s); err != nil {
		panic("recording: " + err.Error()) // the buffer takes everything, and the interface is known
	}
}

// span puts what there is to say of a span into the buffer.
func (p *part) span(number int, s pcap.Span) {
	from := len(p.buffer)
	if err := p.writer.WriteSpan(number, s); err != nil {
		panic("recording: " + err.Error()) // as above
	}
	p.queue = append(p.queue, queued{from: from, to: len(p.buffer), origin: number})
}

// flush writes the buffer into the file. Where that fails, the blocks that are whole stay in it, the frames that are not
// there are given back, and what is said of interfaces waits for the next time.
func (p *part) flush() (unwritten []queued, err error) {
	if len(p.buffer) == 0 {
		return nil, nil
	}
	n, err := p.file.WriteAt(p.buffer, p.size)
	if err != nil {
		unwritten = p.takeBack(n)
	} else {
		p.size += int64(len(p.buffer))
		p.wrote = p.wrote || slices.ContainsFunc(p.queue, func(q queued) bool { return q.frame })
		p.buffer, p.queue = p.buffer[:0], p.queue[:0]
	}
	return unwritten, err
}

// takeBack makes the file end behind the last block that is whole, n bytes of the buffer having reached it.
func (p *part) takeBack(n int) (unwritten []queued) {
	var whole int
	var rest []byte
	var again []queued
	for _, q := range p.queue {
		switch {
		case q.to <= n:
			whole = q.to
		case q.frame:
			unwritten = append(unwritten, q)
			p.frames--
		default:
			from := len(rest)
			rest = append(rest, p.buffer[q.from:q.to]...)
			again = append(again, queued{from: from, to: len(rest), origin: q.origin})
		}
	}
	// Whatever n says: os.File.WriteAt leaves out what a write got done before it failed.
	if p.file.Truncate(p.size+int64(whole)) != nil {
		p.torn = true
	}
	p.size += int64(whole)
	p.buffer, p.queue = append(p.buffer[:0], rest...), append(p.queue[:0], again...)
	return unwritten
}

// complete writes the section's length into its header: only a part that has it was written to its end.
func (p *part) complete() error {
	if _, is := p.file.(*stream); is {
		return nil
	}
	if _, err := p.file.WriteAt(pcap.SectionLength(p.size-p.header), pcap.LengthAt); err != nil {
		return fmt.Errorf("complete recording: %w", err)
	}
	return nil
}
