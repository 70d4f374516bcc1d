// Package lab makes networks of real kernels for tests: network namespaces of this host, with links between them and the
// commands that mirror traffic as a cloud's network does. It needs root, and iproute2; without them a test is skipped,
// and says so. Everything is gone when the test ends, also when it fails: names are the process's own, and a link goes
// with its namespace.
package lab
