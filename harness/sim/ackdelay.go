package sim

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ackDelayed is how long an acknowledgement waits for something to go with (RFC 9293, 3.8.6.3).
const ackDelayed = 40 * time.Millisecond

// tlsAlert is the content type of a TLS alert record (RFC 5246, 6.2.1).
const tlsAlert = 21

// ackDelay keeps pure acknowledgements back where the application is about to send something that acknowledges as
// well: our stacks acknowledge at once, and would make two packets of what real ones send as one.
type ackDelay struct {
	clock *Clock
	send  func([]byte) // sends an acknowledgement that waited in vain

	mu  sync.Mutex
	due map[flowKey]*heldAck
}

// heldAck is an acknowledgement that waits, or one that is to wait when it comes.
type heldAck struct {
	ack    uint32
	packet []byte // nil until it came
}

func newAckDelay(clock *Clock, send func([]byte)) *ackDelay {
	return &ackDelay{clock: clock, send: send, due: map[flowKey]*heldAck{}}
}

// expect says that the acknowledgement of a segment that was received is to wait.
func (d *ackDelay) expect(key flowKey, received header.TCP) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due[key] = &heldAck{ack: received.SequenceNumber() + seqLen(received)}
}

// forget ends a flow's waiting.
func (d *ackDelay) forget(key flowKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.due, key)
}

// hold looks at a segment that is to be sent and says whether it waits.
func (d *ackDelay) hold(key flowKey, seg header.TCP, packet []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.due[key]
	if h == nil || int32(seg.AckNumber()-h.ack) < 0 {
		return false // not waited for, or from before it
	}
	if h.packet == nil && seg.Flags() == header.TCPFlagAck && len(seg.Payload()) == 0 {
		h.packet = packet
		d.clock.AfterFunc(ackDelayed, func() { d.release(key, h) })
		return true
	}
	delete(d.due, key) // this segment acknowledges what the other would have
	return false
}

func (d *ackDelay) release(key flowKey, h *heldAck) {
	d.mu.Lock()
	due := d.due[key] == h
	if due {
		delete(d.due, key)
	}
	d.mu.Unlock()
	if due {
		d.send(h.packet)
	}
}

// isAlert says whether a segment is a TLS alert, as far as its first bytes tell.
func isAlert(seg header.TCP) bool {
	p := seg.Payload()
	return len(p) >= recordHeader && p[0] == tlsAlert && p[1] == 3
}
