package main

import "github.com/tollgate-iot/tollgate/harness/verdict"

// The exit codes.
const (
	exitPass         = 0
	exitFail         = 1
	exitUsage        = 2
	exitInconclusive = 3
	exitNothing      = 4
	exitInterrupted  = 130
)

// exitOf is the exit code of a verdict.
func exitOf(v verdict.Verdict) int {
	return [...]int{verdict.Inconclusive: exitInconclusive, verdict.Pass: exitPass, verdict.Fail: exitFail}[v]
}
