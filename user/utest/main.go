// Command utest holds the tests that need user mode. Each runs in a process of
// its own, as `utest NAME`, and is judged by its exit status: 0 passed, anything
// else, a signal included, failed, with the reason on stderr.
//
// It is a plain static Linux program: `go test ./user/utest` runs the same
// binary on the host's Linux, so that what a test demands of Grim is what Linux
// does.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// test is one user-mode test.
type test struct {
	name string
	run  func()
	slow bool // left out of the quick set
}

// tests has all tests by topic, in the order in which they run.
var tests = slices.Concat(
	runtimeTests, forkTests, exitTests, waitTests, memoryTests, signalTests,
	faultTests, execTests, busyTests, mapTests, limitTests, procMemTests, fileTests,
	shortTests, epollTests, badInputTests, privilegeTests, futexTests, familyTests,
	rseqTests, procfsTests, permissionTests, ttyTests,
	fcntlTests,
	smallTests,
	timerTests,
	spliceTests,
	sysvTests,
	inotifyTests,
	walkTests,
	cpusTests, meetTests,
	unixTests, inetTests,
	schedTests,
	soakTests,
)

// helpers are what a test runs by exec: `utest NAME ARGS`.
var helpers = map[string]func(args []string){}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: utest NAME | -list | -quick")
		os.Exit(2)
	}
	name := os.Args[1]
	switch {
	case name == "-list" || name == "-quick":
		for _, t := range tests {
			if name == "-list" || !t.slow {
				fmt.Println(t.name)
			}
		}
		return
	case strings.HasPrefix(name, "helper-"):
		if h := helpers[name]; h != nil {
			h(os.Args[2:])
			return
		}
	}
	sharedWords() // now, so that it takes no hole that a test has made
	for _, t := range tests {
		if t.name == name {
			t.run()
			return
		}
	}
	fail("no test %q", name)
}

// fail ends the test with the reason.
func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "utest: "+format+"\n", args...)
	os.Exit(1)
}

// check fails when err is not nil.
func check(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

// equal fails when got is not want.
func equal[T comparable](what string, got, want T) {
	if got != want {
		fail("%s: got %v, want %v", what, got, want)
	}
}
