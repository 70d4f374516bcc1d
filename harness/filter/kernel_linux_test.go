package filter

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"pgregory.net/rapid"
)

// TestLawTheKernelTakesThePrograms: it checks more than the library's machine does, that no memory is read before it was
// written for one. Any socket will do, and needs no privilege.
func TestLawTheKernelTakesThePrograms(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	socket := ipv4.NewPacketConn(conn)
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t)
		for _, framing := range []Framing{Ethernet, RawIP} {
			code, err := bpf.Assemble(f.Program(framing, 262144))
			require.NoError(t, err)
			require.NoError(t, socket.SetBPF(code), "filter %s, framing %d", f, framing)
		}
	})
}
