package line

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// greetWithin is how long a board may take to answer after its port was opened: opening it makes most of them boot.
const greetWithin = 15 * time.Second

// Greet finds a board's port, opens it and greets what is there. It gives the client and how the board introduced
// itself. The name ("the Wio LTE") stands in errors; port says each time anew where the board is now, "" for nowhere.
func Greet(ctx context.Context, name string, port func() (string, error), clock Clock, sink func(Line)) (*Client, string, error) {
	path, err := port()
	if err == nil && path == "" {
		err = errors.New("its port is not there: is it plugged in and powered?")
	}
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", name, err)
	}
	c, err := Dial(path, clock, sink)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", name, err)
	}
	wait, cancel := clock.WithTimeout(ctx, greetWithin)
	defer cancel()
	model, err := c.Hello(wait)
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("greet %s on %s: %w", name, path, err), c.Close())
	}
	return c, model, nil
}
