package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/merge"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// What several taps wrote into one capture lies there as it came: a tap that hands its packets over late, or at the end,
// stands behind all others. So each tap is read by itself, from the beginning of the files, and the taps are merged by the
// packets' times: that needs files, and no more memory for a long capture than for a short one.

// opener opens a capture's file from its beginning, and names it.
type opener struct {
	name string // "" where there is only one
	open func() (io.ReadCloser, error)
}

// filesOpeners opens files by their names.
func filesOpeners(files []string) []opener {
	out := make([]opener, len(files))
	for i, file := range files {
		out[i].open = func() (io.ReadCloser, error) { return os.Open(file) }
		if len(files) > 1 {
			out[i].name = filepath.Base(file) + ": "
		}
	}
	return out
}

// again is an input that can be read once more from where it began, where the capture turns out to be of several taps.
type again struct {
	in    io.Reader
	at    io.ReaderAt // nil where the input can be read only once
	begin int64
	head  *bytes.Buffer // what was read so far, where it must be kept
}

func newAgain(r io.Reader) *again {
	a := &again{in: r}
	seeker, ok := r.(io.Seeker)
	if at, also := r.(io.ReaderAt); ok && also {
		if begin, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			a.at, a.begin = at, begin
			return a
		}
	}
	a.head = &bytes.Buffer{}
	return a
}

func (a *again) Read(b []byte) (int, error) {
	n, err := a.in.Read(b)
	if a.head != nil {
		a.head.Write(b[:n])
	}
	return n, err
}

// once says that nobody will ask for the beginning again.
func (a *again) once() { a.head = nil }

// opener gives the input again, from a temporary file where it is a pipe. done takes that away.
func (a *again) opener() (o opener, done func(), err error) {
	if a.at != nil {
		return opener{open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(a.at, a.begin, 1<<62)), nil
		}}, func() {}, nil
	}
	f, err := os.CreateTemp("", "tollgate-*.pcapng")
	if err != nil {
		return o, nil, fmt.Errorf("keep a capture of several taps, which must be read more than once: %w", err)
	}
	done = func() {
		f.Close()
		os.Remove(f.Name())
	}
	if _, err := io.Copy(f, io.MultiReader(a.head, a.in)); err != nil {
		done()
		return o, nil, fmt.Errorf("keep a capture of several taps, which must be read more than once, in %s: %w", f.Name(), err)
	}
	return opener{open: func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, 0, 1<<62)), nil }}, done, nil
}

// readTaps reads a capture of several taps: the record of the first place, with those of the others beside it.
func readTaps(files []opener, name string, taps []TapPlace, o Options) (*Capture, error) {
	var main *Capture
	for _, place := range places(taps) {
		own := slices.DeleteFunc(slices.Clone(taps), func(t TapPlace) bool { return t.Place != place })
		c, err := readPlace(files, name, own, o)
		switch {
		case errors.Is(err, ErrLinkType) && main != nil:
			// The other places are told by what they could not read.
		case err != nil:
			return c, err
		}
		c.Place = place
		if main == nil {
			main = c
		} else {
			main.Others = append(main.Others, c)
		}
	}
	return main, nil
}

// readPlace reads what the taps at one place saw.
func readPlace(files []opener, name string, taps []TapPlace, o Options) (*Capture, error) {
	a := newAnalysis(name, o)
	paths := newPathTable()
	a.follow.pathOf = paths.path
	cursors := make([]*cursor, len(taps))
	sources := make([]merge.Source, len(taps))
	for i, t := range taps {
		cursors[i] = newCursor(files, t.Name, paths, o)
		sources[i] = cursors[i]
	}
	m := merge.New(sources...)
	a.mergeAll(m, cursors)
	a.end()
	for _, c := range cursors {
		c.close()
		if c.err != nil {
			return nil, fmt.Errorf("read capture %s: %w", name, c.err)
		}
	}
	return a.finishTaps(m, taps, cursors)
}

// mergeAll takes the taps' packets, each once.
func (a *analysis) mergeAll(m *merge.Merger, cursors []*cursor) {
	joined := newDatagrams()
	for {
		p := a.follow.slot()
		if _, ok := m.Next(p); !ok {
			return
		}
		orphan := false
		for _, c := range cursors {
			orphan = orphan || c.orphaned(p.Number)
		}
		switch {
		case orphan && joined.has(p):
			continue // another tap saw the whole datagram
		case len(p.Pieces) > 0:
			joined.add(p)
		}
		a.decoded++
		if p.Truncated {
			// Whose sender does not number them, two packets are told apart by what they carry.
			a.cutShort(p, p.HeadersCut || !p.HasIPID || p.IPID == 0)
		}
		if a.opt.KeepPackets {
			a.order.take(p)
		}
		a.follow.take(p)
	}
}

