package report

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// The parts of pcapng (draft-ietf-opsawg-pcapng, sections 3.5, 4.1, 4.3) that a comment on a packet touches.
const (
	blockSection    = 0x0a0d0d0a
	blockEnhanced   = 6
	sectionMagic    = 0x1a2b3c4d
	optionEnd       = 0
	optionComment   = 1
	enhancedFixed   = 20 // interface, time, captured and original length
	annotatedAtMost = 16 << 20
)

// maxComment keeps a comment readable in a packet list.
const maxComment = 1000

// Comments gives what the findings say of each packet, by frame number.
func Comments(findings []verdict.Finding) map[uint64][]string {
	out := map[uint64][]string{}
	for i := range findings {
		f := &findings[i]
		if f.Verdict == verdict.Pass {
			continue
		}
		for _, w := range f.Witnesses {
			if w.Number == 0 {
				continue
			}
			text := Safe(sign(f.Verdict) + " " + claimLine(f) + ": " + joined("; ", f.Reason, w.Note))
			if len(text) > maxComment {
				text = string([]rune(text)[:maxComment/4]) + "…"
			}
			out[w.Number] = append(out[w.Number], text)
		}
	}
	return out
}

// Annotate puts comments on packets of a capture that a run wrote, by frame number. Nothing else of the file changes,
// so that it is analysed as before; the new file takes the old one's place in one step.
func Annotate(file string, comments map[uint64][]string) error {
	if len(comments) == 0 {
		return nil
	}
	in, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("annotate capture: %w", err)
	}
	defer in.Close()
	return replace(file, func(out io.Writer) error {
		if err := annotate(bufio.NewReaderSize(in, 256<<10), out, comments); err != nil {
			return fmt.Errorf("annotate %s: %w", file, err)
		}
		return nil
	})
}

// annotate copies a little-endian pcapng stream block by block.
func annotate(in io.Reader, out io.Writer, comments map[uint64][]string) error {
	var frame uint64
	var block []byte
	for {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		kind, length := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
		if length < 12 || length%4 != 0 || length > annotatedAtMost {
			return fmt.Errorf("block %#x of %d bytes: not a capture that a run wrote", kind, length)
		}
		if cap(block) < int(length) {
			block = make([]byte, length)
		}
		block = block[:length]
		copy(block, head[:])
		if _, err := io.ReadFull(in, block[8:]); err != nil {
			return err
		}
		if kind == blockSection && binary.LittleEndian.Uint32(block[8:]) != sectionMagic {
			return errors.New("a big-endian section: not a capture that a run wrote")
		}
		written := block
		if kind == blockEnhanced {
			frame++
			if c := comments[frame]; len(c) > 0 {
				var err error
				if written, err = commented(block, c); err != nil {
					return fmt.Errorf("frame %d: %w", frame, err)
				}
			}
		}
		if _, err := out.Write(written); err != nil {
			return err
		}
	}
}

// commented gives an enhanced packet block with comments put before the options that it has.
func commented(block []byte, comments []string) ([]byte, error) {
	const fixed = 8 + enhancedFixed
	end := len(block) - 4
	if end < fixed {
		return nil, errors.New("packet block too short")
	}
	captured := int(binary.LittleEndian.Uint32(block[8+12:]))
	options := fixed + (captured+3)&^3
	if captured < 0 || options > end {
		return nil, errors.New("packet longer than its block")
	}
	out := append([]byte(nil), block[:options]...)
	for _, c := range comments {
		out = binary.LittleEndian.AppendUint16(out, optionComment)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(c)))
		out = append(out, c...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	if options == end {
		out = binary.LittleEndian.AppendUint32(out, optionEnd)
	}
	out = append(out, block[options:end]...)
	length := uint32(len(out) + 4)
	out = binary.LittleEndian.AppendUint32(out, length)
	binary.LittleEndian.PutUint32(out[4:], length)
	return out, nil
}

// replace writes a file beside the one that it is to take the place of, and takes it.
func replace(file string, write func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	out := bufio.NewWriterSize(tmp, 256<<10)
	if err := write(out); err != nil {
		return err
	}
	if err := errors.Join(out.Flush(), tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
