package ssh

import (
	"cmp"
	"regexp"
	"strings"
)

// Kind says what is wrong with a capture on another host.
type Kind string

// The kinds of trouble.
const (
	NoSSH        Kind = "no ssh"                  // there is no ssh on this machine
	BadConfig    Kind = "configuration"           // ssh does not understand the user's configuration
	UnknownHost  Kind = "unknown host"            // no such name
	NoRoute      Kind = "no route"                // the network can't reach it
	Refused      Kind = "refused"                 // nothing listens there, or it does not let us in before we have said who we are
	TimedOut     Kind = "time-out"                // it does not answer
	HostKey      Kind = "host key"                // it is not the host that it was, or one never seen
	Login        Kind = "login"                   // it does not know us
	NoTcpdump    Kind = "no tcpdump"              // it has no tcpdump
	NoSudo       Kind = "sudo"                    // sudo wants a password, or does not allow tcpdump
	NoPermission Kind = "no permission"           // tcpdump may not capture
	NoInterface  Kind = "no such interface"       // or it is down
	BadFilter    Kind = "filter"                  // tcpdump does not understand the expression
	Lost         Kind = "connection lost"         // in the middle
	Ended        Kind = "tcpdump ended by itself" // in the middle
)

// Error is why a capture on another host did not begin, or ended.
type Error struct {
	Kind Kind
	op   string // "capture on mirror-host, interface eth0"
	said string // ssh's or tcpdump's own words
	hint string
}

func (e *Error) Error() string {
	text := e.op + ": " + string(e.Kind)
	if e.said != "" {
		text += ": " + e.said
	}
	if e.hint != "" {
		text += " (" + e.hint + ")"
	}
	return text
}

// setcap lets everybody who can run tcpdump capture: on a host for mirrors, the simplest.
const setcap = "sudo setcap cap_net_raw,cap_net_admin+ep $(command -v tcpdump)"

// sign is how trouble is recognised in what ssh, the host's shell, sudo and tcpdump write. Their words don't depend on the
// language: OpenSSH has but English, and the script sets LC_ALL.
type sign struct {
	words     *regexp.Regexp
	kind      Kind
	hint      func(place) string
	permanent bool // trying again would not help
}

func says(words string) *regexp.Regexp { return regexp.MustCompile(`(?m)^.*(?:` + words + `).*$`) }

func always(text string) func(place) string { return func(place) string { return text } }

// sshSigns are those of ssh itself, whose exit status is then 255 (ssh(1)). The most telling come first.
var sshSigns = []sign{
	{says(`REMOTE HOST IDENTIFICATION HAS CHANGED`), HostKey, func(p place) string {
		return "it is another machine under the same name, or one in between: if that is known, ssh-keygen -R " + bare(p.host) + " forgets the old key"
	}, true},
	{says(`Host key verification failed|host key is known for|host key for .* has changed`), HostKey, func(p place) string {
		return "connect once by hand, ssh " + p.host + ", and look at its key"
	}, true},
	{says(`Could not resolve hostname`), UnknownHost, always("is it written as in ~/.ssh/config, or known to the DNS here?"), false},
	{says(`Permission denied|Too many authentication failures|no mutual signature|No more authentication methods|sign_and_send_pubkey`), Login, func(p place) string {
		return "no password is asked for: put a key into the agent or the configuration, and try ssh -o BatchMode=yes " + p.host + " true"
	}, true},
	{says(`Bad configuration option|Bad owner or permissions|terminating, \d+ bad configuration|keyword .* extra arguments`), BadConfig, always("ssh -G HOST shows what it understands"), true},
	{says(`No route to host|Network is unreachable|Host is down|Network is down|Cannot assign requested address`), NoRoute, always("is the network or the VPN up?"), false},
	{says(`Connection refused|kex_exchange_identification|Connection closed by .* port \d+|Exceeded MaxStartups|Not allowed at this time`), Refused, func(place) string {
		return "does sshd run there, on that port, and let this machine in?"
	}, false},
	{says(`[Tt]imed out during banner|timed out|Connection timeout`), TimedOut, always("is the host up, and does a firewall let ssh through?"), false},
	{says(`Timeout, server .* not responding|Broken pipe|Connection reset|closed by remote host|client_loop|Connection to .* closed|mux_client`), Lost, always("the network between, or the host, went away"), false},
}

// hostSigns are those of what runs on the host.
var hostSigns = []sign{
	{says(`sudo: .*(?:password is required|terminal is required|no tty present)|sudo: sorry|is not in the sudoers file|is not allowed to (?:execute|run sudo)|may not run sudo`), NoSudo, func(place) string {
		return "allow it there by visudo, NAME ALL=(root) NOPASSWD: /usr/bin/tcpdump, /usr/bin/kill; or leave sudo out and give tcpdump the capability: " + setcap
	}, true},
	{says(`sudo: not found|sudo: command not found`), NoSudo, always("there is no sudo: leave it out, or log in as root"), true},
	{says(`tcpdump: (?:command )?not found`), NoTcpdump, always("install it there: apt-get install tcpdump, dnf install tcpdump, apk add tcpdump"), true},
	{says(`don't have permission|Operation not permitted|CAP_NET_RAW|[Pp]ermission denied`), NoPermission, func(p place) string {
		if p.sudo {
			return "even by sudo: is it a container without CAP_NET_RAW?"
		}
		return "give the tap sudo: true, or have there: " + setcap
	}, true},
	{says(`No such device|device .* doesn't exist|That device is not up|interface .* not found|Interface name .* invalid`), NoInterface, func(p place) string {
		return "ssh " + p.host + " ip -brief link lists those that there are and which of them are up"
	}, false},
	{says(`syntax error|can't parse filter expression|unknown (?:host|port|network|protocol|gateway|ether host)|illegal token|expression rejects all packets|aid supported only|not supported on|unsupported|parse error`), BadFilter, func(p place) string {
		return "the filter is tollgate's own: the interface may be of a kind that carries no IP, or the libpcap there too old; capture: all on " + p.iface + " leaves nothing out"
	}, true},
	{says(`The interface (?:went down|disappeared|.*no longer)|Network is down`), NoInterface, always("it went down or away in the middle"), false},
}

// bare is a host without its user.
func bare(host string) string { return host[strings.LastIndexByte(host, '@')+1:] }

// explain makes an error of how ssh ended.
func (t *Tap) explain(said string, status int) (error, bool) {
	t.mu.Lock()
	t.said = cmp.Or(said, "nothing")
	t.mu.Unlock()
	signs := hostSigns
	if status == 255 {
		signs = sshSigns
	}
	for _, s := range signs {
		if line := s.words.FindString(said); line != "" {
			return &Error{Kind: s.kind, op: t.where.String(), said: clean(line), hint: s.hint(t.where)}, s.permanent
		}
	}
	e := &Error{Kind: Ended, op: t.where.String(), said: lastLine(said)}
	if status == 255 || status < 0 {
		e.Kind = Lost
	}
	return e, false
}

// lastLine is the last thing that was said, fit to be shown.
func lastLine(said string) string {
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := len(lines) - 1; i >= 0; i-- {
		if l := clean(lines[i]); l != "" {
			return l
		}
	}
	return ""
}

// clean makes a stranger's line fit to be shown.
func clean(line string) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "\uFFFD"))
	const most = 200
	if r := []rune(line); len(r) > most {
		line = string(r[:most]) + "…"
	}
	return strings.TrimSpace(line)
}
