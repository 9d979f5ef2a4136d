//go:build tamago

package proc

import "runtime"

// With several CPUs, the scheduler must be told about user mode. See the functions with
// these names in package runtime.

func pin()            { runtime.Pin() }
func unpin()          { runtime.Unpin() }
func enterUser() bool { return runtime.EnterUser() }
func leaveUser() bool { return runtime.LeaveUser() }
func rejoin()         { runtime.Rejoin() }
func yieldAll()       { runtime.YieldAll() }

func giveWay(computes bool) { runtime.GiveWay(computes) }

// setPlace sets how the scheduler of package runtime schedules the calling goroutine.
func setPlace(cpus uint64, priority int, fifo, last bool) {
	runtime.SetPlace(runtime.MakePlace(cpus, priority, fifo, last))
}
