//go:build grim_overlay

package runtime

// Which goroutine runs next. The runtime's own order is by time of arrival alone
// where there is no sysmon, so a thread that waits for a byte would get it after
// the slices of all those that only compute. Here who was made ready goes before
// who gave way: goroutines that are woken or started are in one queue, those that
// Gosched has put back in the P's. The second has its turn too, since a user
// thread that gives way has used up a slice of milliseconds, and the others'
// turns are short, or they would give way themselves.

// yieldedTurn is how often, in turns, the P's queue is served first.
const yieldedTurn = 61

// woken is the queue of goroutines that were made ready, first come first served.
// A queue for the P: there is one.
var woken gQueue

// turns counts the choices.
var turns uint32

// nextReady takes the goroutine that is to run next off its queue; nil if both
// are empty.
func nextReady(pp *p) *g {
	turns++
	if turns%yieldedTurn == 0 {
		if gp, _ := runqget(pp); gp != nil {
			return gp
		}
	}
	if !woken.empty() {
		return woken.pop()
	}
	gp, _ := runqget(pp)
	return gp
}

// Yield lets the goroutines that have been woken so far run first. It is for
// kernel code in the middle of long work; Gosched, which is for those that compute
// in user mode, lets everybody run. If nobody was woken it only counts as a turn,
// but for one in eight, when the scheduler looks at timers and the P's queue.
func Yield() {
	if turns++; woken.empty() && turns%8 != 0 {
		return
	}
	mcall(yieldWoken)
}

func yieldWoken(gp *g) {
	casgstatus(gp, _Grunning, _Grunnable)
	dropg()
	woken.pushBack(gp)
	schedule()
}
