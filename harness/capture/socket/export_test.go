package socket

// For the tests that see the tap from outside.
var (
	NewFar  = newFar
	SendAll = (*far).send
)
