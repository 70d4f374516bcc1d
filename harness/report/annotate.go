package report

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
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

// Annotate puts comments on packets of a recording that a run wrote, by frame number over all its parts. Nothing else of a
// file changes, so that it is analysed as before; the new file takes the old one's place in one step. Parts without a
// commented packet are left alone.
func Annotate(file string, comments map[uint64][]string) error {
	if len(comments) == 0 {
		return nil
	}
	files, err := trace.Parts(file)
	if err != nil {
		return fmt.Errorf("annotate capture: %w", err)
	}
	a := annotation{comments: comments}
	for number := range comments {
		a.last = max(a.last, number)
	}
	for _, part := range files {
		if a.frame >= a.last {
			break
		}
		if err := a.part(part); err != nil {
			return fmt.Errorf("annotate %s: %w", part, err)
		}
	}
	return nil
}

// annotation is what is put on the packets of a recording, part by part.
type annotation struct {
	comments map[uint64][]string
	last     uint64 // the highest number of a frame with a comment
	frame    uint64 // frames of the parts so far
	grown    int64  // bytes by which the part at hand becomes longer
}

// part annotates one file. It is walked through once without writing: its header tells how long it will be.
func (a *annotation) part(file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	before := a.frame
	a.grown = 0
	if err := a.copy(bufio.NewReaderSize(in, 256<<10), io.Discard); err != nil || a.grown == 0 {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	a.frame = before
	return replace(file, func(out io.Writer) error { return a.copy(bufio.NewReaderSize(in, 256<<10), out) })
}

// copy copies a little-endian pcapng file of one section block by block, and sums up by how much it grows.
func (a *annotation) copy(in io.Reader, out io.Writer) error {
	var grown int64
	var block []byte
	for {
		var err error
		if block, err = readBlock(in, block); errors.Is(err, io.EOF) {
			a.grown = grown
			return nil
		}
		if err != nil {
			return err
		}
		written := block
		switch binary.LittleEndian.Uint32(block) {
		case blockSection:
			if err := a.lengthen(block); err != nil {
				return err
			}
		case blockEnhanced:
			a.frame++
			if c := a.comments[a.frame]; len(c) > 0 {
				if written, err = commented(block, c); err != nil {
					return fmt.Errorf("frame %d: %w", a.frame, err)
				}
				grown += int64(len(written) - len(block))
			}
		}
		if _, err := out.Write(written); err != nil {
			return err
		}
	}
}

// readBlock reads the next block into a buffer that may be used again; io.EOF at the end of the file.
func readBlock(in io.Reader, block []byte) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return block, err
	}
	kind, length := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if length < 12 || length%4 != 0 || length > annotatedAtMost {
		return block, fmt.Errorf("block %#x of %d bytes: not a capture that a run wrote", kind, length)
	}
	if cap(block) < int(length) {
		block = make([]byte, length)
	}
	block = block[:length]
	copy(block, head[:])
	if _, err := io.ReadFull(in, block[8:]); err != nil {
		return block, fmt.Errorf("block %#x is cut: %w", kind, io.ErrUnexpectedEOF)
	}
	return block, nil
}

// lengthen puts the length that the section will have into its header, where that tells one (section 4.1).
func (a *annotation) lengthen(block []byte) error {
	if len(block) < pcap.LengthAt+12 || binary.LittleEndian.Uint32(block[8:]) != sectionMagic {
		return errors.New("a big-endian section: not a capture that a run wrote")
	}
	if length := int64(binary.LittleEndian.Uint64(block[pcap.LengthAt:])); length >= 0 {
		copy(block[pcap.LengthAt:], pcap.SectionLength(length+a.grown))
	}
	return nil
}

// commented gives an enhanced packet block with comments put before the options that it has.
func commented(block []byte, comments []string) ([]byte, error) {
	const fixed = 8 + enhancedFixed
	end := len(block) - 4
	if end < fixed {
		return nil, errors.New("packet block too short")
	}
	padded := (int64(binary.LittleEndian.Uint32(block[8+12:])) + 3) &^ 3
	if padded > int64(end-fixed) {
		return nil, errors.New("packet longer than its block")
	}
	options := fixed + int(padded)
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
