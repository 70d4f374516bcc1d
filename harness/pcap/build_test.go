package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// builder writes captures of every shape, the wrong ones too, with an order of bytes of its own.
type builder struct {
	order interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}
	b []byte
}

func little() *builder { return &builder{order: binary.LittleEndian} }
func big() *builder    { return &builder{order: binary.BigEndian} }

func (b *builder) u16(v ...uint16) *builder {
	for _, v := range v {
		b.b = b.order.AppendUint16(b.b, v)
	}
	return b
}

func (b *builder) u32(v ...uint32) *builder {
	for _, v := range v {
		b.b = b.order.AppendUint32(b.b, v)
	}
	return b
}

func (b *builder) u64(v uint64) *builder {
	b.b = b.order.AppendUint64(b.b, v)
	return b
}

func (b *builder) raw(p string) *builder {
	b.b = append(b.b, p...)
	return b
}

// classicFile begins a pcap file.
func (b *builder) classicFile(magic uint32, major, minor uint16, link uint32) *builder {
	return b.u32(magic).u16(major, minor).u32(0, 0, 65535, link)
}

func (b *builder) record(seconds, fraction, captured, length uint32, data string) *builder {
	return b.u32(seconds, fraction, captured, length).raw(data)
}

// block writes a pcapng block around what body writes.
func (b *builder) block(kind uint32, body func(*builder)) *builder {
	in := &builder{order: b.order}
	body(in)
	for len(in.b)%4 != 0 {
		in.b = append(in.b, 0)
	}
	length := uint32(len(in.b) + 12)
	return b.u32(kind, length).raw(string(in.b)).u32(length)
}

func (b *builder) option(code uint16, value string) *builder {
	b.u16(code, uint16(len(value))).raw(value)
	for len(b.b)%4 != 0 {
		b.b = append(b.b, 0)
	}
	return b
}

func (b *builder) sectionBlock() *builder {
	return b.block(blockSection, func(b *builder) { b.u32(byteOrderMagic).u16(1, 0).u64(notKnown) })
}

func (b *builder) interfaceBlock(link uint16, snap uint32, options ...string) *builder {
	return b.block(blockInterface, func(b *builder) {
		b.u16(link, 0).u32(snap)
		for _, o := range options {
			b.option(uint16(o[0]), o[1:])
		}
	})
}

func (b *builder) enhancedBlock(index uint32, time uint64, data string, options ...string) *builder {
	return b.block(blockEnhanced, func(b *builder) {
		b.u32(index, uint32(time>>32), uint32(time), uint32(len(data)), uint32(len(data)))
		b.option(0, data) // pads; the option's header is taken off again
		b.b = append(b.b[:20], b.b[24:]...)
		for _, o := range options {
			b.option(uint16(o[0]), o[1:])
		}
	})
}

// order64 gives an option's 64-bit value in the builder's order.
func (b *builder) order64(v uint64) string { return string(b.order.AppendUint64(nil, v)) }

func gzipped(p []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(p)
	if err := errors.Join(err, z.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zstandard(p []byte) []byte {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return z.EncodeAll(p, nil)
}

// readAll reads to the end, and gives copies of the records and the error where it isn't io.EOF.
func readAll(r *Reader) ([]Record, error) {
	var all []Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		rec.Data = bytes.Clone(rec.Data)
		all = append(all, rec)
	}
}
