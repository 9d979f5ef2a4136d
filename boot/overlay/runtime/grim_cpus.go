//go:build grim_overlay

package runtime

import (
	"internal/abi"
	"internal/runtime/atomic"
	"runtime/goos"
	"unsafe"
)

// Several CPUs. CPU n has M n and P n, and both never change: an M does not end, and a P is
// not given to another M. The stock scheduler lets any idle M run any idle P. Its protocols
// for that stay unchanged (see "Worker thread parking/unparking" in proc.go). The edits in
// rules.go choose the M that belongs to the P, and let an M take back only its own P.
//
// An idle CPU sleeps in stopm, without a P. Its P is in the scheduler's list of idle Ps.
// A CPU that makes a goroutine ready takes a P from the list, and wakes that P's M with one
// interrupt (startm). An idle CPU wakes by itself for a timer of its P, and for an
// interrupt of a device: it takes its own P from the list then (wakeSelf).
//
// No thread watches the others (sysmon). A P whose thread is in user mode is taken from it
// only while the world is stopped: grim_user.go.

// maxCPUs is the maximum number of CPUs. It is the same number as in grim/mm/pmap.
const maxCPUs = 16

// severalCPUs says that more than one CPU runs. It is set once, while the world is
// stopped.
var severalCPUs bool

// ms has the Ms by the number of their CPU; 0: not made yet. An M is never freed, and allm
// keeps it alive.
var ms [maxCPUs]muintptr

// mOf returns the M of pp, or nil if it is not made yet.
func mOf(pp *p) *m { return ms[pp.id].ptr() }

// cpuM has the fields of an M that the stock runtime does not have.
type cpuM struct {
	// notes counts the wake-ups by semawakeup, mutexes those by mutexWake.
	notes, mutexes uint32

	// asleep becomes 1 before the M looks for a wake-up for the last time, and 0 when the M
	// is awake. While it is 1 a waker must send an interrupt.
	asleep uint32

	// startSpinning becomes m.spinning of the M when the M has got the P in nextp. The
	// caller of startm owns that P when it writes here, so there is one writer at a time.
	// It cannot write m.spinning itself: the M may still be on its way into stopm.
	startSpinning bool

	// raised has the goroutines that interrupts have made ready while the M had no P. Only
	// the M itself uses it.
	raised gList

	// rejoins says that a thread that has left user mode waits for the M's P: rejoin. It is
	// written under sched.lock, and by the M once it has the P.
	rejoins bool
}

// SetCPUs makes the scheduler run on n CPUs, with goos.Task, Wake and Idle. It must be
// called once, on the boot CPU, when the other CPUs wait to be started. The number can only
// grow.
func SetCPUs(n int) {
	if n == 1 {
		return
	}
	if severalCPUs || n < 1 || n > maxCPUs || goos.Task == nil || goos.Wake == nil || goos.Idle == nil {
		panic(plainError("runtime.SetCPUs: called twice, number out of range, or hooks missing"))
	}
	stw := stopTheWorldGC(stwGOMAXPROCS)
	severalCPUs = true
	numCPUStartup = int32(n)
	newprocs = int32(n)
	startTheWorldGC(stw)
	for i := 1; i < n; i++ {
		mp := acquirem() // see startm
		lock(&sched.lock)
		pp := allp[i]
		start := ms[i] == 0 && takeIdleP(pp)
		unlock(&sched.lock)
		if start {
			newm(nil, pp, int64(i))
		}
		releasem(mp)
	}
}

// SystemStackBytes is the size of the stack of a CPU's scheduler (g0), as in the stock
// runtime.
const SystemStackBytes = 16384

var systemStacks [maxCPUs]stack

// SetSystemStack gives a CPU the memory [end-SystemStackBytes, end) for its scheduler's
// stack, below which nothing is mapped. It must be called before SetCPUs. A CPU without it
// has its stack in the heap, where an overflow damages what lies below.
func SetSystemStack(cpu int, end uintptr) { systemStacks[cpu] = stack{end - SystemStackBytes, end} }

// newG0 returns the g of the scheduler on mp's CPU.
func newG0(mp *m) *g {
	s := systemStacks[mp.cpu]
	if s.hi == 0 {
		return malg(SystemStackBytes)
	}
	gp := malg(-1)
	gp.stack = s
	gp.stackguard0, gp.stackguard1 = s.lo+stackGuard, ^uintptr(0) // as malg
	return gp
}

// newosproc starts the CPU of mp.
func newosproc(mp *m) {
	if goos.Task == nil {
		throw("an M was started before SetCPUs")
	}
	goos.Task(unsafe.Pointer(mp.g0.stack.hi), unsafe.Pointer(mp), unsafe.Pointer(mp.g0), unsafe.Pointer(abi.FuncPCABI0(mstart)))
}

// takeIdleP takes pp from the list of idle Ps, and reports whether it was there.
// sched.lock must be held.
//
//go:nowritebarrierrec
func takeIdleP(pp *p) bool {
	for at := &sched.pidle; *at != 0; at = &at.ptr().link {
		if at.ptr() != pp {
			continue
		}
		// As pidleget does with the first P of the list.
		timerpMask.set(pp.id)
		idlepMask.clear(pp.id)
		*at = pp.link
		sched.npidle.Add(-1)
		pp.limiterEvent.stop(limiterEventIdle, nanotime())
		return true
	}
	return false
}

// pidlegetOwn is pidleget for an M that wants to run itself: it takes the M's own P. If
// that P is not idle, another M has given it to this M, which will find it in stopm, or the
// world is being stopped. sched.lock must be held.
//
//go:nowritebarrierrec
func pidlegetOwn(now int64) (*p, int64) {
	if now == 0 {
		now = nanotime()
	}
	if pp := allp[getg().m.cpu]; takeIdleP(pp) {
		return pp, now
	}
	sched.needspinning.Store(1) // see pidlegetSpinning
	return nil, now
}

