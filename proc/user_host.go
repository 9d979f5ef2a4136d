//go:build !tamago

package proc

import "runtime"

// On a host, user mode is a function call to the scheduler, and the test's machine says on
// which CPU the caller is.

func pin()            {}
func unpin()          {}
func enterUser() bool { return true }
func leaveUser() bool { return true }
func rejoin()         {}
func yieldAll()       { runtime.Gosched() }

func setPlace(uint64, int, bool, bool) {}
