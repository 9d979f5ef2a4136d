//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"runtime/goos"
	"unsafe"
)

// Goroutines that are scheduled in special ways: bound to some CPUs, real-time, or behind
// the others. They are user threads that have requested it. So all of this is apart from
// the usual path: a goroutine whose Place is 0 is never in a queue of this file.

// Place says how a goroutine is scheduled. 0 is the usual way. The bits:
//
//	0..15   the CPUs that it may run on; 0: all
//	16..23  real-time priority, 1 to 99; 0: not real-time
//	24      real-time, and keeps the CPU until it blocks or gives it away (SCHED_FIFO)
//	25      runs with those that have used up a slice, also if it has been woken
type Place uint32

const (
	placeCPUs  Place = 1<<maxCPUs - 1
	placeFIFO  Place = 1 << 24
	placeLast  Place = 1 << 25
	placeShift       = 16

	// priorities is the number of real-time priorities, including 0.
	priorities = 100
)

// MakePlace returns a Place. cpus is a set of CPUs. If it is empty, or has all running
// CPUs, the goroutine may use all CPUs.
func MakePlace(cpus uint64, priority int, fifo, last bool) Place {
	all := uint64(1)<<gomaxprocs - 1
	pl := Place(0)
	if cpus &= all; cpus != all {
		pl = Place(cpus)
	}
	pl |= Place(priority) << placeShift
	if fifo {
		pl |= placeFIFO
	}
	if last {
		pl |= placeLast
	}
	return pl
}

func (pl Place) priority() int { return int(pl >> placeShift & 0xff) }

// allows reports whether the goroutine may run on CPU n.
func (pl Place) allows(n int32) bool { return pl&placeCPUs == 0 || pl>>n&1 != 0 }

// perPlaced is the part of perP for goroutines with a Place.
type perPlaced struct {
	// special counts the goroutines in the queues below, plus one while the goroutine that
	// nextSpecial has chosen last is a real-time one.
	special uint32

	// kicked says that another CPU has added a goroutine, or changed a timer, so that this
	// CPU must look at its queues and timers before it enters user mode. Waits sets it to 0.
	kicked uint32

	// timer has the words that SetTimerWords has set.
	timer *[2]int64

	alternate bool // which of two queues is next

	// bound has the goroutines that may run on this CPU but not on all CPUs.
	bound readyQueues

	rt rtQueue
}

// rtQueue has a P's ready real-time goroutines, by priority. lock is used like the lock of
// wokenQueue.
type rtQueue struct {
	lock uint32
	n    uint32             // number of goroutines
	bits [2]uint64          // the elements of q that are not empty
	q    [priorities]gQueue // [0] is not used

	// All real-time goroutines together get rtShare of each rtPeriod, if others are ready.
	// Only the P's own CPU uses these fields.
	since, period, used int64
}

// Linux's defaults (sched_rt_period_us, sched_rt_runtime_us).
const (
	rtPeriod = 1_000_000_000
	rtShare  = 950_000_000
)

func (r *rtQueue) acquire() {
	if severalCPUs {
		for !atomic.Cas(&r.lock, 0, 1) {
			procyield(1)
		}
	}
}

func (r *rtQueue) release() {
	if severalCPUs {
		atomic.Store(&r.lock, 0)
	}
}

// put adds gp behind the goroutines of its priority, or with first before them.
func (r *rtQueue) put(gp *g, first bool) {
	i := gp.grim.priority()
	r.acquire()
	if first {
		r.q[i].push(gp)
	} else {
		r.q[i].pushBack(gp)
	}
	r.bits[i/64] |= 1 << (i % 64)
	atomic.Xadd(&r.n, 1)
	r.release()
}

// first returns the highest priority of which the first goroutine may run on CPU n; 0 if
// there is none. Of each priority, only the first is looked at. lock must be held.
//
//go:nowritebarrierrec
func (r *rtQueue) first(n int32) int {
	for i := priorities - 1; i > 0; i-- {
		if r.bits[i/64]>>(i%64)&1 != 0 && r.q[i].head.ptr().grim.allows(n) {
			return i
		}
	}
	return 0
}