// Notes and semaphores. An M that waits without a P is idle: it sleeps, with interrupts on.
// An M with a P waits only briefly, until another CPU stops. It spins, because an interrupt
// taken here might need locks that the M holds.

func semacreate(*m) {}

//go:nosplit
func semasleep(ns int64) int32 {
	mp := getg().m
	var end int64
	if ns >= 0 {
		end = nanotime() + ns
	}
	for {
		if takeWakeup(&mp.notes) {
			return 0
		}
		if ns >= 0 && nanotime() >= end {
			return -1
		}
		if ns < 0 && !severalCPUs {
			systemstack(waitsForItself)
		}
		if mp.p == 0 && getg() == mp.g0 {
			sleepIdle(mp)
		} else {
			procyield(10)
		}
	}
}

//go:nosplit
func semawakeup(mp *m) {
	atomic.Xadd(&mp.notes, 1)
	wakeCPU(mp)
}

// mutexSleep and mutexWake are semasleep and semawakeup of the runtime's mutexes. They have
// a count of their own, because the M may need a mutex while it is in semasleep. The holder
// of a mutex is running on another CPU and will release it soon, so the M spins.
//
//go:nosplit
func mutexSleep() {
	mp := getg().m
	for !takeWakeup(&mp.mutexes) {
		if !severalCPUs {
			systemstack(waitsForItself)
		}
		procyield(10)
	}
}

//go:nosplit
func mutexWake(mp *m) { atomic.Xadd(&mp.mutexes, 1) }

// takeWakeup takes one of the wake-ups counted in n, if there is one.
//
//go:nosplit
func takeWakeup(n *uint32) bool {
	for {
		v := atomic.Load(n)
		if v == 0 {
			return false
		}
		if atomic.Cas(n, v, v-1) {
			return true
		}
	}
}

func waitsForItself() {
	print("runtime: the only M waits for itself (lock held over a fault, or a lock taken twice)\n")
	exit(3)
}

// wakeCPU interrupts the CPU of mp if it sleeps. The caller must have stored the wake-up
// before.
//
// The waker stores the wake-up first and then reads asleep. sleepIdle stores asleep first
// and then looks for wake-ups. Both use atomic operations, which Go orders among each
// other. So at least one of the two sees the other's store (Dekker). If sleepIdle does not
// see the wake-up, the waker sees asleep, and its interrupt ends goos.Idle, even if it
// arrives before the CPU halts: interrupts are off until then. See model/idle.pml.
//
//go:nosplit
func wakeCPU(mp *m) {
	if atomic.Load(&mp.asleep) != 0 && mp != getg().m {
		goos.Wake(uint64(mp.cpu))
	}
}

// sleepIdle sleeps until something has happened, and handles it. mp has no P.
//
//go:nowritebarrierrec
func sleepIdle(mp *m) {
	atomic.Xchg(&mp.asleep, 1)
	until := ownTimer(mp)
	if atomic.Load(&mp.notes) == 0 && (until < 0 || until > nanotime()) && !waitsHere(mp) {
		goos.Idle(until)
	}
	atomic.Store(&mp.asleep, 0)
	if !mp.raised.empty() || until >= 0 && until <= nanotime() || waitsHere(mp) {
		wakeSelf(mp)
	}
}

// readyRaised makes the goroutines that interrupts have raised ready on pp, which is mp's.
//
//go:nowritebarrierrec
func readyRaised(mp *m, pp *p) {
	for !mp.raised.empty() {
		gp := mp.raised.pop()
		casgstatus(gp, _Gwaiting, _Grunnable)
		runqput(pp, gp, true) // kernel goroutines, which run on any CPU
	}
}

// ownTimer returns when the first timer of mp's own P, which is idle, is due, or -1 if
// there is none. A CPU that makes it earlier calls timerMoved.
func ownTimer(mp *m) int64 {
	if w := allp[mp.cpu].timers.wakeTime(); w != 0 {
		return w
	}
	return -1
}

// wakeSelf makes the goroutines that interrupts have raised ready on the P of this CPU, and
// lets the M continue with that P. If the P is not idle, another CPU has just given it to
// this M, or the world is stopped. Then the P's owner finds the goroutines, as the P starts
// only after this.
//
//go:nowritebarrierrec
func wakeSelf(mp *m) {
	lock(&sched.lock)
	pp := allp[mp.cpu]
	readyRaised(mp, pp)
	own := takeIdleP(pp)
	if own {
		mp.nextp.set(pp)
	}
	unlock(&sched.lock)
	if own {
		notewakeup(&mp.park)
	} else {
		procyield(10) // the world is stopped, and a timer is due
	}
}

// timerMoved makes the CPU that has the timers ts look at them, because one of them was
// made earlier.
func timerMoved(ts *timers) {
	mp := acquirem()
	if own := mp.p.ptr(); &own.timers == ts {
		own.grim.timerStarted()
	} else {
		for i, pp := range allp {
			if target := ms[i].ptr(); &pp.timers == ts && target != nil && !lookAgain(pp, target) {
				wakeCPU(target)
			}
		}
	}
	releasem(mp)
}

// Pause lets other CPUs run, for which the caller waits in a loop that does not block.
//
//go:nosplit
func Pause() { procyield(1) }

// pauseOthers is Pause if there are other CPUs.
func pauseOthers() {
	if severalCPUs {
		procyield(1)
	}
}

// leaveThread is called where a goroutine leaves its M.
func leaveThread() {
	if leave := goos.Leave; leave != nil {
		leave()
	}
}
