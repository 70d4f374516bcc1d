// Package wiolte drives a Seeed Wio LTE, real or simulated, over its USB console in the line protocol of package line.
//
// The board runs a sketch that answers that protocol and prints the vendor samples' console lines beside it:
// "Connected.", "Send OK 5 hello", "### Close ERROR! ###". Its verbs and their words, in the order in which they go over
// the line:
//
//	activate APN USER PASSWORD      http_get URL
//	deactivate                      tcp HOST:PORT PAYLOAD REPLY-TIMEOUT
//	status                          udp HOST:PORT PAYLOAD REPLY-TIMEOUT
//	reset                           (timeouts as "5s" or "1m30s")
package wiolte

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/plan"
)

// socketTimeout is above the 300 s for which the vendor's SocketOpen can stall after the network dropped a session:
// two waits of 150 s, one for the modem's answer to AT+QIOPEN and one for its result.
const socketTimeout = 330 * time.Second

// Verbs gives what a Wio LTE can be told to do.
func Verbs() []plan.VerbSpec {
	return []plan.VerbSpec{
		{
			Name: "activate",
			Doc:  "Switch the modem on if need be, register and activate the data session. The answer is the device's address.",
			Args: []plan.ArgSpec{
				{Name: "apn", Type: plan.String, Default: "soracom.io", Doc: "access point name"},
				{Name: "user", Type: plan.String, Default: "sora", Doc: "user name for the access point"},
				{Name: "password", Type: plan.String, Default: "sora", Doc: "password for the access point"},
			},
			Timeout: 180 * time.Second,
		},
		{
			Name:    "deactivate",
			Doc:     "End the data session from the device's side.",
			Timeout: 60 * time.Second,
		},
		{
			Name: "http_get",
			Doc: "GET a URL with the modem's own HTTP client; http and https. The console shows \"Send OK <bytes> <body>\" or \"Send NG\"; " +
				"the answer is the body. A failed request is the device's failure.",
			Main: "url",
			Args: []plan.ArgSpec{
				{Name: "url", Type: plan.String, Required: true, Doc: "http://host[:port]/path or https://…"},
			},
			Timeout: 120 * time.Second,
		},
		{
			Name:    "tcp",
			Doc:     "Open a TCP socket, send once, receive once, close. The answer is what came back.",
			Args:    socketArgs(),
			Timeout: socketTimeout,
		},
		{
			Name:    "udp",
			Doc:     "Open a UDP socket, send one datagram, receive one, close. The answer is what came back.",
			Args:    socketArgs(),
			Timeout: socketTimeout,
		},
		{
			Name:    "status",
			Doc:     "Ask for the data session's state. The answer is \"active <address>\" or \"inactive\".",
			Timeout: 30 * time.Second,
		},
		{
			Name:    "reset",
			Doc:     "Reset the board and wait until its sketch answers again. The port may vanish and return under another name.",
			Timeout: 60 * time.Second,
		},
		{
			Name: "send",
			Doc:  "Write a line to the console as it is, outside the line protocol. There is no answer: look at the console.",
			Main: "text",
			Args: []plan.ArgSpec{
				{Name: "text", Type: plan.String, Required: true, Doc: "the line, without its end"},
			},
			Timeout: 10 * time.Second,
		},
	}
}

func socketArgs() []plan.ArgSpec {
	return []plan.ArgSpec{
		{Name: "to", Type: plan.Address, Required: true, Doc: "host:port"},
		{Name: "send", Type: plan.String, Required: true, Doc: "payload, sent once"},
		{Name: "reply", Type: plan.Pattern, Doc: "regular expression that the reply must match; without it any reply will do"},
		{Name: "reply_within", Type: plan.Duration, Default: "5s", Doc: "how long the device waits for the reply"},
	}
}
