// Package line is the serial line between the harness and a board: the console with a time on every line, and the small
// protocol in which a board's sketch is told what to do.
//
// # The protocol
//
// Text, one line each way at a time, lines end with LF or CR LF. Everything that is not said here is the sketch's own
// console output and may stand between any two lines: "Connected.", "### Close ERROR! ###".
//
// The harness writes a command: a number sign, the command's number, a verb and its words.
//
//	#12 http_get http://beam.soracom.io:8888/
//	#13 udp beam.soracom.io:23080 "hello, world" 5s
//
// A word that is empty or holds a space, a quote, a backslash or anything outside printable ASCII is written in double
// quotes, with \" \\ \n \r \t and \xHH inside.
//
// The board acknowledges at once, before it does anything, and says at last how it went:
//
//	#12 > http_get
//	Send OK 5 hello
//	#12 OK hello
//
//	#13 > udp
//	### RECEIVE TIMEOUT! ###
//	#13 ERROR "no reply within 5s"
//
// The answer after OK and the reason after ERROR are one word, or nothing.
//
//   - Command 0 is always "hello": the board forgets what it had been told before and answers OK with its model and
//     firmware, "wio-lte stock". The harness greets a board whenever it opened the port.
//   - Later commands count up from 1. A command that is not acknowledged is sent again with the same number; a board that
//     gets a number twice repeats what it last said to it and does nothing twice.
//   - One command at a time: a board that is busy answers another one with ERROR busy, and is told again later.
//   - A verb that a board does not know is answered with ERROR and a reason.
//
// Noise in front of a number sign, on a line of the board's, is passed over.
package line
