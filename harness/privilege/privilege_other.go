//go:build !linux

package privilege

// Grant gives "": there are no capabilities here.
func Grant() string { return "" }

// With calls open.
func With(open func() error) error { return open() }

// Renounce does nothing.
func Renounce() error { return nil }
