package afpacket

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/privilege"
)

// ring is a packet socket with its ring.
type ring struct {
	fd     int
	memory []byte
	blocks uint32
	cur    uint32 // the block that is the next to be handed over
	number uint64
	wake   int // an eventfd: stop
	link   *link
	kind   pcap.LinkType
	said   []string
}

// open gives a socket that captures.
func open(o Options) (source, error) {
	r := &ring{fd: -1, wake: -1}
	if err := r.open(o); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *ring) open(o Options) (err error) {
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("make an event: %w", err)
	}
	if r.link, err = watch(o.Interface, o.Promiscuous); err != nil {
		return err
	}
	now, err := r.link.look()
	if err != nil {
		return err
	}
	if why := now.why(); why != "" {
		return errors.New(why)
	}
	if err := r.socket(now.kind.socket); err != nil {
		return err
	}
	r.kind = now.kind.link
	if err := r.filter(o, now.kind.framing); err != nil {
		return err
	}
	if err := r.shape(o.Buffer, now.loopback); err != nil {
		return err
	}
	r.said = now.notes(o.Interface)
	return r.link.bind(r.fd, now)
}

// socket opens a packet socket without a protocol: it gets nothing until it is bound.
func (r *ring) socket(kind int) error {
	err := privilege.With(func() (err error) {
		r.fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("open a packet socket: %w: capturing needs CAP_NET_RAW, not root: run `%s` once, and again whenever the program is replaced", err, privilege.Grant())
	case err != nil:
		return fmt.Errorf("open a packet socket: %w", err)
	}
	return nil
}

// filter attaches the filter's program.
func (r *ring) filter(o Options, framing filter.Framing) error {
	code, err := bpf.Assemble(o.Filter.Program(framing, uint32(o.Snap)))
	if err != nil {
		return fmt.Errorf("assemble the filter %s: %w", o.Filter, err)
	}
	program := make([]unix.SockFilter, len(code))
	for i, c := range code {
		program[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	err = unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("attach the filter %s: %w", o.Filter, err)
	}
	return nil
}

// vlanTag is a VLAN tag's length, for which room is kept before each frame.
const vlanTag = 4

// shape makes the ring.
func (r *ring) shape(size int, loopback bool) error {
	type option struct{ number, value int }
	options := []option{{unix.PACKET_VERSION, unix.TPACKET_V3}, {unix.PACKET_RESERVE, vlanTag}}
	if loopback {
		options = append(options, option{unix.PACKET_IGNORE_OUTGOING, 1}) // Linux 4.20
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, o.number, o.value); err != nil {
			return fmt.Errorf("set option %d of the packet socket: %w: Linux 4.20 or later is needed", o.number, err)
		}
	}
	r.blocks = uint32(max(2, (size+blockSize-1)/blockSize))
	const frame = 2048 // the kernel wants it to fit into a block evenly, and does not use it in this version of the ring
	req := unix.TpacketReq3{Block_size: blockSize, Block_nr: r.blocks, Frame_size: frame, Frame_nr: r.blocks * (blockSize / frame), Retire_blk_tov: blockAge}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make a ring of %d blocks of %d KiB: %w: with less memory to be had, ask for a smaller buffer", r.blocks, blockSize>>10, err)
	}
	var err error
	if r.memory, err = unix.Mmap(r.fd, 0, int(r.blocks)*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	return nil
}

// idle is how long the tap waits at most before it notes that all is well: an outage is told to begin when that was last
// known.
const idle = 100 // ms

func (r *ring) run(k keeper, sink func(pcap.Record)) error {
	var filled time.Duration
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.link.news), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
	for !k.ending() {
		timeout := 0
		if !r.ready() {
			time.Sleep(rest(filled, r.blocks))
			filled = 0
		}
		if !r.ready() {
			// What waits for this processor runs now: while this goroutine waited for the kernel it would have to be taken away
			// from it first.
			runtime.Gosched()
			timeout = idle
		}
		_, err := unix.Poll(fds, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the ring: %w", err)
		}
		if err == nil {
			if err := r.link.follow(r.fd, k, fds[0].Revents&unix.POLLERR != 0, fds[1].Revents != 0); err != nil {
				return err
			}
		}
		if r.ready() {
			filled = r.take(k, sink)
		}
	}
	return nil
}

