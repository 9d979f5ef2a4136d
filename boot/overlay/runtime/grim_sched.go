//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// Which goroutine runs next. Without sysmon, the runtime's own order is only by time of
// arrival. So a thread that waits for a byte would get it only after the slices of all
// threads that compute. Here, goroutines that have been woken or started are in one queue,
// and those that Gosched has put back are in the P's queue. The first queue goes first.
// Every maxTurns picks, a goroutine is taken from the P's queue. Then a user thread that
// computes gets a slice of milliseconds. The turns of the goroutines in the first queue are
// short, as they would otherwise have been put back by Gosched.

// maxTurns is how many goroutines in a row may be taken from woken.
const maxTurns = 64

// perP has the fields of a P that the stock runtime does not have.
type perP struct {
	woken wokenQueue

	turns     uint32 // picks, and calls of Yield, since a goroutine was taken from the P's queue
	handOvers uint32 // calls of handOver
	slices    uint32 // calls of YieldAll

	claimed bool // grim_user.go; used under sched.lock

	perPlaced // grim_place.go
}

// wokenQueue is the queue of a P's goroutines that were made ready, first come first
// served. The P's own CPU adds to it and takes from it. Other CPUs steal from it, and an
// idle CPU adds to the queue of its own P without owning the P (wakeSelf, rejoin). So with
// several CPUs the queue is used with lock held, for a few instructions, which nothing
// interrupts: callers are on the scheduler's stack or hold their M.
type wokenQueue struct {
	lock uint32
	q    gQueue
}

// length returns how many goroutines are in the queue at the moment. It does not take the
// lock.
func (w *wokenQueue) length() int32 { return atomic.Loadint32(&w.q.size) }

// empty reports whether the queue is empty at the moment. It does not take the lock.
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

// take removes the first goroutine and returns it, or nil if there is none.
func (w *wokenQueue) take() *g {
	if w.empty() {
		return nil
	}
	w.acquire()
	gp := w.q.pop()
	w.release()
	return gp
}

// nextReady takes the goroutine that must run next from its queue. It returns nil if both
// queues are empty.
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

// stealWaiting takes a goroutine that has used up a slice on another CPU, waits there, and
// may run on pp. It returns nil if there is none.
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

// drainWoken moves all goroutines of pp's woken to q.
func drainWoken(pp *p, q *gQueue) {
	for gp := pp.grim.woken.take(); gp != nil; gp = pp.grim.woken.take() {
		q.pushBack(gp)
	}
}

// Woken returns how many goroutines have been made ready on this CPU and have not run
// since.
func Woken() int {
	own := &getg().m.p.ptr().grim
	return int(own.woken.q.size) + int(atomic.Load(&own.special))
}

// Yield first runs the goroutines that have been woken on this CPU so far. It is for kernel
// code in the middle of long work. Gosched, for goroutines that compute in user mode, lets
// all run. If no goroutine was woken and no timer is due, Yield only counts as a turn, so
// that the P's queue gets its own.
func Yield() {
	own := &getg().m.p.ptr().grim
	if own.turns++; own.turns < maxTurns && own.woken.empty() {
		if at := NextTimer(); at < 0 || at > nanotime() {
			return
		}
	}
	mcall(yieldWoken)
}

// yieldWoken queues gp after the goroutines of the timers that are due. The scheduler would
// check the timers too late: gp would run first.
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
// hands over to another CPU of an emulator seldom. That takes so long that a timer
// which is due every millisecond would always be due when user code is about to run.
func YieldAll() { mcall(sliceOver) }

// sliceOver is YieldAll on the scheduler's stack. If no goroutine waits for this CPU, one
// that waits for another CPU runs here: of three threads on two CPUs, each gets two thirds
// of a CPU.
func sliceOver(gp *g) {
	casgstatus(gp, _Grunning, _Grunnable)
	dropg()
	pp := getg().m.p.ptr()
	if severalCPUs {
		if pp.grim.slices++; pp.grim.slices%4 == 0 {
			procyield(1) // or user code that does not wait keeps the others of an emulator from running
		}
	}
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
