package lab

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender sends whole frames on an interface. A tap on the same interface has each of them when Send returns, for the
// kernel shows a frame to the taps before it sends it.
type Sender struct {
	fd       int
	messages []message // of SendAll
	parts    []unix.Iovec
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
	_      [4]byte
}

// NewSender opens a sender on an interface of a namespace.
func NewSender(in *Namespace, name string) (s *Sender, err error) {
	err = in.Do(func() error {
		s, err = OpenSender(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", in.Name, err)
	}
	return s, nil
}

// OpenSender opens a sender on an interface of the caller's own namespace.
func OpenSender(name string) (*Sender, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("open a sender on %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a sender on %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind a sender to %s: %w", name, err), unix.Close(fd))
	}
	return &Sender{fd: fd}, nil
}

// Send sends a frame, whole from its first byte. That the other end had no room for it is no error: a tap here has it.
func (s *Sender) Send(frame []byte) error {
	if _, err := unix.Write(s.fd, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// together is how many frames go with one system call.
const together = 64

// SendAll sends frames as fast as it can, and gives how many the network took: a frame that it had no room for is left out.
func (s *Sender) SendAll(frames [][]byte) (taken int, err error) {
	if s.messages == nil {
		s.messages, s.parts = make([]message, together), make([]unix.Iovec, together)
	}
	for len(frames) > 0 {
		n := min(together, len(frames))
		for i, f := range frames[:n] {
			s.parts[i] = unix.Iovec{Base: &f[0]}
			s.parts[i].SetLen(len(f))
			s.messages[i].header = unix.Msghdr{Iov: &s.parts[i]}
			s.messages[i].header.SetIovlen(1)
		}
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.messages[0])), uintptr(n), 0, 0, 0)
		switch errno {
		case 0:
			taken, frames = taken+int(done), frames[done:]
		case unix.ENOBUFS:
			frames = frames[1:]
		case unix.EINTR, unix.EAGAIN:
		default:
			return taken, fmt.Errorf("send: %w", errno)
		}
	}
	return taken, nil
}

// Close closes the sender.
func (s *Sender) Close() error { return unix.Close(s.fd) }
