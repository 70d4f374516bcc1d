// Package pcap reads and writes capture files: pcap and pcapng, plain, gzip or zstd, from any io.Reader.
// It knows records, interfaces and clocks, nothing of what the packets mean. It opens no files.
//
// It is a floor-0 room of its own because file formats are needed by the taps (a pipe from tcpdump), by the
// analyser and by the run's record alike.
//
// Formats: pcap is draft-ietf-opsawg-pcap, pcapng is draft-ietf-opsawg-pcapng; the numbers of sections in comments are
// those of the drafts.
package pcap

import (
	"errors"
	"math"
)

// LinkType is a link-layer header type number (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// The link types that nearly all captures of devices have. Package packet knows which are decoded and what the others are
// called; a Record can have any.
const (
	LinkNull     LinkType = 0
	LinkEthernet LinkType = 1
	LinkPPP      LinkType = 9
	LinkRaw12    LinkType = 12
	LinkRaw14    LinkType = 14
	LinkPPPHDLC  LinkType = 50
	LinkRaw      LinkType = 101
	LinkLoop     LinkType = 108
	LinkSLL      LinkType = 113
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276
)

// MaxRecord is the largest record that is believed, in captured bytes: four times the largest frame that segmentation
// offload gives, and what other readers hold too. A larger claim is damage.
const MaxRecord = 256 << 10

// The errors that callers tell apart, by errors.Is.
var (
	// ErrFormat says that the input is no capture that this package reads.
	ErrFormat = errors.New("not a pcap or pcapng capture")
	// ErrDamaged says that the file contradicts itself. All records before the damage were delivered.
	ErrDamaged = errors.New("damaged capture")
)

// Record is one captured frame. Data is valid until the next call of Next.
type Record struct {
	Number    uint64 // from 1 over the whole file
	Time      int64  // nanoseconds since the Unix epoch; 0 where the format carries no time (simple packet block)
	Link      LinkType
	Interface int    // index over the whole file, from 0
	Data      []byte // captured bytes
	Length    int    // bytes on the wire; more than len(Data) where the snap length cut the frame
	Drops     uint64 // packets lost before this one, where the format says so (pcapng epb_dropcount, obsolete packet block)
}

// onWire gives a frame's length on the wire. What a damaged file claims may be more than an int holds where it has 32 bits.
func onWire(length, captured uint32) int { return int(min(max(length, captured), math.MaxInt32)) }
