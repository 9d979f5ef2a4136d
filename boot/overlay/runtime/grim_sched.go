//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// Which goroutine runs next. Without sysmon, the runtime's own order is only by time of
// arrival. So a thread that waits for a byte would get it only after the slices of all
// threads that compute. Here a P has three queues, and the first that is not empty has the
// next goroutine:
//
//   - readyWoken has goroutines that were woken or started.
//   - readyCut has those that made room for woken ones in the middle of their work: threads
//     that have not used up a slice since they last slept, and kernel code that calls Yield.
//   - readyLast has those that Gosched has put back, and threads that have used up a slice.
//
// While goroutines are in the first queue, the others have a turn each time that the first
// has had the CPU for wokenTime. Turns of the second and third queue alternate. So a user
// thread that computes gets a slice of milliseconds if it is alone, and short turns if
// others are woken. How long a turn is decides package proc: the end of the turn of a thread
// in user mode is the time to which the CPU's timer is set. Each goroutine that becomes
// ready, and each timer that is started, makes the CPU check that time before it enters user
// mode again (perP.checkTimer).

// wokenTime is how long, in nanoseconds, goroutines in the other queues wait for woken ones.
// One of their turns is a third of that then (share in package proc).
const wokenTime = 75_000

// readyQueues are the queues of a P, by what the goroutines in them have done before.
type readyQueues [3]wokenQueue

const (
	readyWoken = iota
	readyCut
	readyLast
)

// perP has the fields of a P that the stock runtime does not have.
type perP struct {
	// ready has the goroutines that are scheduled in the usual way. The P's own queue is
	// only used for goroutines that are moved from another P's or from the global queue.
	ready readyQueues

	// since is when a woken goroutine was first chosen while others waited, since a goroutine
	// of another queue was last chosen; 0: none was.
	since     int64
	lowers    uint32 // choices between readyCut and readyLast
	handOvers uint32 // calls of handOver
	slices    uint32 // calls of YieldAll

	claimed bool // grim_user.go; used under sched.lock

	perPlaced // grim_place.go
}

// wokenQueue is a queue of a P's goroutines, first come first served. The P's own CPU adds
// to it and takes from it. Other CPUs steal from it, and an idle CPU adds to the queue of
// its own P without owning the P (wakeSelf, rejoin). So with several CPUs the queue is used
// with lock held, for a few instructions, which nothing interrupts: callers are on the
// scheduler's stack or hold their M.
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