// order numbers the packets of a merged record as they passed, which is not as they lie in the file, while they are followed.
type order struct {
	frames []uint64 // in the file, by the packets' numbers less one
}

func (o *order) next(frame uint64) uint64 {
	o.frames = append(o.frames, frame)
	return uint64(len(o.frames))
}

func (o *order) take(p *packet.Packet) {
	for i := range p.Pieces {
		p.Pieces[i].Number = o.next(p.Pieces[i].Number)
	}
	p.Number = o.next(p.Number)
}

// restore gives what was kept of a flow the frames' own numbers again.
func (o *order) restore(f *flow.Flow) {
	restore := func(n *uint64) {
		if *n > 0 && *n <= uint64(len(o.frames)) {
			*n = o.frames[*n-1]
		}
	}
	for i := range f.Packets {
		restore(&f.Packets[i].Number)
	}
	for i := range f.Queries {
		restore(&f.Queries[i].Number)
	}
	for i := range f.Exchanges {
		restore(&f.Exchanges[i].Number)
	}
	for i := range f.Messages {
		restore(&f.Messages[i].Number)
	}
}

// cursor reads the frames of one tap.
type cursor struct {
	name    string
	files   []opener
	opt     Options
	own     *analysis // counts only: it follows no flows
	decoder *packet.Decoder
	paths   *pathTable
	numbers map[uint16]uint16 // of paths, by the decoder's

	in      *pcap.Reader
	closer  io.Closer
	number  uint64 // frames of all taps, over all files
	orphans []packet.Packet
	given   map[uint64]bool // numbers of orphans given
	err     error
	ended   bool
}

func newCursor(files []opener, name string, paths *pathTable, o Options) *cursor {
	own := &analysis{opt: o, out: &Capture{}, links: map[uint16]uint64{}}
	own.opt.Progress = nil
	return &cursor{name: name, files: files, opt: o, own: own, paths: paths, numbers: map[uint16]uint16{}, given: map[uint64]bool{},
		decoder: packet.NewDecoder(packet.Options{VXLANPorts: o.VXLANPorts, SameMirror: o.SameMirror})}
}

// Next implements merge.Source.
func (c *cursor) Next(p *packet.Packet) bool {
	var rec pcap.Record
	for {
		if n := len(c.orphans); n > 0 {
			*p = c.orphans[0]
			c.orphans = c.orphans[1:]
			c.given[p.Number] = true
			return true
		}
		if c.ended || c.err != nil {
			return false
		}
		if !c.read(&rec) {
			c.ended = true
			c.decoder.Orphans(c.orphan)
			continue
		}
		if c.decode(&rec, p) {
			return true
		}
	}
}

// orphaned says whether a frame is a fragment of a datagram that never became whole at this tap.
func (c *cursor) orphaned(number uint64) bool {
	if len(c.given) == 0 || !c.given[number] {
		return false
	}
	delete(c.given, number)
	return true
}

// read gives the tap's next frame.
func (c *cursor) read(rec *pcap.Record) bool {
	for {
		if c.in == nil && !c.open() {
			return false
		}
		switch err := c.in.Read(rec); {
		case err == nil:
			c.number++
			if c.in.InterfaceName(rec.Interface) == c.name {
				return true
			}
		case errors.Is(err, pcap.ErrDamaged):
			c.own.damaged(err)
			c.leave()
		case errors.Is(err, io.EOF):
			c.leave()
		default:
			c.err = err
			return false
		}
	}
}

// open opens the next file. One that goes on from another may have been cut before its first byte.
func (c *cursor) open() bool {
	if len(c.files) == 0 {
		return false
	}
	goesOn := c.number > 0 || c.own.out.Format != ""
	next := c.files[0]
	c.files = c.files[1:]
	c.own.file = next.name
	f, err := next.open()
	if err != nil {
		c.err = err
		return false
	}
	if c.in, err = pcap.NewReader(f); err == nil {
		c.closer = f
		return true
	}
	f.Close()
	if !goesOn || !errors.Is(err, pcap.ErrFormat) {
		c.err = fmt.Errorf("%s%w", next.name, err)
		return false
	}
	c.own.out.Cut, c.own.unfinished = true, true
	return c.open()
}

