package proc

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"grim/mm/charge"
	"grim/mm/vm"
)

// When there is no memory left, one process is killed: the one that holds most, but never
// init. Its exit needs no memory, so it always gives back what it held.

// oomSpared is the oom_score_adj of a process that is never killed for memory.
const oomSpared = -1000

// oomPoll is the interval at which a task that waits for a victim's memory checks again.
const oomPoll = time.Millisecond

// oomState records which process has been killed for memory.
type oomState struct {
	victim *Process // [treeMu] not known to be gone yet; nil: no process
	// answered is the value of Memory.Shortages when memory last came back. Work that
	// failed before that time tries again before another process is killed. It is written
	// under treeMu.
	answered atomic.Uint64
}

// outOfMemory is called by a thread whose work has failed with ENOMEM. since is the value
// of Memory.Shortages before the work began. If frames were short it kills a process, waits
// for the memory, and returns true: the caller tries again. It returns false if the error
// has another reason (a limit, a charge), if this thread is to end, or if no process can be
// killed. It may sleep; no lock is held.
func (t *Thread) outOfMemory(since uint64) bool {
	var never atomic.Uint32
	return t.p.k.findMemory(since, t.p, func() bool {
		// A signal is taken after the call or the access, which then starts again.
		_ = t.sleepOn(&never, todoExit, t.p.k.now()+int64(oomPoll))
		return !t.Dying()
	}) && !t.Dying()
}

// MemoryBack is outOfMemory for a system call that has failed for want of memory or room,
// and has done nothing. again says that the call has been tried again already. Reading
// Shortages at the beginning of each call would cost the null call too much, so MemoryBack
// considers all shortages since its last call by this thread. If memory is no longer short,
// the call is tried again without killing a process. Only the thread itself may call it.
func (t *Thread) MemoryBack(again bool) bool {
	n, since := t.p.k.mem.Shortages(), t.shortages
	t.shortages = n
	return n != since && (!again && !t.p.k.short() || t.outOfMemory(since))
}

// spaceMemory is outOfMemory for copies to or from a space (vm.System.SetNoMemory). It does
// not know the thread. It also returns false if no process runs in the space: then the
// space belongs to an execve(2), which tries again as a whole.
func (k *Kernel) spaceMemory(vs *vm.VMSpace, since uint64) bool {
	k.treeMu.Lock()
	var asker *Process
	steps := 0
	for p := k.all.head; p != nil && asker == nil; p = p.links[linkAll].next {
		k.turn(&steps)
		if s := p.sharedSpace(); s != nil && s.vs == vs {
			asker = p
		}
	}
	k.treeMu.Unlock()
	// The thread may belong to the victim and copy to another process's memory. Then it
	// would wait for its own end.
	const most = int(time.Second / oomPoll)
	polls := 0
	return asker != nil && k.findMemory(since, asker, func() bool {
		if polls++; polls > most || asker.State() != Live {
			return false
		}
		time.Sleep(oomPoll)
		return true
	})
}

// findMemory is the common part of outOfMemory and spaceMemory. wait lets some time pass;
// it returns false to stop waiting.
func (k *Kernel) findMemory(since uint64, asker *Process, wait func() bool) bool {
	n := k.mem.Shortages()
	if n == since {
		return false
	}
	if k.payForMemory() {
		k.oom.answered.Store(n)
		return true
	}
	if !k.killLargest(n, asker) {
		return false
	}
	for k.short() && k.dying() {
		if !wait() {
			return false
		}
	}
	return true
}

// short reports whether frames are short: fewer are free than a fork or an execve(2) of an
// ordinary process needs.
func (k *Kernel) short() bool {
	const least, part = 128, 64
	return k.mem.FreeFrames() < max(least, k.mem.Total()/part)
}

// dying reports whether memory of the victim, or of another process that has ended, is
// still about to come back.
func (k *Kernel) dying() bool {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	return k.comingLocked()
}

func (k *Kernel) comingLocked() bool {
	v := k.oom.victim
	return v != nil && v.State() < Zombie || k.apart.Load() > 0
}

// killLargest makes sure that memory comes back for work that failed when Memory.Shortages
// was n. It comes from the last victim, if that has not ended since; otherwise the process
// that holds most is killed. It returns false if no process can be killed. The console
// message names asker.
func (k *Kernel) killLargest(n uint64, asker *Process) bool {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	if k.comingLocked() {
		return true
	}
	if k.oom.victim != nil {
		k.oom.victim = nil
		k.oom.answered.Store(k.mem.Shortages())
	}
	if n <= k.oom.answered.Load() {
		return true
	}
	var victim *Process
	most, size, total := int64(0), int64(0), int64(k.mem.Total())<<12
	steps := 0
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
		k.turn(&steps)
		adj, held := int64(p.oomAdj.Load()), p.holds()
		if adj == oomSpared || held == 0 || p.isInit() || p.State() >= Zombie {
			continue
		}
		if points := held + adj*total/1000; victim == nil || points > most {
			victim, most, size = p, points, held
		}
	}
	if victim == nil {
		return false
	}
	k.oom.victim = victim
	k.counts.oomKills.Add(1)
	k.log(fmt.Sprintf("out of memory: process %d (%s), which holds %d MB, is killed; process %d (%s) wanted more",
		victim.pid, victim.Name(), size>>20, asker.pid, asker.Name()))
	space := victim.sharedSpace()
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
		k.glance(&steps)
		if p == victim || space != nil && p.sharedSpace() == space && !p.isInit() {
			p.kill(SignalStatus(syscall.SIGKILL))
		}
	}
	return true
}

// holds returns how much memory the process's end would give back, in bytes: resident
// pages, table pages and kernel memory. It is 0 if the process has no space left.
func (p *Process) holds() int64 {
	vs := p.VM()
	if vs == nil {
		return 0
	}
	defer vs.Release()
	st := vs.Pmap().Stats()
	return int64(st.Resident+st.Tables)<<12 + vs.Charged() + p.account.Used(charge.Heap)
}

// sharedSpace returns the process's space, for comparison with the spaces of others.
func (p *Process) sharedSpace() *space {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.space
}
