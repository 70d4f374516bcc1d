package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// link is an interface by its name, watched: what the kernel tells of interfaces (rtnetlink(7)) says when to look, and
// that something was the matter in between.
type link struct {
	name        string
	promiscuous bool
	ask         int // a socket for questions
	news        int // a socket of rtnetlink
	index       int // that the packet socket is bound to
	kind        pcap.LinkType
	well        time.Time // when all was last known to be well
	out         bool
	buf         [16 << 10]byte
}

// form is how the frames of a kind of interface are captured.
type form struct {
	socket  int // type of the packet socket
	link    pcap.LinkType
	framing filter.Framing
}

// forms are by the hardware types of linux/if_arp.h. Of those without Ethernet the socket leaves out whatever else is
// before the IP header.
var forms = func() map[uint16]form {
	ethernet := form{unix.SOCK_RAW, pcap.LinkEthernet, filter.Ethernet}
	ip := form{unix.SOCK_DGRAM, pcap.LinkRaw, filter.RawIP}
	return map[uint16]form{
		unix.ARPHRD_ETHER: ethernet, unix.ARPHRD_LOOPBACK: ethernet,
		unix.ARPHRD_NONE: ip, unix.ARPHRD_RAWIP: ip, unix.ARPHRD_PPP: ip, unix.ARPHRD_TUNNEL: ip, unix.ARPHRD_TUNNEL6: ip,
		unix.ARPHRD_SIT: ip, unix.ARPHRD_IPGRE: ip, unix.ARPHRD_IP6GRE: ip,
	}
}()

// look is what an interface is like.
type look struct {
	name     string
	index    int // 0: there is none of the name
	up       bool
	carrier  bool
	loopback bool
	hardware uint16
	kind     form
	mtu      uint32
	joins    bool
}

func watch(name string, promiscuous bool) (*link, error) {
	l := &link{name: name, promiscuous: promiscuous, ask: -1, news: -1, well: time.Now()}
	var err error
	if l.ask, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open a socket to ask for the interface: %w", err)
	}
	if l.news, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE); err == nil {
		err = unix.Bind(l.news, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch the interfaces: %w", err), l.close())
	}
	return l, nil
}

// look asks what the interface is like.
func (l *link) look() (look, error) {
	now := look{name: l.name}
	req, err := unix.NewIfreq(l.name)
	if err != nil {
		return now, fmt.Errorf("%q is no interface's name: it has 1 to 15 bytes", l.name)
	}
	var flags uint16
	for _, q := range []struct {
		number uint
		keep   func()
	}{
		{unix.SIOCGIFINDEX, func() { now.index = int(req.Uint32()) }},
		{unix.SIOCGIFFLAGS, func() { flags = req.Uint16() }},
		{unix.SIOCGIFMTU, func() { now.mtu = req.Uint32() }},
		{unix.SIOCGIFHWADDR, func() { now.hardware = req.Uint16() }},
	} {
		err := unix.IoctlIfreq(l.ask, q.number, req)
		if errors.Is(err, unix.ENODEV) {
			return look{name: l.name}, nil
		}
		if err != nil {
			return now, fmt.Errorf("ask for interface %s: %w", l.name, err)
		}
		q.keep()
	}
	now.up, now.carrier, now.loopback = flags&unix.IFF_UP != 0, flags&unix.IFF_RUNNING != 0, flags&unix.IFF_LOOPBACK != 0
	now.kind = forms[now.hardware]
	// The flag for a carrier is set some time after the carrier, so who drives the interface is asked.
	if yes, known := l.ethtool(ethtoolLink); known {
		now.carrier = yes
	}
	now.joins, _ = l.ethtool(ethtoolGRO)
	return now, nil
}

// The questions to ethtool, of linux/ethtool.h.
const (
	ethtoolLink = 0x0a // is there a carrier?
	ethtoolGRO  = 0x2b // are the segments joined that it receives?
)

// ethtool asks a yes-or-no question; known is false where the interface can't answer.
func (l *link) ethtool(question uint32) (yes, known bool) {
	value := struct{ question, answer uint32 }{question: question}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is longer
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], l.name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.ask), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	return value.answer != 0, errno == 0
}

// why says why nothing can be captured, "" where it can.
func (n look) why() string {
	switch {
	case n.index == 0:
		return fmt.Sprintf("there is no interface %s: `ip -brief link` lists what there is", n.name)
	case n.kind.socket == 0:
		return fmt.Sprintf("interface %s is of hardware type %d, whose frames are not read: give one that carries Ethernet or IP", n.name, n.hardware)
	case !n.up:
		return fmt.Sprintf("interface %s is down: `sudo ip link set %[1]s up`", n.name)
	case !n.carrier:
		return fmt.Sprintf("interface %s has no carrier: is it plugged in, and its other end up?", n.name)
	}
	return ""
}

