// Command tollgate is the release gate for cellular-device firmware, judged on the wire. See package harness for what it
// is made of, and `tollgate help` for what it does.
package main

import "os"

func main() {
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
