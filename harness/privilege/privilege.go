// Package privilege keeps the one capability that capturing needs, CAP_NET_RAW, in force for no longer than it takes to
// open a socket. Full root is never needed: the file capability that Grant names is enough.
//
// A process that was given the capability by its file has it permitted and effective on all its threads. With takes it
// out of the effective set of every thread, and puts it back on the calling thread alone while a socket is opened, so
// that code which goes astray meanwhile can open none; Renounce gives it up for good, once no more sockets will be opened.
// A process of root's is left as it is: taking single capabilities from it protects nothing and breaks what root expects.
//
// Linux keeps capabilities for each thread, and libcap's psx changes those of all threads at once, whether the program was
// built with cgo or without. On other systems there are no capabilities, and With only calls.
package privilege