// take takes the first goroutine of the highest priority that may run on CPU n; nil if there
// is none.
func (r *rtQueue) take(n int32) (gp *g) {
	if atomic.Load(&r.n) == 0 {
		return nil
	}
	r.acquire()
	if i := r.first(n); i != 0 {
		gp = r.q[i].pop()
		if r.q[i].empty() {
			r.bits[i/64] &^= 1 << (i % 64)
		}
		atomic.Xadd(&r.n, -1)
	}
	r.release()
	return gp
}

// top returns the highest priority of which take would find a goroutine; 0: none.
//
//go:nowritebarrierrec
func (r *rtQueue) top(n int32) (priority int) {
	if atomic.Load(&r.n) != 0 {
		r.acquire()
		priority = r.first(n)
		r.release()
	}
	return priority
}

// usedUp reports whether real-time goroutines have had their share of this period.
func (r *rtQueue) usedUp() bool {
	if now := nanotime(); now-r.period >= rtPeriod {
		r.period, r.used = now, 0
	}
	return r.used >= rtShare
}

// takeFor takes the first of the goroutines in w that may run on CPU n, of those that it
// looks at.
func (w *wokenQueue) takeFor(n int32) *g {
	if w.empty() {
		return nil
	}
	w.acquire()
	var before, found *g
	looks := 0
	for gp := w.q.head.ptr(); gp != nil && looks < maxLooks; gp = gp.schedlink.ptr() {
		if gp.grim.allows(n) {
			found = gp
			break
		}
		before = gp
		looks++
	}
	switch {
	case found == nil:
	case before == nil:
		w.q.pop()
	default:
		before.schedlink = found.schedlink
		if w.q.tail.ptr() == found {
			w.q.tail.set(before)
		}
		w.q.size--
		found.schedlink = 0
	}
	w.release()
	return found
}

// maxLooks bounds how long a CPU looks for work in a queue of goroutines that are bound to
// others.
const maxLooks = 16

// SetPlace says how the calling goroutine is to be scheduled from now on. It returns on
// a CPU that the goroutine may use. A goroutine that ends must have called SetPlace(0).
func SetPlace(pl Place) {
	gp := getg()
	gp.grim = pl
	if !pl.allows(gp.m.cpu) {
		mcall(moveAway)
	}
}

func moveAway(gp *g) {
	casgstatus(gp, _Grunning, _Grunnable)
	dropg()
	runqput(getg().m.p.ptr(), gp, true)
	schedule()
}

// putSpecial is runqput for a goroutine that has a Place; next: it was woken. It returns
// false if the goroutine belongs into the usual queues.
func putSpecial(pp *p, gp *g, next bool) bool {
	pl := gp.grim
	target := pp
	if pl&placeCPUs != 0 {
		target = homeOf(pp, pl)
	}
	own := &target.grim
	switch {
	case pl.priority() != 0:
		atomic.Xadd(&own.special, 1)
		own.rt.put(gp, false)
		next = true
	case pl&placeCPUs != 0:
		if pl&placeLast != 0 {
			next = false
		}
		kind := readyLast
		if next {
			kind = readyWoken
		}
		atomic.Xadd(&own.special, 1)
		own.bound[kind].put(gp, false)
	default:
		return false
	}
	if target != pp {
		kick(target, next)
	} else {
		own.timerStarted()
	}
	return true
}

// readyOn queues gp, which was woken, and wakes an idle CPU to run it. A goroutine that is bound to
// some CPUs has been given to one of these.
func readyOn(pp *p, gp *g, next bool) {
	bound := gp.grim&placeCPUs != 0
	runqput(pp, gp, next)
	if !bound {
		wakep()
	}
}

