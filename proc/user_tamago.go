//go:build tamago

package proc

import "runtime"

// What the scheduler wants to know of user mode where there are several CPUs; see the
// functions of these names in package runtime.

func pin()            { runtime.Pin() }
func unpin()          { runtime.Unpin() }
func enterUser() bool { return runtime.EnterUser() }
func leaveUser() bool { return runtime.LeaveUser() }
func rejoin()         { runtime.Rejoin() }
func yieldAll()       { runtime.YieldAll() }
