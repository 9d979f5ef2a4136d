package proc

import (
	"fmt"
	"syscall"
	"time"

	"grim/mm/charge"
)

// When memory is gone, one process is killed for it: the one that holds most, never
// init. Its exit needs no memory, so it always gives back what it held.

// oomSpared is the oom_score_adj of a process that is never killed for memory.
const oomSpared = -1000

// oomPoll is how often a thread that waits for a victim's memory looks.
const oomPoll = time.Millisecond

// outOfMemory is called by a thread that has asked for a frame and got ENOMEM. If
// there is really none left, it kills a process, waits until there are frames again,
// and reports true: the caller tries again. false: there are frames, so the error has
// another reason (a limit, a charge), or this thread is to end, or there is nobody to
// kill. It may sleep; no lock is held.
func (t *Thread) outOfMemory() bool {
	k := t.p.k
	if !k.mem.Exhausted() {
		return false
	}
	if k.payForMemory() {
		return !t.Dying()
	}
	if !k.killLargest(t.p) {
		return false
	}
	for k.mem.Exhausted() && k.dying() {
		if t.Dying() {
			return false
		}
		if t.Sleep(nil, k.now()+int64(oomPoll)) != syscall.ETIMEDOUT {
			break // a signal: the caller's call or access starts again after it
		}
	}
	return !t.Dying()
}

// oomState is whose memory is on its way back.
type oomState struct {
	victim *Process // Kernel.treeMu; may be gone
}

// dying reports whether memory of the victim, or of another process that has ended, is
// still on its way.
func (k *Kernel) dying() bool {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	return k.comingLocked()
}

func (k *Kernel) comingLocked() bool {
	v := k.oom.victim
	return v != nil && v.State() < Zombie || k.apart.Load() > 0
}

// killLargest sees to it that a process is on its way out: the last victim, if that
// has not given back its memory yet, or else the process that holds most. false: no
// process can be killed. asker is named on the console.
func (k *Kernel) killLargest(asker *Process) bool {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	if k.comingLocked() {
		return true
	}
	var victim *Process
	most, size, total := int64(0), int64(0), int64(k.mem.Total())<<12
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
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
		if p == victim || space != nil && p.sharedSpace() == space && !p.isInit() {
			p.kill(SignalStatus(syscall.SIGKILL))
		}
	}
	return true
}

// holds is how much memory the process's end would give back, in bytes: resident
// pages, table pages and kernel memory. 0 if it has none left.
func (p *Process) holds() int64 {
	vs := p.VM()
	if vs == nil {
		return 0
	}
	defer vs.Release()
	st := vs.Pmap().Stats()
	return int64(st.Resident+st.Tables)<<12 + vs.Charged() + p.account.Used(charge.Heap)
}

// sharedSpace is the process's space, to compare with others'.
func (p *Process) sharedSpace() *space {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.space
}
