//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// Which goroutine runs next. The runtime's own order is by time of arrival alone
// where there is no sysmon, so a thread that waits for a byte would get it after
// the slices of all those that only compute. Here who was made ready goes before
// who gave way: goroutines that are woken or started are in one queue, those that
// Gosched has put back in the P's. The second has its turn too, after so many of
// the first: then a user thread that computes gets a slice of milliseconds, while
// the others' turns are short, or they would give way themselves.

// maxTurns is how many goroutines in a row may come from woken.
const maxTurns = 64

// perP is what a P has beside the stock runtime's fields.
type perP struct {
	woken wokenQueue

	turns     uint32 // choices, and calls of Yield, since the P's queue was served
	handOvers uint32 // calls of handOver

	perPlaced // grim_place.go
}

// wokenQueue is the queue of a P's goroutines that were made ready, first come first
// served. The P's own CPU adds to it and takes from it. Other CPUs steal from it, and an
// idle CPU adds to that of its own P, without owning the P (wakeSelf, rejoin). So with
// several CPUs it is used with lock held, for a few instructions that nothing interrupts:
// callers are on the scheduler's stack or hold their M.
type wokenQueue struct {
	lock uint32
	q    gQueue
}

// length is how many are in the queue at the moment, without the lock.
func (w *wokenQueue) length() int32 { return atomic.Loadint32(&w.q.size) }

// empty reports whether the queue is empty at the moment, without the lock.
func (w *wokenQueue) empty() bool {
	return atomic.Loaduintptr((*uintptr)(unsafe.Pointer(&w.q.head))) == 0
}

func (w *wokenQueue) acquire() {
	if severalCPUs {
		for !atomic.Cas(&w.lock, 0, 1) {
			procyield(1)
		}
	}
}

func (w *wokenQueue) release() {
	if severalCPUs {
		atomic.Store(&w.lock, 0)
	}
}

// put adds gp at the end.
func (w *wokenQueue) put(gp *g) {
	w.acquire()
	w.q.pushBack(gp)
	w.release()
}

// putFirst adds gp before all others.
func (w *wokenQueue) putFirst(gp *g) {
	w.acquire()
	w.q.push(gp)
	w.release()
}

// take takes the first; nil if there is none.
func (w *wokenQueue) take() *g {
	if w.empty() {
		return nil
	}
	w.acquire()
	gp := w.q.pop()
	w.release()
	return gp
}

// nextReady takes the goroutine that is to run next off its queue; nil if both
// are empty.
func nextReady(pp *p) *g {
	own := &pp.grim
	if atomic.Load(&own.special) != 0 {
		return nextSpecial(pp)
	}
	if own.turns++; own.turns < maxTurns {
		if severalCPUs {
			if gp := own.woken.take(); gp != nil {
				return gp
			}
		} else if gp := own.woken.q.pop(); gp != nil { // take, without calls
			return gp
		}
	}
	own.turns = 0
	if gp, _ := runqget(pp); gp != nil {
		return gp
	}
	return own.woken.take()
}

// stealWaiting takes a goroutine that waits for another CPU, has used up a slice there, and
// may run on pp; nil if there is none.
func stealWaiting(pp *p) *g {
	for i := range allp {
		p2 := allp[(int(pp.id)+i)%len(allp)]
		if p2 == pp || idlepMask.read(uint32(p2.id)) {
			continue
		}
		if gp := runqsteal(pp, p2, false); gp != nil {
			return gp
		}
	}
	return nil
}

// drainWoken adds all goroutines in pp's woken to q.
func drainWoken(pp *p, q *gQueue) {
	for gp := pp.grim.woken.take(); gp != nil; gp = pp.grim.woken.take() {
		q.pushBack(gp)
	}
}

// Woken is how many goroutines have been made ready on this CPU and not run since.
func Woken() int {
	own := &getg().m.p.ptr().grim
	return int(own.woken.q.size) + int(atomic.Load(&own.special))
}

// Yield lets the goroutines that have been woken on this CPU so far run first. It is for
// kernel code in the middle of long work; Gosched, which is for those that compute
// in user mode, lets everybody run. If nobody was woken and no timer is due, it
// only counts as a turn: the P's queue has its own.
func Yield() {
	own := &getg().m.p.ptr().grim
	if own.turns++; own.turns < maxTurns && own.woken.empty() {
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
	pp := getg().m.p.ptr()
	pp.timers.check(0, nil)
	if gp.grim == 0 || !putFirstSpecial(pp, gp) {
		pp.grim.woken.put(gp)
	}
	schedule()
}

// YieldAll is Gosched for a thread that has used up its slice: it waits for nobody, so it
// does not hand over to another CPU of an emulator. That would take so long that a timer
// which is due every millisecond would always be due when user code is about to run.
func YieldAll() { mcall(sliceOver) }

// sliceOver is YieldAll on the scheduler's stack. If nobody else waits for this CPU, one
// of those that wait for another takes its turn here: of three threads on two CPUs, each
// has two thirds of a CPU.
func sliceOver(gp *g) {
	casgstatus(gp, _Grunning, _Grunnable)
	dropg()
	pp := getg().m.p.ptr()
	if severalCPUs && runqempty(pp) {
		if other := stealWaiting(pp); other != nil {
			runqput(pp, gp, false)
			execute(other, false)
		}
	}
	if gp.grim == 0 || gp.grim&placeFIFO == 0 || !putFirstSpecial(pp, gp) {
		runqput(pp, gp, false)
	}
	schedule()
}