func (r *ring) block() unsafe.Pointer { return unsafe.Pointer(&r.memory[r.cur*blockSize]) }

// description is a block's header (struct tpacket_block_desc, whose last part is struct tpacket_hdr_v1).
func description(block unsafe.Pointer) *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Add(block, unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)))
}

// ready says whether the next block is ours.
func (r *ring) ready() bool {
	return atomic.LoadUint32(&description(r.block()).Block_status)&unix.TP_STATUS_USER != 0
}

// filling says how long frames took to fill a block, from the first of them; 0 where it was handed over because of its age.
func filling(b *unix.TpacketHdrV1, first *unix.Tpacket3Hdr) time.Duration {
	if b.Block_status&unix.TP_STATUS_BLK_TMO != 0 {
		return 0
	}
	last := b.Ts_last_pkt // Ts_first_pkt is not the first one's, but when the block was begun, which may be long before
	return time.Duration(timeOf(last.Sec, last.Usec) - timeOf(first.Sec, first.Nsec))
}

// timeOf gives a time of this version of the ring, in which the parts of a second are always nanoseconds.
func timeOf(seconds, nanoseconds uint32) int64 {
	return int64(seconds)*int64(time.Second) + int64(nanoseconds)
}

// take gives a block's frames to the sink, and the block back to the kernel. It gives how long they took to fill it.
func (r *ring) take(k keeper, sink func(pcap.Record)) (filled time.Duration) {
	block := r.block()
	desc := description(block)
	var given, truncated uint64
	frame := unsafe.Add(block, desc.Offset_to_first_pkt)
	filled = filling(desc, (*unix.Tpacket3Hdr)(frame))
	for range desc.Num_pkts {
		if k.ending() {
			break
		}
		h := (*unix.Tpacket3Hdr)(frame)
		frame = unsafe.Add(frame, h.Next_offset)
		r.number++
		rec := pcap.Record{Number: r.number, Time: timeOf(h.Sec, h.Nsec), Link: r.kind, Length: int(h.Len)}
		if h.Status&unix.TP_STATUS_VLAN_VALID != 0 && r.kind == pcap.LinkEthernet {
			rec.Data = tagged(h)
			rec.Length += vlanTag
		} else {
			rec.Data = unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(h), h.Mac)), h.Snaplen)
		}
		if len(rec.Data) < rec.Length {
			truncated++
		}
		given++
		sink(rec)
	}
	atomic.StoreUint32(&desc.Block_status, unix.TP_STATUS_KERNEL)
	r.cur = (r.cur + 1) % r.blocks
	k.settle(truncated, given)
	return filled
}

// addresses is the length of the two addresses of Ethernet, behind which a tag goes.
const addresses = 12

// tagged gives a frame with the VLAN tag that the kernel keeps beside it, put back in place: the addresses before it move
// into the room that was reserved.
func tagged(h *unix.Tpacket3Hdr) []byte {
	if h.Snaplen < addresses {
		return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(h), h.Mac)), h.Snaplen)
	}
	b := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(h), int(h.Mac)-vlanTag)), h.Snaplen+vlanTag)
	copy(b, b[vlanTag:vlanTag+addresses])
	typ := uint16(unix.ETH_P_8021Q)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		typ = h.Hv1.Vlan_tpid
	}
	b[12], b[13], b[14], b[15] = byte(typ>>8), byte(typ), byte(h.Hv1.Vlan_tci>>8), byte(h.Hv1.Vlan_tci)
	return b
}

// stop wakes run.
func (r *ring) stop() { _, _ = unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) } // it can't be full

// counts asks the kernel, which counts those dropped among the packets too, and begins anew.
func (r *ring) counts() (arrived, dropped uint64, err error) {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, 0, fmt.Errorf("read the packet socket's statistics: %w", err)
	}
	return uint64(s.Packets - s.Drops), uint64(s.Drops), nil
}

func (r *ring) notes() []string { return r.said }

func (r *ring) close() error {
	var errs []error
	if r.memory != nil {
		errs = append(errs, unix.Munmap(r.memory))
	}
	if r.link != nil {
		errs = append(errs, r.link.close())
	}
	for _, fd := range []int{r.fd, r.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
