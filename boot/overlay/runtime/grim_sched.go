//go:build grim_overlay

package runtime

// Which goroutine runs next. The runtime's own order is by time of arrival alone
// where there is no sysmon, so a thread that waits for a byte would get it after
// the slices of all those that only compute. Here who was made ready goes before
// who gave way: goroutines that are woken or started are in one queue, those that
// Gosched has put back in the P's. The second has its turn too, after so many of
// the first: then a user thread that computes gets a slice of milliseconds, while
// the others' turns are short, or they would give way themselves.

// maxTurns is how many goroutines in a row may come from woken.
const maxTurns = 64

// woken is the queue of goroutines that were made ready, first come first served.
// A queue for the P: there is one.
var woken gQueue

// turns counts the choices, and calls of Yield, since the P's queue was served.
var turns uint32

// nextReady takes the goroutine that is to run next off its queue; nil if both
// are empty.
func nextReady(pp *p) *g {
	if turns++; turns < maxTurns && !woken.empty() {
		return woken.pop()
	}
	turns = 0
	if gp, _ := runqget(pp); gp != nil {
		return gp
	}
	if !woken.empty() {
		return woken.pop()
	}
	return nil
}

// Woken is how many goroutines have been made ready and not run since.
func Woken() int { return int(woken.size) }

// Yield lets the goroutines that have been woken so far run first. It is for
// kernel code in the middle of long work; Gosched, which is for those that compute
// in user mode, lets everybody run. If nobody was woken and no timer is due, it
// only counts as a turn: the P's queue has its own.
func Yield() {
	if turns++; turns < maxTurns && woken.empty() {
		if at := NextTimer(); at < 0 || at > nanotime() {
			return
		}
	}
	mcall(yieldWoken)
}

// yieldWoken queues gp after the goroutines of the timers that are due. The scheduler
// would look at the timers too late: gp would run first.
func yieldWoken(gp *g) {
	casgstatus(gp, _Grunning, _Grunnable)
	dropg()
	getg().m.p.ptr().timers.check(0, nil)
	woken.pushBack(gp)
	schedule()
}
