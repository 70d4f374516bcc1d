package hub

import (
	"encoding/binary"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// outer names the datagram of which the outermost packet of a frame is a fragment (RFC 791, 3.2; RFC 8200, 4.5).
type outer struct {
	ends string // sender and receiver, as in the header
	id   uint32
}

// outerOf says which it is. The decoder tells of a device's own fragments which frames they came in (packet.Packet.Pieces);
// of a mirror's it tells nothing, because they are none of the device's.
func outerOf(rec *pcap.Record) (o outer, ok bool) {
	b := rec.Data
	switch rec.Link {
	case pcap.LinkEthernet:
		if len(b) < 14 {
			return o, false
		}
		kind := binary.BigEndian.Uint16(b[12:])
		for b = b[14:]; (kind == 0x8100 || kind == 0x88a8) && len(b) >= 4; b = b[4:] {
			kind = binary.BigEndian.Uint16(b[2:])
		}
	case pcap.LinkSLL:
		b = b[min(16, len(b)):]
	case pcap.LinkSLL2:
		b = b[min(20, len(b)):]
	case pcap.LinkRaw, pcap.LinkIPv4, pcap.LinkIPv6:
	default:
		return o, false
	}
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && binary.BigEndian.Uint16(b[6:])&0x3fff != 0:
		return outer{string(b[12:20]), uint32(binary.BigEndian.Uint16(b[4:]))}, true
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 44:
		return outer{string(b[8:40]), binary.BigEndian.Uint32(b[44:])}, true
	}
	return o, false
}

const (
	// mostWaiting bounds the bytes of fragments that wait.
	mostWaiting = 16 << 20
	// mostOuter bounds the datagrams of the mirror's that are not whole.
	mostOuter = 1 << 12
)

// await keeps a fragment until its datagram is whole, or given up.
func (s *session) await(rec pcap.Record) {
	if s.waiting+len(rec.Data) > mostWaiting || len(s.outer) >= mostOuter {
		s.decoder.Orphans(s.orphan)
		clear(s.outer)
	}
	if o, ok := outerOf(&rec); ok {
		s.outer[o] = append(s.outer[o], s.hub.frames)
	}
	rec.Data = append([]byte(nil), rec.Data...)
	s.pieces[s.hub.frames] = entry{s.hub.frames, rec}
	s.waiting += len(rec.Data)
	s.decoder.Abandoned(s.orphan)
}

// whole gives the fragments that waited for the frame at hand.
func (s *session) whole(p *packet.Packet, rec *pcap.Record) {
	for _, piece := range p.Pieces {
		s.give(p.Src, p.Dst, s.piece(piece.Number))
	}
	if len(s.outer) == 0 {
		return
	}
	o, ok := outerOf(rec)
	if !ok {
		return
	}
	for _, number := range s.outer[o] {
		s.give(p.Src, p.Dst, s.piece(number))
	}
	delete(s.outer, o)
}

// piece takes a fragment that waited; its number is 0 where it waits no longer.
func (s *session) piece(number uint64) entry {
	e := s.pieces[number]
	delete(s.pieces, number)
	s.waiting -= len(e.record.Data)
	return e
}

// orphan gives a fragment whose datagram never became whole by the addresses that it shows itself.
func (s *session) orphan(p *packet.Packet) {
	s.mirror.Orphan(p)
	s.give(p.Src, p.Dst, s.piece(p.Number))
}
