package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// compression names the compression that the first bytes announce, "" for none (RFC 1952, 2.3.1; RFC 8878, 3.1.1).
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippable(head):
		return "zstd"
	}
	return ""
}

// isSkippable recognises a zstd skippable frame (RFC 8878, 3.1.2), with which parallel compressors begin.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && binary.LittleEndian.Uint32(head)&^0xf == 0x184d2a50
}

// known are files that people hand over instead of a capture, by their first bytes.
var known = []struct{ magic, name, remedy string }{
	{"snoop\x00\x00\x00", "a snoop file", "convert it: editcap -F pcapng IN OUT"},
	{"GMBU", "a Microsoft Network Monitor 2 file", "convert it: editcap -F pcapng IN OUT"},
	{"RTSS", "a Microsoft Network Monitor 1 file", "convert it: editcap -F pcapng IN OUT"},
	{"TRSNIFF data    \x1a", "a Sniffer file", "convert it: editcap -F pcapng IN OUT"},
	{"\x1f\x8b", "a gzip file", "unpack it"},
	{"\x28\xb5\x2f\xfd", "a zstd file", "unpack it"},
	{"BZh", "a bzip2 file", "unpack it: bzip2 -dc FILE | tollgate inspect -"},
	{"\xfd7zXZ\x00", "an xz file", "unpack it: xz -dc FILE | tollgate inspect -"},
	{"\x04\x22\x4d\x18", "an lz4 file", "unpack it: lz4 -dc FILE | tollgate inspect -"},
	{"PK\x03\x04", "a zip archive", "unpack it"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"},
	{"\x7fELF", "a program (ELF)", ""},
	{"%PDF", "a PDF document", ""},
	{"\x89PNG", "a picture (PNG)", ""},
	{"<!DOCTYPE html", "an HTML page", "a download may have needed a login"},
	{"<html", "an HTML page", "a download may have needed a login"},
}

// notCapture explains what was found instead of a capture.
func notCapture(s *source, inside string) error {
	head := s.rest() // what the first read gave: a pipe that carries something else may never give more
	if s.err != nil && !errors.Is(s.err, io.EOF) && !errors.Is(s.err, io.ErrUnexpectedEOF) {
		return s.failure()
	}
	name, remedy := describe(head)
	if inside != "" {
		name += " inside " + inside
	}
	if remedy != "" {
		remedy = "; " + remedy
	}
	return fmt.Errorf("%w: found %s%s", ErrFormat, name, remedy)
}

func describe(head []byte) (name, remedy string) {
	if len(head) == 0 {
		return "nothing", "was anything captured?"
	}
	for _, k := range known {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.name, k.remedy
		}
	}
	if len(head) >= 262 && string(head[257:262]) == "ustar" {
		return "a tar archive", "unpack it"
	}
	if line, ok := firstLine(head); ok {
		return fmt.Sprintf("text that begins with %q", line), "the capture is written with tcpdump -w"
	}
	return fmt.Sprintf("bytes that begin with % x", head[:min(len(head), 8)]), ""
}

// firstLine gives the first line of what is text as far as it was read, shortened to what a message can hold.
func firstLine(head []byte) (string, bool) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	if !utf8.Valid(line) || len(line) == 0 {
		return "", false
	}
	for _, c := range line {
		if c < ' ' && c != '\t' {
			return "", false
		}
	}
	if runes := []rune(string(line)); len(runes) > 40 {
		return string(runes[:40]) + "…", true
	}
	return string(line), true
}