// requeueSpecial is requeue for a goroutine that has a Place. It returns false if the
// goroutine belongs into the usual queues.
func requeueSpecial(pp *p, gp *g, kind int, first bool) bool {
	own := &pp.grim
	switch {
	case gp.grim.priority() != 0:
		atomic.Xadd(&own.special, 1)
		own.rt.put(gp, first)
	case gp.grim&placeCPUs != 0:
		atomic.Xadd(&own.special, 1)
		own.bound[kind].put(gp, first)
	default:
		return false
	}
	return true
}

// homeOf is the P to queue a goroutine on that is bound to some CPUs: one that is idle, or
// pp, or the one with the shortest queues.
func homeOf(pp *p, pl Place) *p {
	var best *p
	shortest := int32(1<<31 - 1)
	for _, p2 := range allp {
		if !pl.allows(p2.id) {
			continue
		}
		if idlepMask.read(uint32(p2.id)) {
			return p2
		}
		n := p2.grim.ready.length() + int32(atomic.Load(&p2.grim.special)) + int32(p2.runqtail-atomic.Load(&p2.runqhead))
		if p2 == pp {
			n = -1
		}
		if n < shortest {
			best, shortest = p2, n
		}
	}
	return best
}

// kick has the CPU of pp look at its queues, to which the caller has added a goroutine:
// at once if it is idle, and if next, also if it is in user mode. In
// kernel mode it looks by itself, before it enters user mode: see EnterUser.
//
// Memory order. The addition comes first. Then the list of idle Ps is looked at, under
// sched.lock; a CPU that goes to sleep puts its P into the list first, under the same lock, and
// looks at the queues then (sleepIdle). So either this CPU finds the P, or that CPU finds the
// goroutine. Then kicked is stored, and the status of the other CPU's goroutine is read;
// EnterUser stores the status first, and reads kicked then. So either this CPU sees user mode, or
// that CPU sees kicked (Dekker). Both are Go's atomics, which on arm64 are STLR or STLXR and then
// LDAR: an LDAR is not satisfied before an earlier STLR of the same CPU is seen by all. The goroutine
// itself is found by curg, which its CPU has stored before the status. If this CPU reads an older
// curg, its load came before that store, so kicked did too, and EnterUser sees it. See
// model/bound.pml, and its mutants NO_BARRIER_KICK and NO_BARRIER_ENTRY.
func kick(pp *p, next bool) {
	mp := acquirem() // see startm
	lock(&sched.lock)
	idle := takeIdleP(pp)
	unlock(&sched.lock)
	if idle {
		startm(pp, false, false)
	} else if next {
		lookAgain(pp, mOf(pp))
	}
	releasem(mp)
}

// lookAgain makes the CPU of pp and target, another CPU's, look at its queues and timers
// before it goes on with user code: at once if it is in user mode. It returns false if the
// CPU was not in user mode.
func lookAgain(pp *p, target *m) bool {
	atomic.Store(&pp.grim.kicked, 1)
	gp := (*g)(atomic.Loadp(unsafe.Pointer(&target.curg)))
	inUser := gp != nil && readgstatus(gp)&^_Gscan == _Gsyscall
	if inUser {
		goos.Wake(uint64(target.cpu))
	}
	return inUser
}

// nextSpecial is nextReady if there are goroutines with a Place.
func nextSpecial(pp *p) (gp *g) {
	own := &pp.grim
	r := &own.rt
	if r.since != 0 {
		r.used += nanotime() - r.since
		r.since = 0
		atomic.Xadd(&own.special, -1)
	}
	if gp = takeRealTime(pp, false); gp != nil {
		return gp
	}
	own.alternate = !own.alternate
	if !(own.ready[readyWoken].empty() && own.bound[readyWoken].empty()) && !lowerDue(pp) {
		if gp = takeEither(pp, readyWoken); gp != nil {
			return gp
		}
	}
	own.since = 0
	kinds := [...]int{readyCut, readyLast, readyWoken}
	if !(own.ready[readyCut].empty() && own.bound[readyCut].empty()) && !own.cutFirst() {
		kinds[0], kinds[1] = readyLast, readyCut
	}
	for _, kind := range kinds {
		if gp = takeEither(pp, kind); gp != nil {
			return gp
		}
	}
	return takeRealTime(pp, true)
}

