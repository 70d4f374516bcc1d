package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize is the place for a datagram's control messages: time, count of losses, destination.
const controlSize = 128

// batcher receives many datagrams by one call of recvmmsg(2), into memory that is set aside once.
type batcher struct {
	conn socketConn
	raw  syscall.RawConn
	size int // of the receive buffer

	headers  []mmsghdr
	names    []unix.RawSockaddrInet6
	vectors  []unix.Iovec
	controls [][controlSize]byte
	batch    []datagram
	room     int

	try    func(fd uintptr) bool // made once, for RawConn.Read
	wait   bool                  // of the call at work
	n      int
	errno  syscall.Errno
	bound  netip.AddrPort
	heard  counter // of the datagrams received
	pieces *fragments
	shared sync.Mutex
	sum    counter // of all that was ever told
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func newBatcher(conn socketConn, bound netip.AddrPort, granted, room int) (*batcher, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &batcher{
		conn: conn, raw: raw, size: granted, bound: bound, room: room, pieces: openFragments(),
		headers: make([]mmsghdr, batchSize), names: make([]unix.RawSockaddrInet6, batchSize), vectors: make([]unix.Iovec, batchSize),
		controls: make([][controlSize]byte, batchSize), batch: make([]datagram, batchSize),
	}
	buf := make([]byte, batchSize*stride)
	for i := range r.headers {
		r.batch[i].buf = buf[i*stride : i*stride+headroom+room]
		r.vectors[i].Base = &r.batch[i].buf[headroom]
		r.vectors[i].SetLen(room)
		h := &r.headers[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
		r.refresh(i)
	}
	r.try = func(fd uintptr) bool {
		r.n, r.errno = r.recvmmsg(fd)
		return r.errno != unix.EAGAIN || !r.wait
	}
	return r, nil
}

// refresh makes a header ready for the next datagram: the kernel writes lengths into it.
func (r *batcher) refresh(i int) {
	h := &r.headers[i].hdr
	h.Namelen = unix.SizeofSockaddrInet6
	h.SetControllen(controlSize)
}

// recvmmsg takes what is in the queue. The true length of a datagram is told also where there was no room for all of it.
func (r *batcher) recvmmsg(fd uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), uintptr(len(r.headers)),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func (r *batcher) receive(wait bool) ([]datagram, error) {
	r.wait, r.n, r.errno = wait, 0, 0
	err := r.raw.Read(r.try)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // a nudge
		return nil, r.conn.SetReadDeadline(time.Time{})
	case err != nil:
		return nil, err
	case r.errno == unix.EAGAIN:
		return nil, errEmpty
	case r.errno != 0:
		return nil, os.NewSyscallError("recvmmsg", r.errno)
	}
	for i := range r.n {
		r.read(i)
		r.refresh(i)
	}
	return r.batch[:r.n], nil
}

// read fills in what the kernel told of a datagram.
func (r *batcher) read(i int) {
	d, h := &r.batch[i], &r.headers[i]
	d.length = int(h.len)
	d.n = min(d.length, r.room)
	d.time, d.lost = 0, 0
	d.from, d.fromPort = endOf(&r.names[i])
	d.to, d.toPort = r.bound.Addr(), r.bound.Port()
	r.control(d, r.controls[i][:min(uint64(h.hdr.Controllen), controlSize)])
	if d.time == 0 {
		d.time = time.Now().UnixNano()
	}
}

// endOf reads an address as the kernel writes it.
func endOf(name *unix.RawSockaddrInet6) (netip.Addr, uint16) {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), port
	}
	return netip.AddrFrom16(name.Addr).Unmap(), port
}

// headerLen is the length of a control message's header, aligned.
var headerLen = unix.CmsgLen(0)

// control reads the control messages of a datagram (cmsg(3)).
func (r *batcher) control(d *datagram, b []byte) {
	for len(b) >= headerLen {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(h.Len)
		if length < headerLen || length > len(b) {
			return
		}
		r.told(d, h, b[headerLen:length])
		b = b[min(len(b), unix.CmsgSpace(length-headerLen)):]
	}
}

// told takes one control message in (socket(7), ip(7), ipv6(7)).
func (r *batcher) told(d *datagram, h *unix.Cmsghdr, b []byte) {
	switch {
	case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(b) >= int(unsafe.Sizeof(unix.Timespec{})):
		d.time = (*unix.Timespec)(unsafe.Pointer(&b[0])).Nano()
	case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(b) >= 4:
		value := binary.NativeEndian.Uint32(b)
		if d.lost = r.heard.hear(value); d.lost > 0 {
			r.shared.Lock()
			r.sum.hear(value)
			r.shared.Unlock()
		}
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(b) >= unix.SizeofInet4Pktinfo:
		d.to = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&b[0])).Addr)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(b) >= unix.SizeofInet6Pktinfo:
		d.to = netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&b[0])).Addr).Unmap()
	}
}

// nudge makes receive look again, and then not wait where somebody waits for an empty queue.
func (r *batcher) nudge(uint64) error { return r.conn.SetReadDeadline(time.Unix(1, 0)) }

func (r *batcher) lost() uint64 {
	r.shared.Lock()
	defer r.shared.Unlock()
	return r.sum.total
}

func (r *batcher) count() uint64 {
	info, err := r.meminfo()
	r.shared.Lock()
	defer r.shared.Unlock()
	if err == nil {
		r.sum.hear(info[drops])
	}
	return r.sum.total
}

// leastDatagram is less than what a datagram takes up in a queue, by the kernel's own count: its descriptor, of more than
// 200 bytes, and the end of its data (include/linux/skbuff.h, SKB_TRUESIZE).
const leastDatagram = 256

func (r *batcher) queued() (uint64, bool) {
	info, err := r.meminfo()
	return batchSize + uint64(info[queuedBytes])/leastDatagram + 1, err == nil
}

// The places in what SO_MEMINFO tells (include/uapi/linux/sock_diag.h).
const (
	queuedBytes = 0 // SK_MEMINFO_RMEM_ALLOC
	drops       = 8 // SK_MEMINFO_DROPS
)

// meminfo asks the kernel about the socket's memory.
func (r *batcher) meminfo() (info [9]uint32, err error) {
	length := uint32(unsafe.Sizeof(info))
	var errno syscall.Errno
	err = r.raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("getsockopt", errno)
	}
	if err == nil && length < uint32(unsafe.Sizeof(info)) {
		err = fmt.Errorf("getsockopt SO_MEMINFO gives %d bytes", length)
	}
	return info, err
}

func (r *batcher) granted() int { return r.size }

func (r *batcher) torn() uint64 { return r.pieces.torn() }

func (r *batcher) close() error {
	r.pieces.close()
	return r.conn.Close()
}
