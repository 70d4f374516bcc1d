package socket

import (
	"errors"
	"net/netip"
)

// receiver reads datagrams from a socket. receive is called by one goroutine, the rest by any.
type receiver interface {
	// receive gives the datagrams that have come, valid until the next call. Where there is none it waits if told to,
	// which nudge ends; else it gives errEmpty, which proves that the queue held nothing during the call. Receivers that
	// can't prove that wait always, and give the marks that nudge sent.
	receive(wait bool) ([]datagram, error)
	nudge(mark uint64) error
	// lost is how many datagrams the kernel threw away, as far as receive has heard.
	lost() uint64
	// count is the same, asked now. Where the kernel does not count it is 0.
	count() uint64
	// queued is how many datagrams at most have come and were not given by receive, or are in its last batch.
	queued() (n uint64, known bool)
	// torn is how many datagrams to this host are not whole: given up since the beginning, or waited for.
	torn() uint64
	// granted is the size of the receive buffer.
	granted() int
	close() error
}

// errEmpty says that nothing was in the queue.
var errEmpty = errors.New("the queue is empty")

// datagram is what came in one piece.
type datagram struct {
	buf      []byte // headroom bytes, then what came
	n        int    // bytes that were received
	length   int    // bytes that came; more than n where there was no room for all
	time     int64  // nanoseconds since the Unix epoch: when the kernel took it in, where that is known
	lost     uint64 // datagrams lost right before it
	mark     uint64 // not 0: sent by ourselves, see nudge
	from, to netip.Addr
	fromPort uint16
	toPort   uint16
}

// payload is what was received.
func (d *datagram) payload() []byte { return d.buf[headroom : headroom+d.n] }

const (
	// headroom is the place for headers in front of what is received, a cache line.
	headroom = 64
	// maxDatagram is more than the longest datagram: 65,535 bytes of IPv4 packet, 65,527 of UDP in IPv6.
	maxDatagram = 1 << 16
	// batchSize is how many datagrams are received at once.
	batchSize = 64
	// stride is from one datagram's buffer to the next: not a multiple of a page, so that their beginnings don't share the
	// same few lines of the processor's cache. All of them together are 4.2 MiB, of which the kernel gives memory to
	// those pages only that were ever written.
	stride = headroom + maxDatagram + 1024
)

// counter carries a kernel's 32-bit count on beyond its end. The newest value heard counts: older ones come late, with
// datagrams that had waited in the queue.
type counter struct {
	last  uint32
	total uint64
}

// hear takes a value in and gives how far it is beyond the newest before.
func (c *counter) hear(value uint32) uint64 {
	step := int32(value - c.last)
	if step <= 0 {
		return 0
	}
	c.last = value
	c.total += uint64(step)
	return uint64(step)
}
