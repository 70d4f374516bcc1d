package main

import (
	"errors"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// mistakes gathers the mistakes of several files, so that all are told at once.
type mistakes struct{ all scenario.Errors }

// add keeps the mistakes of one file; another kind of error is given back.
func (m *mistakes) add(err error) error {
	var es scenario.Errors
	if errors.As(err, &es) {
		m.all = append(m.all, es...)
		return nil
	}
	return err
}

// err gives all of them; what several files have from a third is said once.
func (m *mistakes) err() error { return m.all.Err() }
