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

	// kicked says that a goroutine has been added that may go before the running one.
	kicked uint32

	// armed is the word that SetTimerWord has set.
	armed *int64

	alternate bool // which of two queues is next

	// bound has the goroutines that may run on this CPU but not on all CPUs: those that
	// were woken, and those that have used up a slice.
	bound [2]wokenQueue

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

// take takes the first goroutine of the highest priority that may run on CPU n; nil if there
// is none. Of each priority, only the first is looked at.
func (r *rtQueue) take(n int32) (gp *g) {
	if atomic.Load(&r.n) == 0 {
		return nil
	}
	r.acquire()
	for i := priorities - 1; i > 0; i-- {
		if r.bits[i/64]>>(i%64)&1 == 0 {
			continue
		}
		if first := r.q[i].head.ptr(); first.grim.allows(n) {
			gp = r.q[i].pop()
			if r.q[i].empty() {
				r.bits[i/64] &^= 1 << (i % 64)
			}
			atomic.Xadd(&r.n, -1)
			break
		}
	}
	r.release()
	return gp
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
		i := 1
		if next {
			i = 0
		}
		atomic.Xadd(&own.special, 1)
		own.bound[i].put(gp)
	default:
		return false
	}
	if target != pp {
		kick(target, next)
	} else if pl.priority() != 0 {
		atomic.Store(&own.kicked, 1)
		if own.armed != nil {
			atomic.Storeint64(own.armed, 1<<63-1)
		}
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

// putFirstSpecial adds gp to pp, on which it has run, before others of its kind. It
// returns false if the goroutine belongs into the usual queues.
func putFirstSpecial(pp *p, gp *g) bool {
	own := &pp.grim
	switch {
	case gp.grim.priority() != 0:
		atomic.Xadd(&own.special, 1)
		own.rt.put(gp, true)
	case gp.grim&placeCPUs != 0:
		atomic.Xadd(&own.special, 1)
		own.bound[0].putFirst(gp)
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
		n := p2.grim.woken.length() + int32(atomic.Load(&p2.grim.special)) + int32(p2.runqtail-atomic.Load(&p2.runqhead))
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
		atomic.Store(&pp.grim.kicked, 1)
		target := mOf(pp)
		gp := (*g)(atomic.Loadp(unsafe.Pointer(&target.curg)))
		if gp != nil && readgstatus(gp)&^_Gscan == _Gsyscall {
			goos.Wake(uint64(target.cpu))
		}
	}
	releasem(mp)
}

// nextSpecial is nextReady if there are goroutines with a Place.
func nextSpecial(pp *p) (gp *g) {
	own := &pp.grim
	r := &own.rt
	atomic.Store(&own.kicked, 0)
	if r.since != 0 {
		r.used += nanotime() - r.since
		r.since = 0
		atomic.Xadd(&own.special, -1)
	}
	if gp = takeRealTime(pp, false); gp != nil {
		return gp
	}
	own.alternate = !own.alternate
	own.turns++
	woken := own.turns < maxTurns
	for range 2 {
		if woken {
			gp = takeEither(pp, 0)
		} else {
			own.turns = 0
			gp = takeEither(pp, 1)
		}
		if gp != nil {
			return gp
		}
		woken = !woken
	}
	return takeRealTime(pp, true)
}

// takeRealTime takes a real-time goroutine, if they have not used up their share; with
// anyway it takes one even then.
func takeRealTime(pp *p, anyway bool) *g {
	own := &pp.grim
	r := &own.rt
	if atomic.Load(&r.n) == 0 {
		return nil
	}
	now := nanotime()
	if now-r.period >= rtPeriod {
		r.period, r.used = now, 0
	}
	if r.used >= rtShare && !anyway {
		return nil
	}
	gp := r.take(pp.id)
	if gp != nil {
		r.since = now // stays counted in special
	}
	return gp
}

// takeEither takes a goroutine that was woken (0) or has used up a slice (1). It takes
// goroutines that run on any CPU and bound ones in turns.
func takeEither(pp *p, kind int) (gp *g) {
	own := &pp.grim
	bound := own.alternate
	for range 2 {
		switch {
		case bound:
			if gp = own.bound[kind].take(); gp != nil {
				atomic.Xadd(&own.special, -1)
			}
		case kind == 0:
			gp = own.woken.take()
		default:
			gp, _ = runqget(pp)
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
	return own.woken.take()
}

// runsHere reports whether p2 has a goroutine that this CPU could steal.
//
//go:nowritebarrierrec
func runsHere(p2 *p) bool {
	own := &p2.grim
	if atomic.Load(&own.special) == 0 {
		return !runqempty(p2)
	}
	if !own.woken.empty() || atomic.Load(&p2.runqhead) != atomic.Load(&p2.runqtail) {
		return true
	}
	n := getg().m.cpu
	for i := range own.bound {
		if own.bound[i].has(n) {
			return true
		}
	}
	return own.rt.has(n)
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

// has reports whether take would find a goroutine.
//
//go:nowritebarrierrec
func (r *rtQueue) has(n int32) (ok bool) {
	if atomic.Load(&r.n) == 0 {
		return false
	}
	r.acquire()
	for i := 1; i < priorities && !ok; i++ {
		ok = r.bits[i/64]>>(i%64)&1 != 0 && r.q[i].head.ptr().grim.allows(n)
	}
	r.release()
	return ok
}

// waitsHere reports whether another CPU has added a goroutine for this CPU to the queues of
// mp's P.
//
//go:nowritebarrierrec
func waitsHere(mp *m) bool { return atomic.Load(&allp[mp.cpu].grim.special) != 0 }

// Kicked reports, once, whether a goroutine has been added to this CPU's queues that may go
// before the running one.
func Kicked() bool {
	k := &getg().m.p.ptr().grim.kicked
	return atomic.Load(k) != 0 && atomic.Xchg(k, 0) != 0
}

// SetTimerWord sets the word that holds the time to which a CPU's timer is set. When a
// real-time goroutine becomes ready there, the word is set to the end of time, so that the
// kernel checks the timer again.
func SetTimerWord(cpu int, armed *int64) { allp[cpu].grim.armed = armed }