// notes says what is particular of the interface.
func (n look) notes(name string) []string {
	if !n.joins {
		return nil
	}
	return []string{fmt.Sprintf("%s joins TCP segments (generic receive offload): a captured packet may stand for several, which figures on the air count; `sudo ethtool -K %[1]s gro off` shows them as they came", name)}
}

// bind makes the packet socket get the interface's frames.
func (l *link) bind(fd int, now look) error {
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: now.index}); err != nil {
		return fmt.Errorf("bind to interface %s: %w", l.name, err)
	}
	l.index, l.kind = now.index, now.kind.link
	if !l.promiscuous {
		return nil
	}
	err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(now.index), Type: unix.PACKET_MR_PROMISC})
	if err != nil {
		return fmt.Errorf("make interface %s promiscuous: %w", l.name, err)
	}
	return nil
}

// bigEndian gives a number in network order.
func bigEndian(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// follow looks after the interface: whether the socket has an error, and whether there is news of interfaces.
func (l *link) follow(fd int, k keeper, failed, news bool) error {
	began := time.Now()
	if !failed && !news && !l.out {
		l.well = began
		return nil
	}
	cause, err := l.trouble(fd)
	if err != nil {
		return err
	}
	if cause != "" {
		l.out = true
		k.lost(l.well, cause)
	}
	if l.out {
		return l.recover(fd, k)
	}
	l.well = began
	return nil
}

// trouble reads the socket's error and the news and says what happened to the interface, "" where nothing did.
func (l *link) trouble(fd int) (string, error) {
	number, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return "", fmt.Errorf("read the packet socket's error: %w", err)
	}
	cause := ""
	switch errno := unix.Errno(number); errno {
	case 0:
	case unix.ENETDOWN, unix.ENODEV, unix.ENXIO:
		cause = fmt.Sprintf("interface %s went down", l.name)
	default:
		return "", fmt.Errorf("packet socket: %w", errno)
	}
	for {
		n, _, err := unix.Recvfrom(l.news, l.buf[:], 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return cause, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS): // some news was lost: it may have been ours
			cause = fmt.Sprintf("so much happened to interfaces that %s can't be known to have been well", l.name)
		case err != nil:
			return "", fmt.Errorf("read news of interfaces: %w", err)
		default:
			if told := l.read(l.buf[:n]); told != "" {
				cause = told
			}
		}
	}
}

// read says what a message of rtnetlink tells of trouble with the interface: it holds struct nlmsghdr, struct ifinfomsg,
// and what is of no interest here, as often as the kernel likes.
func (l *link) read(b []byte) (cause string) {
	for len(b) >= unix.SizeofNlMsghdr+unix.SizeofIfInfomsg {
		length, typ := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint16(b[4:])
		index := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr+4:]))
		flags := binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr+8:])
		if int(index) == l.index {
			switch {
			case typ == unix.RTM_DELLINK:
				cause = fmt.Sprintf("interface %s vanished", l.name)
			case typ == unix.RTM_NEWLINK && flags&unix.IFF_UP == 0:
				cause = fmt.Sprintf("interface %s went down", l.name)
			case typ == unix.RTM_NEWLINK && flags&unix.IFF_LOWER_UP == 0:
				cause = fmt.Sprintf("interface %s lost its carrier", l.name)
			}
		}
		next := (int(length) + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		if next < unix.SizeofNlMsghdr || next > len(b) {
			return cause
		}
		b = b[next:]
	}
	return cause
}

// recover ends the outage where the interface is there again.
func (l *link) recover(fd int, k keeper) error {
	now, err := l.look()
	if err != nil {
		return err
	}
	if now.why() != "" || now.kind.link != l.kind {
		return nil // it is asked again soon
	}
	if now.index != l.index {
		if err := l.bind(fd, now); errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
			return nil // it is gone again
		} else if err != nil {
			return err
		}
	}
	// An interface is said to be up before the sockets bound to it are told. Both are done under one lock of the kernel's,
	// which this question waits for; the answer does not matter.
	_, _ = l.ethtool(ethtoolLink)
	if cause, err := l.trouble(fd); cause != "" || err != nil {
		return err // it may have gone down again
	}
	l.out, l.well = false, time.Now()
	k.back(l.well)
	return nil
}

func (l *link) close() error {
	var errs []error
	for _, fd := range []int{l.ask, l.news} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
