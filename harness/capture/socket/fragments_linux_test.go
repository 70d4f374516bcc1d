package socket

import (
	"encoding/binary"
	"net"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/bench"
)

// apart runs a test in a network namespace of its own, with a loopback interface, which ends with it.
func apart(t *testing.T, test func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the namespace with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		defer close(done)
		raiseLoopback(t)
		test()
	}()
	if err := <-done; err != nil {
		t.Skipf("a network namespace needs CAP_SYS_ADMIN: run as root (%v)", err)
	}
}

func raiseLoopback(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	var request struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = unix.IFF_UP
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		t.Errorf("raise lo: %v", errno)
	}
}

// fragment sends a part of a UDP datagram to 127.0.0.1, alone, and returns when it has come.
func fragment(t *testing.T, f *far, id uint16, place uint16, payload []byte) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	b := make([]byte, ipv4Len)
	b[0], b[8], b[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], place)
	copy(b[12:], net.IPv4(127, 0, 0, 1).To4())
	copy(b[16:], net.IPv4(127, 0, 0, 1).To4())
	if err := unix.Sendto(fd, append(b, payload...), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Error(err)
	}
	f.send(t) // nothing, behind it
}

// TestFragments: a mirrored packet that came in pieces is one record; one of which a piece is missing is doubted, not
// counted as lost, for it may be another's.
func TestFragments(t *testing.T) {
	apart(t, func() {
		tap, err := NewVXLAN(Options{Name: "t"})
		require.NoError(t, err)
		var got capture
		require.NoError(t, tap.Start(limited(t), got.take))
		require.Empty(t, tap.Doubt())
		defer onOneProcessor(t)()
		f := newFar(t, tap.Listening())

		whole := inVXLAN(7, beginText+"in two pieces")
		udp := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 50000), DefaultPort)
		udp = append(binary.BigEndian.AppendUint16(udp, uint16(udpLen+len(whole))), 0, 0)
		datagram := append(udp, whole...)
		fragment(t, f, 1, 0x2000, datagram[:24])
		require.Contains(t, tap.Doubt(), "fragments of datagrams to this host did not come (of 1, ReasmFails")
		fragment(t, f, 1, 24/8, datagram[24:])
		require.Empty(t, tap.Doubt(), "the rest has come")
		require.NoError(t, tap.Flush(limited(t)))
		require.Len(t, got.records, 1)
		require.Equal(t, "in two pieces", textOf(got.records[0].Data))

		fragment(t, f, 2, 0x2000, datagram[:24])
		require.NoError(t, tap.Close())
		require.Contains(t, tap.Doubt(), "fragments of datagrams to this host did not come", "after Close too")
		require.Equal(t, bench.TapStats{Received: 1}, tap.Stats())
	})
}

func TestFragmentCounts(t *testing.T) {
	n, ok := column([]byte("Ip: Forwarding ReasmFails FragOKs\nIp: 2 17 0\nUdp: InDatagrams\nUdp: 3\n"), "Ip:", "ReasmFails")
	require.True(t, ok)
	require.EqualValues(t, 17, n)
	n, ok = after([]byte("TCP: inuse 1\nFRAG: inuse 3 memory 900\n"), "FRAG:", "inuse")
	require.True(t, ok)
	require.EqualValues(t, 3, n)
	for _, text := range []string{"", "Ip:\nIp:\n", "Ip: ReasmFails\n", "Ip: ReasmFails\nIp: x\n", "FRAG: inuse\n", "FRAG: inuse x\n", "Ip: A ReasmFails\nIp: 1\n"} {
		_, ok := column([]byte(text), "Ip:", "ReasmFails")
		require.False(t, ok, text)
		_, ok = after([]byte(text), "FRAG:", "inuse")
		require.False(t, ok, text)
	}
}
