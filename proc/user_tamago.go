//go:build tamago

package proc

import "runtime"

// What the scheduler must know of user mode if there are several CPUs. See the functions
// with these names in package runtime.

func pin()            { runtime.Pin() }
func unpin()          { runtime.Unpin() }
func enterUser() bool { return runtime.EnterUser() }
func leaveUser() bool { return runtime.LeaveUser() }
func rejoin()         { runtime.Rejoin() }
func yieldAll()       { runtime.YieldAll() }

// setPlace has the calling goroutine scheduled by the scheduler of package runtime.
func setPlace(cpus uint64, priority int, fifo, last bool) {
	runtime.SetPlace(runtime.MakePlace(cpus, priority, fifo, last))
}