// boundWait reports whether goroutines wait in the second and third queue of bound.
func (own *perP) boundWait() bool {
	return atomic.Load(&own.special) != 0 && !(own.bound[readyCut].empty() && own.bound[readyLast].empty())
}

// specialWoken reports whether a goroutine with a Place was woken and has not run since.
func (own *perP) specialWoken() bool {
	return atomic.Load(&own.special) != 0 && (!own.bound[readyWoken].empty() || atomic.Load(&own.rt.n) != 0)
}

// specialWaits is Waits for the goroutines with a Place. gp is the running one.
func specialWaits(pp *p, gp *g) (kinds int) {
	own := &pp.grim
	for i := range own.bound {
		if !own.bound[i].empty() {
			kinds |= WaitsWoken << i
		}
	}
	if own.rt.top(pp.id) > gp.grim.priority() && !own.rt.usedUp() {
		kinds |= WaitsUrgent
	}
	return kinds
}

// takeRealTime takes a real-time goroutine, if they have not used up their share; with
// anyway it takes one even then.
func takeRealTime(pp *p, anyway bool) *g {
	own := &pp.grim
	r := &own.rt
	if atomic.Load(&r.n) == 0 {
		return nil
	}
	if r.usedUp() && !anyway {
		return nil
	}
	gp := r.take(pp.id)
	if gp != nil {
		r.since = nanotime() // stays counted in special
	}
	return gp
}

// takeEither takes a goroutine of one of the three kinds. It takes goroutines that run on
// any CPU and bound ones in turns.
func takeEither(pp *p, kind int) (gp *g) {
	own := &pp.grim
	bound := own.alternate
	for range 2 {
		switch {
		case bound:
			if gp = own.bound[kind].take(); gp != nil {
				atomic.Xadd(&own.special, -1)
			}
		case kind == readyLast:
			gp = takeLast(pp)
		default:
			gp = own.ready[kind].take()
		}
		if gp != nil {
			return gp
		}
		bound = !bound
	}
	return nil
}

// stealReady takes a goroutine for the calling CPU from the queues of p2 that runqsteal
// does not know.
func stealReady(p2 *p) *g {
	n := getg().m.cpu
	own := &p2.grim
	if atomic.Load(&own.special) != 0 {
		gp := own.rt.take(n)
		for i := 0; i < len(own.bound) && gp == nil; i++ {
			gp = own.bound[i].takeFor(n)
		}
		if gp != nil {
			atomic.Xadd(&own.special, -1)
			return gp
		}
	}
	return own.ready.take()
}

// runsHere reports whether p2 has a goroutine that this CPU could steal.
//
//go:nowritebarrierrec
func runsHere(p2 *p) bool {
	own := &p2.grim
	if atomic.Load(&own.special) == 0 {
		return !runqempty(p2)
	}
	if own.ready.length() != 0 || atomic.Load(&p2.runqhead) != atomic.Load(&p2.runqtail) {
		return true
	}
	n := getg().m.cpu
	for i := range own.bound {
		if own.bound[i].has(n) {
			return true
		}
	}
	return own.rt.top(n) != 0
}

// has reports whether takeFor would find a goroutine.
//
//go:nowritebarrierrec
func (w *wokenQueue) has(n int32) (ok bool) {
	if w.empty() {
		return false
	}
	w.acquire()
	looks := 0
	for gp := w.q.head.ptr(); gp != nil && looks < maxLooks && !ok; gp = gp.schedlink.ptr() {
		ok = gp.grim.allows(n)
		looks++
	}
	w.release()
	return ok
}

// waitsHere reports whether another CPU has added a goroutine for this CPU to the queues of
// mp's P.
//
//go:nowritebarrierrec
func waitsHere(mp *m) bool { return atomic.Load(&allp[mp.cpu].grim.special) != 0 }
