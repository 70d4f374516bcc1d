package trace

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/merge"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// progressEvery is how many frames pass between two calls of Options.Progress: a power of two.
const progressEvery = 1 << 16

// ErrLinkType says that a capture holds only frames of link types that are not read.
var ErrLinkType = errors.New("link type is not supported")

// Read analyses a capture: pcap or pcapng, plain, gzip or zstd. Name is for messages and Capture.File; the reader may be
// a pipe. A file that ends inside a record, or contradicts itself further on, is analysed up to that place, and the
// Capture says so. Where no frame is of a link type that can be read, the error wraps ErrLinkType and the Capture
// holds the count of frames.
//
// A capture that names several taps in its comment (DeclareTaps) is read as many times as there are taps: a pipe that holds
// one is kept in a temporary file meanwhile.
func Read(r io.Reader, name string, o Options) (*Capture, error) {
	kept := newAgain(r)
	in, err := pcap.NewReader(kept)
	if err != nil {
		return nil, fmt.Errorf("read capture %s: %w", name, err)
	}
	if taps := declaredTaps(in); taps != nil {
		file, done, err := kept.opener()
		if err != nil {
			return nil, fmt.Errorf("read capture %s: %w", name, err)
		}
		defer done()
		return readTaps([]opener{file}, name, taps, o)
	}
	kept.once()
	a := newAnalysis(name, o)
	err = a.readAll(in)
	a.end()
	if err != nil {
		return nil, fmt.Errorf("read capture %s: %w", name, err)
	}
	return a.finish()
}

// analysis is one capture being read.
type analysis struct {
	opt     Options
	out     *Capture
	decoder *packet.Decoder
	follow  *pipeline
	gre     greSequences
	tunnels [1 << packet.NumTunnels]uint64 // frames by packet.Packet.Nested
	decoded uint64                         // packets, and fragments with a mirror's number
	bytes   uint64
	cuts    spans // packets cut inside their headers
	shorn   spans // and behind them
	drops   spans
	links   map[uint16]uint64 // frames of link types that are not read
	link    uint16            // the last frame's, and whether it is read
	linkOK  bool
	linkMet bool  // there was one
	prev    int64 // time of the frame before
	clocks  clockWatch

	file       string // which one is being read, for messages; "" where there is only one
	reported   uint64 // drops by what the files say all in all
	unfinished bool   // a file is a recording that was not written to its end

	outages []Hole // that the files tell of

	doubts []merge.Doubt // packets that may have passed without being seen, where several taps are merged
	more   uint64
	order  order

	// What the tracker's goroutine adds up, until the pipeline is closed.
	sums    sums
	holes   holeList
	proven  provenPayload
	foreign uint64
}

func newAnalysis(name string, o Options) *analysis {
	a := &analysis{opt: o, out: &Capture{File: name, Inferred: len(o.Devices) == 0}, links: map[uint16]uint64{}}
	a.decoder = packet.NewDecoder(packet.Options{VXLANPorts: o.VXLANPorts, SameMirror: o.SameMirror})
	a.sums.keep = o.KeepFlows
	a.follow = newPipeline(flow.Options{
		Devices: o.Devices, KeepFlows: o.KeepFlows, KeepPackets: o.KeepFlows && o.KeepPackets, Idle: o.Idle, Linger: o.Linger,
		Done: a.flowDone,
	}, a.decoder.Path)
	return a
}

// readAll reads a file to its end; several files are read one after the other.
func (a *analysis) readAll(in *pcap.Reader) error {
	if err := a.frames(in); err != nil {
		return err
	}
	if a.out.Format == "" {
		a.out.Format = format(in)
	}
	a.reported += in.Drops()
	a.out.Cut = a.out.Cut || in.Cut()
	a.unfinished = a.unfinished || in.Unfinished()
	a.untaken(in.Spans())
	return nil
}

// untaken notes the outages among the spans that a file tells of.
func (a *analysis) untaken(spans []pcap.Span) {
	for _, s := range spans {
		if cause, ok := strings.CutPrefix(s.Comment, OutageMark); ok {
			o := Outage{From: time.Unix(0, s.From), To: time.Unix(0, s.To), Cause: cause}
			a.outages = append(a.outages, o.hole(s.Interface))
		}
	}
}