// put adds gp at the end, or with first before all others.
func (w *wokenQueue) put(gp *g, first bool) {
	w.acquire()
	if first {
		w.q.push(gp)
	} else {
		w.q.pushBack(gp)
	}
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

// length returns how many goroutines are in the queues at the moment.
func (r *readyQueues) length() (n int32) {
	for i := range r {
		n += r[i].length()
	}
	return n
}

// take removes a goroutine of any queue and returns it, or nil if there is none.
func (r *readyQueues) take() (gp *g) {
	for i := 0; i < len(r) && gp == nil; i++ {
		gp = r[i].take()
	}
	return gp
}

// runqput makes gp ready on pp, the P of this CPU; next: it was woken or started. It takes
// the place of the stock runtime's function.
func runqput(pp *p, gp *g, next bool) {
	if gp.grim != 0 && putSpecial(pp, gp, next) {
		return
	}
	if next && gp.grim&placeLast == 0 {
		pp.grim.ready[readyWoken].put(gp, false)
		pp.grim.checkTimer()
	} else {
		pp.grim.ready[readyLast].put(gp, false)
	}
}

// requeue queues gp, which has had the CPU of pp, there: in a queue of its kind, or
// with first before all others of that queue.
func requeue(pp *p, gp *g, kind int, first bool) {
	if gp.grim != 0 {
		if gp.grim&placeLast != 0 {
			kind = readyLast
		}
		if requeueSpecial(pp, gp, kind, first) {
			return
		}
	}
	pp.grim.ready[kind].put(gp, first)
}

// queuesEmpty reports whether no goroutine is ready on pp, but for those in the stock
// runtime's queue.
func (pp *p) queuesEmpty() bool {
	r := &pp.grim.ready
	return r[readyWoken].empty() && r[readyCut].empty() && r[readyLast].empty() && atomic.Load(&pp.grim.special) == 0
}

// nextReady takes the goroutine that must run next from its queue. It returns nil if all
// queues are empty.
func nextReady(pp *p) *g {
	own := &pp.grim
	if atomic.Load(&own.special) != 0 {
		return nextSpecial(pp)
	}
	w, cut := &own.ready[readyWoken], &own.ready[readyCut]
	if !w.empty() {
		alone := cut.empty() && own.ready[readyLast].empty() && atomic.Load(&pp.runqhead) == atomic.Load(&pp.runqtail)
		if alone || !lowerDue(pp) {
			var gp *g
			if severalCPUs {
				gp = w.take()
			} else {
				gp = w.q.pop() // take, without calls
			}
			if alone && w.empty() && own.timer != nil {
				own.timer[0] = own.timer[1] // gp is alone: the timer need not be checked
			}
			if gp != nil {
				return gp
			}
		}
	}
	own.since = 0
	if !cut.empty() && own.cutFirst() {
		if !severalCPUs {
			return cut.q.pop()
		}
		if gp := cut.take(); gp != nil {
			return gp
		}
	}
	if gp := takeLast(pp); gp != nil {
		return gp
	}
	if gp := cut.take(); gp != nil {
		return gp
	}
	return w.take()
}

// lowerDue reports whether a goroutine of the second or third queue has waited long enough
// for woken ones.
func lowerDue(pp *p) bool {
	own := &pp.grim
	if own.ready[readyCut].empty() && own.ready[readyLast].empty() &&
		atomic.Load(&pp.runqhead) == atomic.Load(&pp.runqtail) && !own.boundWait() {
		return false
	}
	now := nanotime()
	if own.since == 0 {
		own.since = now
		return false
	}
	return now-own.since >= wokenTime
}

// cutFirst chooses between the second queue and the third, in turns.
func (own *perP) cutFirst() bool {
	own.lowers++
	return own.lowers%2 != 0
}

// takeLast takes a goroutine of the third queue. Those that were moved here from elsewhere
// are few, and go first.
func takeLast(pp *p) *g {
	if atomic.Load(&pp.runqhead) != atomic.Load(&pp.runqtail) {
		if gp, _ := runqget(pp); gp != nil {
			return gp
		}
	}
	return pp.grim.ready[readyLast].take()
}

// stealWaiting takes a goroutine that waits on another CPU and may run on pp. It returns nil
// if there is none.
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

// drainReady moves all goroutines in pp's ready to q.
func drainReady(pp *p, q *gQueue) {
	for gp := pp.grim.ready.take(); gp != nil; gp = pp.grim.ready.take() {
		q.pushBack(gp)
	}
}

// endOfTime is the largest number of nanoseconds.
const endOfTime = 1<<63 - 1

// checkTimer makes this CPU, whose P has own, check the time of its timer before it enters
// user mode, because a goroutine has become ready.
func (own *perP) checkTimer() {
	if own.timer != nil {
		own.timer[0] = endOfTime
	}
}

// timerStarted is checkTimer for a timer of the runtime that is due before all others of
// the P, and for goroutines with a Place: these may go before the running one at once.
func (own *perP) timerStarted() {
	if own.timer != nil {
		own.timer[0], own.timer[1] = endOfTime, endOfTime
	}
}

// SetTimerWords sets two words for a CPU. The second holds the time to which its timer is
// set. The first holds the same time, or the end of time if the timer must be checked
// before the CPU enters user mode. The scheduler stores the end of time in the first when a
// goroutine becomes ready on the CPU, and in both when a timer of the runtime is started
// there. It copies the second word to the first when only one goroutine is ready. All stores
// are whole words, and only the CPU itself reads or writes them. (See Waits for what other
// CPUs do.)
func SetTimerWords(cpu int, timer *[2]int64) { allp[cpu].grim.timer = timer }

// What Waits returns: bits.
const (
	WaitsUrgent = 1 << iota // a real-time goroutine that goes before the calling one
	WaitsWoken              // a goroutine that was woken or started
	WaitsCut                // one that made room for woken ones in the middle of its work
	WaitsLast               // one that has used up a slice
)

// Waits tells what is ready on this CPU. With several CPUs the caller is pinned. It is for
// the last look before user mode: if another CPU changes something after this, EnterUser
// returns false.
func Waits() (kinds int) {
	gp := getg()
	pp := gp.m.p.ptr()
	own := &pp.grim
	if severalCPUs {
		atomic.Xchg(&own.kicked, 0) // a barrier: before the look at the queues
	}
	for i := range own.ready {
		if !own.ready[i].empty() {
			kinds |= WaitsWoken << i
		}
	}
	if atomic.Load(&pp.runqhead) != atomic.Load(&pp.runqtail) {
		kinds |= WaitsLast
	}
	if atomic.Load(&own.special) != 0 {
		kinds |= specialWaits(pp, gp)
	}
	return kinds
}

// Yield first runs the goroutines that have been woken on this CPU so far. It is for kernel
// code in the middle of long work. Gosched, for goroutines that compute in user mode, lets
// all run. If no goroutine was woken, no timer is due, and none has waited for long, the
// caller goes on.
func Yield() {
	pp := getg().m.p.ptr()
	if pp.grim.ready[readyWoken].empty() && !pp.grim.specialWoken() && !lowerDue(pp) {
		if at := NextTimer(); at < 0 || at > nanotime() {
			return
		}
	}
	mcall(yieldCut)
}

// GiveWay runs goroutines that have been woken on this CPU. It is for a thread that has to
// make room for them before its slice is over. computes: it has used up a slice since it
// last slept, so it runs again before others that have.
func GiveWay(computes bool) {
	if computes {
		mcall(yieldFirst)
	} else {
		mcall(yieldCut)
	}
}

func yieldCut(gp *g)   { yieldTo(gp, readyCut, false) }
func yieldFirst(gp *g) { yieldTo(gp, readyLast, true) }

// yieldTo queues gp in one of this CPU's queues, after the goroutines of the timers that are
// due. The scheduler would check the timers too late: gp could run first.
func yieldTo(gp *g, kind int, first bool) {
	casgstatus(gp, _Grunning, _Grunnable)
	dropg()
	pp := getg().m.p.ptr()
	pp.timers.check(0, nil)
	requeue(pp, gp, kind, first || gp.grim.priority() != 0)
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
	if gp.grim&placeFIFO != 0 {
		requeue(pp, gp, readyLast, true)
	} else {
		runqput(pp, gp, false)
	}
	schedule()
}
