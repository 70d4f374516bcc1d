package ssh

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// TestTrouble has ssh end in every way that is told apart, with the words of OpenSSH 9, tcpdump 4.9 and 4.99, sudo and shells.
func TestTrouble(t *testing.T) {
	gre, err := filter.New(filter.Options{Words: []string{filter.GRE}})
	require.NoError(t, err)
	for _, c := range []struct {
		status int
		said   string
		kind   Kind
		hint   string
	}{
		{255, "ssh: Could not resolve hostname mirror-host: Name or service not known\r\n", UnknownHost, "~/.ssh/config"},
		{255, "ssh: Could not resolve hostname mirror-host: Temporary failure in name resolution\r\n", UnknownHost, "DNS"},
		{255, "ssh: connect to host 10.0.0.1 port 22: No route to host\r\n", NoRoute, "VPN"},
		{255, "ssh: connect to host 10.0.0.1 port 22: Network is unreachable\r\n", NoRoute, "network"},
		{255, "ssh: connect to host 10.0.0.1 port 22: Connection refused\r\n", Refused, "sshd"},
		{255, "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 10.0.0.1 port 22\r\n", Refused, "sshd"},
		{255, "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 port 22\r\n", Refused, "sshd"},
		{255, "ssh: connect to host 10.0.0.1 port 22: Connection timed out\r\n", TimedOut, "firewall"},
		{255, "Connection timed out during banner exchange\r\nConnection to 10.0.0.1 port 22 timed out\r\n", TimedOut, "firewall"},
		{255, "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\r\nHost key verification failed.\r\n", HostKey, "connect once by hand, ssh ops@mirror-host"},
		{255, "@@@@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@@@@@@@\r\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r\nHost key verification failed.\r\n", HostKey, "ssh-keygen -R mirror-host"},
		{255, "Authorized users only!\r\nops@mirror-host: Permission denied (publickey).\r\n", Login, "ssh -o BatchMode=yes ops@mirror-host true"},
		{255, "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r\nDisconnected from 10.0.0.1 port 22\r\n", Login, "agent"},
		{255, "/home/u/.ssh/config: line 3: Bad configuration option: hots\r\n/home/u/.ssh/config: terminating, 1 bad configuration options\r\n", BadConfig, "ssh -G"},
		{255, "Bad owner or permissions on /home/u/.ssh/config\r\n", BadConfig, "ssh -G"},
		{255, "Timeout, server 10.0.0.1 not responding.\r\n", Lost, "went away"},
		{255, "tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes\nclient_loop: send disconnect: Broken pipe\r\n", Lost, "went away"},
		{255, "Connection to 10.0.0.1 closed by remote host.\r\n", Lost, "went away"},
		{255, "something nobody has seen before\r\n", Lost, ""},
		{127, "tollgate: tcpdump: not found\n", NoTcpdump, "apt-get install tcpdump"},
		{1, "sudo: tcpdump: command not found\n", NoTcpdump, "apt-get install tcpdump"},
		{1, "sudo: a password is required\n", NoSudo, "NOPASSWD"},
		{1, "sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\nsudo: a password is required\n", NoSudo, "NOPASSWD"},
		{1, "ops is not in the sudoers file.  This incident will be reported.\n", NoSudo, "NOPASSWD"},
		{1, "Sorry, user ops is not allowed to execute '/usr/bin/tcpdump -s 0' as root on h.\n", NoSudo, "NOPASSWD"},
		{127, "sh: 1: sudo: not found\n", NoSudo, "leave it out"},
		{1, "tcpdump: eth0: You don't have permission to capture on that device\n(socket: Operation not permitted)\n", NoPermission, "sudo: true"},
		{1, "tcpdump: eth0: You don't have permission to perform this capture on that device\n(Attempt to create packet socket failed - CAP_NET_RAW may be required)\n", NoPermission, "setcap"},
		{1, "tcpdump: eth9: No such device exists\n(No such device exists)\n", NoInterface, "ip -brief link"},
		{1, "tcpdump: eth9: No such device exists\n(SIOCGIFHWADDR: No such device)\n", NoInterface, "ip -brief link"},
		{1, "tcpdump: eth1: That device is not up\n", NoInterface, "which of them are up"},
		{1, "tcpdump: can't parse filter expression: syntax error\n", BadFilter, "capture: all on eth0"},
		{1, "tcpdump: syntax error in filter expression: syntax error\n", BadFilter, "too old"},
		{1, "tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes\ntcpdump: pcap_loop: The interface disappeared\n0 packets captured\n", NoInterface, "in the middle"},
		{1, "tcpdump: pcap_loop: out of memory\n", Ended, ""},
	} {
		t.Run(string(c.kind)+" "+strings.SplitN(c.said, "\n", 2)[0], func(t *testing.T) {
			t.Setenv(asSSH, fmt.Sprintf("fail %d %s", c.status, c.said))
			t.Setenv("GORACE", "atexit_sleep_ms=0")
			tap, err := New(Options{Name: "junction", Host: "ops@mirror-host", Filter: gre, Program: []string{os.Args[0]}})
			require.NoError(t, err)
			err = tap.Start(limited(t), func(pcap.Record) {})
			requireKind(t, c.kind, err)
			require.True(t, strings.HasPrefix(err.Error(), "start tap junction: capture on ops@mirror-host, interface eth0: "+string(c.kind)), err.Error())
			require.Contains(t, err.Error(), c.hint)
			require.NotContains(t, err.Error(), "\r")
			require.NoError(t, tap.Close())
		})
	}
}

func TestNoSSHHere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	tap, err := New(Options{Host: "h"})
	require.NoError(t, err)
	err = tap.Start(limited(t), func(pcap.Record) {})
	requireKind(t, NoSSH, err)
	require.ErrorContains(t, err, "install it: apt-get install openssh-client")
	require.NoError(t, tap.Close())
}

func TestNewRefuses(t *testing.T) {
	for want, o := range map[string]Options{
		"no host was given":                        {},
		`host "-oProxyCommand=x": it must not`:     {Host: "-oProxyCommand=x"},
		`interface "-w": it must not`:              {Host: "h", Interface: "-w"},
		"host \"a\\x00b\": it must not begin with": {Host: "a\x00b"},
	} {
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
}

// TestCommand: the user's configuration stands, and the host can't be taken for an option.
func TestCommand(t *testing.T) {
	got := command([]string{"/opt/ssh", "-F", "x"}, place{host: "h", iface: "eth0"})
	require.Equal(t, []string{"/opt/ssh", "-F", "x", "-T"}, got[:4])
	text := strings.Join(got, " ")
	for _, want := range []string{"-o BatchMode=yes", "-o ServerAliveInterval=5", "-o ServerAliveCountMax=3", "-o RemoteCommand=none", " -- h sh -c "} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, script, "'")
	require.NotContains(t, script, "\n", "csh has no line ends in a word")
}

func FuzzExplain(f *testing.F) {
	f.Add("ssh: connect to host 10.0.0.1 port 22: Connection refused\r\n", 255)
	f.Add("tcpdump: \x1b[31meth9\xff: No such device exists\n", 1)
	f.Fuzz(func(t *testing.T, said string, status int) {
		tap := &Tap{where: place{host: "h", iface: "eth0"}}
		err, _ := tap.explain(said, status)
		require.Error(t, err)
		require.True(t, utf8.ValidString(err.Error()))
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), "\x1b")
		require.Less(t, len(err.Error()), 1500)
	})
}