// frames is the loop over a file's frames. Nothing in it allocates once the decoder and the tracker are warm.
func (a *analysis) frames(in *pcap.Reader) error {
	var rec pcap.Record
	for {
		if err := in.Read(&rec); err != nil {
			if errors.Is(err, pcap.ErrDamaged) {
				a.damaged(err)
				return nil
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		a.record(&rec)
	}
}

// record analyses a frame, which is numbered over all files.
func (a *analysis) record(rec *pcap.Record) {
	if !a.linkMet || uint16(rec.Link) != a.link {
		a.link, a.linkMet = uint16(rec.Link), true
		_, a.linkOK = packet.LinkName(a.link)
	}
	a.frame(rec)
	if !a.linkOK {
		a.links[a.link]++
		a.out.Undecodable++
		return
	}
	// By its address, for what is built as a value is copied: in pieces of sixteen bytes, of which each waits until the two
	// halves that were just written have left the processor.
	f := &packet.Frame{Number: a.out.Frames, Time: rec.Time, Link: a.link, Data: rec.Data, Length: rec.Length}
	p := a.follow.slot()
	switch a.decoder.Decode(f, p) {
	case packet.Undecodable:
		a.out.Undecodable++
	case packet.Held:
		a.fragment(p)
	case packet.Decoded:
		a.packet(p)
	}
}

// damaged notes the first place at which a file contradicts itself.
func (a *analysis) damaged(err error) {
	if a.out.Damage == "" {
		a.out.Damage = a.file + err.Error()
	}
}

// frame counts a frame, whatever is in it.
func (a *analysis) frame(rec *pcap.Record) {
	c := a.out
	c.Frames++
	a.bytes += uint64(len(rec.Data))
	if rec.Time >= c.Last && c.First != 0 {
		c.Last = rec.Time
	} else if rec.Time != 0 {
		a.disorderly(rec.Time)
	}
	if rec.Drops > 0 {
		a.drops.add(a.prev, rec.Time, rec.Drops)
	}
	a.prev = rec.Time
	if !a.clocks.onward(rec) {
		a.clocks.look(rec)
	}
	if c.Frames%progressEvery == 0 && a.opt.Progress != nil {
		a.opt.Progress(c.Frames, a.bytes)
	}
}

// disorderly takes a frame's time where it is the first, or earlier than another's.
func (a *analysis) disorderly(at int64) {
	c := a.out
	if c.First == 0 || at < c.First {
		c.First = at
	}
	if behind := c.Last - at; at >= c.Last {
		c.Last = at
	} else if behind > c.Disorder && behind < stepBack {
		c.Disorder = behind
	}
}

// packet takes a device's packet.
func (a *analysis) packet(p *packet.Packet) {
	if a.opt.Decoded != nil {
		a.opt.Decoded(p)
	}
	a.decoded++
	a.tunnel(p)
	if p.Truncated {
		a.cutShort(p, p.HeadersCut)
	}
	if p.HasGRESeq {
		a.gre.add(p)
	}
	a.follow.take(p)
}

// cutShort counts a packet of which the capture holds less than was sent, of its headers too or of its payload alone.
func (a *analysis) cutShort(p *packet.Packet, headers bool) {
	a.out.Truncated++
	if headers {
		a.out.HeadersCut++
		a.cuts.add(p.Time, p.Time, 1)
		return
	}
	a.shorn.add(p.Time, p.Time, 1)
}

// tunnel counts a packet's frames under the tunnels that they came through.
func (a *analysis) tunnel(p *packet.Packet) { a.tunnels[p.Nested] += uint64(1 + len(p.Pieces)) }

// byTunnel gives the frames under every kind of tunnel that they came through, or under none.
func (a *analysis) byTunnel() map[string]uint64 {
	frames := make(map[string]uint64, packet.NumTunnels)
	for t := range packet.NumTunnels {
		for set, n := range a.tunnels {
			if nested := packet.Tunnels(set); nested.Has(t) || nested == 0 && t == packet.NoTunnel {
				frames[t.String()] += n
			}
		}
	}
	return frames
}

// fragment takes a fragment whose datagram is not whole yet: the mirror's number that it came with, and the fragments that
// were given up meanwhile. Of those the decoder keeps only so many, so they can't wait for the end of a capture of days.
func (a *analysis) fragment(p *packet.Packet) {
	if p.HasGRESeq {
		a.decoded++
		a.gre.add(p)
	}
	a.decoder.Abandoned(a.orphan)
}

// orphan takes a fragment of a datagram that never became whole. A number that it came with has been counted.
func (a *analysis) orphan(p *packet.Packet) {
	if !p.HasGRESeq {
		a.decoded++
	}
	a.tunnel(p)
	slot := a.follow.slot()
	*slot = *p
	a.follow.take(slot)
}

// flowDone takes a flow that the tracker lets go. Traffic between strangers, where the devices are told, is left out.
func (a *analysis) flowDone(f *flow.Flow) {
	if f.Foreign {
		a.foreign++
		return
	}
	a.sums.add(f)
	a.proven.add(f)
	for _, h := range flowHoles(f) {
		a.holes.add(h)
	}
}

// format names a file's format: "pcapng.zst".
func format(in *pcap.Reader) string {
	switch in.Compression() {
	case "gzip":
		return in.Format() + ".gz"
	case "zstd":
		return in.Format() + ".zst"
	}
	return in.Format()
}

// end takes what the decoder and the tracker still hold. It is called once, whatever became of reading.
func (a *analysis) end() {
	a.decoder.Orphans(a.orphan)
	a.follow.close()
}

// finish settles what only the end can.
func (a *analysis) finish() (*Capture, error) {
	a.follow.tracker.Flush()
	if a.opt.Progress != nil {
		a.opt.Progress(a.out.Frames, a.bytes)
	}
	c := a.out
	c.Tunnels = a.byTunnel()
	c.Foreign = a.foreign
	a.sums.into(c)
	c.Steps = a.clockSteps()
	c.Completeness = a.completeness()
	if c.Frames > 0 && c.Undecodable == c.Frames && len(a.links) > 0 {
		return c, fmt.Errorf("read capture %s: %w: %s: capture on Ethernet, Linux cooked, raw IP, loopback, PPP or 802.11 interfaces, or convert it",
			c.File, ErrLinkType, a.linkNames())
	}
	return c, nil
}
