package lab

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Sender sends whole frames on an interface. A tap on the same interface has each of them when Send returns, for the
// kernel shows a frame to the taps before it sends it.
type Sender struct {
	fd int
	to unix.SockaddrLinklayer
}

// NewSender opens a sender on an interface of a namespace.
func NewSender(in *Namespace, name string) (*Sender, error) {
	s := &Sender{fd: -1}
	err := in.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		s.to.Ifindex, s.to.Halen = i.Index, 6
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a sender on %s of namespace %s: %w", name, in.Name, err)
	}
	return s, nil
}

// Send sends a frame, whole from its first byte.
func (s *Sender) Send(frame []byte) error { return unix.Sendto(s.fd, frame, 0, &s.to) }

// Close closes the sender.
func (s *Sender) Close() error { return unix.Close(s.fd) }
