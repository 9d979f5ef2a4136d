//go:build !tamago

package proc

import (
	"runtime"
	"sync/atomic"
)

// On a host, user mode is a function call to the scheduler, and the test's machine says on
// which CPU the caller is.

func pin()            {}
func unpin()          {}
func leaveUser() bool { return true }

// waits, if there is one, is called when a thread is about to enter user mode. If it returns
// a function, the scheduler wants the CPU for something else, which the function does.
var waits atomic.Pointer[func() (others func())]

func enterUser() bool {
	if w := waits.Load(); w != nil {
		if others := (*w)(); others != nil {
			rejoins.Store(&others)
			return false
		}
	}
	return true
}

var rejoins atomic.Pointer[func()]

func rejoin()   { (*rejoins.Load())() }
func yieldAll() { runtime.Gosched() }

func giveWay(bool) { runtime.Gosched() }

func setPlace(uint64, int, bool, bool) {}