// leave notes what a file said all in all.
func (c *cursor) leave() {
	if c.own.out.Format == "" {
		c.own.out.Format = format(c.in)
	}
	c.own.reported += c.in.DropsOf(c.name)
	c.own.out.Cut = c.own.out.Cut || c.in.Cut()
	c.own.unfinished = c.own.unfinished || c.in.Unfinished()
	c.own.untaken(slices.DeleteFunc(slices.Clone(c.in.Spans()), func(s pcap.Span) bool { return s.Interface != c.name }))
	c.close()
}

func (c *cursor) close() {
	if c.closer != nil {
		c.closer.Close()
	}
	c.in, c.closer = nil, nil
}

// decode takes a frame, and says whether it gave a packet.
func (c *cursor) decode(rec *pcap.Record, p *packet.Packet) bool {
	a := c.own
	a.frame(rec)
	if _, ok := packet.LinkName(uint16(rec.Link)); !ok {
		a.links[uint16(rec.Link)]++
		a.out.Undecodable++
		return false
	}
	f := packet.Frame{Number: c.number, Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
	switch c.decoder.Decode(&f, p) {
	case packet.Undecodable:
		a.out.Undecodable++
		return false
	case packet.Held:
		if p.HasGRESeq {
			a.decoded++
			a.gre.add(p)
		}
		c.decoder.Abandoned(c.orphan)
		return false
	}
	if p.HasGRESeq {
		a.gre.add(p)
	}
	a.decoded++
	if p.Truncated {
		a.out.Truncated++
	}
	a.tunnel(p)
	c.rename(p)
	return true
}

// rename gives a packet the path's number that all taps share, and takes off the mirror's own number, which is this tap's
// alone.
func (c *cursor) rename(p *packet.Packet) {
	p.HasGRESeq = false
	number, ok := c.numbers[p.Path]
	if !ok {
		number = c.paths.number(c.decoder.Path(p.Path))
		c.numbers[p.Path] = number
	}
	p.Path = number
}

// orphan keeps a fragment of a datagram that never became whole at this tap.
func (c *cursor) orphan(p *packet.Packet) {
	if !p.HasGRESeq { // else its number has been counted
		c.own.decoded++
	}
	c.own.tunnel(p)
	kept := *p
	kept.Payload = slices.Clone(p.Payload)
	c.rename(&kept)
	c.orphans = append(c.orphans, kept)
}

// pathTable numbers paths by what they are. As a decoder's, its last number stands for all that come later.
type pathTable struct {
	numbers map[string]uint16
	paths   []packet.Path
}

func newPathTable() *pathTable {
	return &pathTable{numbers: map[string]uint16{fmt.Sprint(packet.Path{}): 0}, paths: []packet.Path{{}}}
}

func (t *pathTable) number(p packet.Path) uint16 {
	key := fmt.Sprint(p)
	if n, ok := t.numbers[key]; ok {
		return n
	}
	switch len(t.paths) {
	case packet.MaxPaths:
		return packet.MaxPaths - 1
	case packet.MaxPaths - 1:
		p = packet.Path{Tunnel: p.Tunnel}
	}
	n := uint16(len(t.paths))
	t.numbers[key] = n
	t.paths = append(t.paths, p)
	return n
}

func (t *pathTable) path(n uint16) packet.Path {
	if int(n) >= len(t.paths) {
		return packet.Path{}
	}
	return t.paths[n]
}

// datagrams remembers the latest datagrams that were joined from fragments.
type datagrams struct {
	latest [1 << 10]datagramKey
	known  map[datagramKey]bool
	next   int
}

type datagramKey struct {
	src, dst packet.Addr
	id       uint16
}

func newDatagrams() *datagrams { return &datagrams{known: map[datagramKey]bool{}} }

func (d *datagrams) add(p *packet.Packet) {
	k := datagramKey{p.Src, p.Dst, p.IPID}
	if d.known[k] {
		return
	}
	delete(d.known, d.latest[d.next])
	d.latest[d.next], d.known[k] = k, true
	d.next = (d.next + 1) % len(d.latest)
}

func (d *datagrams) has(p *packet.Packet) bool { return d.known[datagramKey{p.Src, p.Dst, p.IPID}] }
