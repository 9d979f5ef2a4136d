package proc

import "grim/proc/exit"

// A zombie is collected in two phases. claim, with Kernel.treeMu held, takes it off its
// parent's list, so that no other thread can collect it; its number still refers to it. If
// its exit design has left something on it, settle then gives that back, with no lock held,
// and makes the zombie gone. Under the other designs claim does both.
//
// The task that has claimed a zombie settles it, whatever happens to the parent meanwhile.
// A thread in wait(2) is not interrupted between the two phases: signals stay pending, and
// its process does not end there.

// debt is what a zombie owes.
type debt uint8

const (
	none   debt = iota
	owing       // Design.Owed must run
	paying      // Design.Owed runs, before the zombie was claimed; wait(2) waits for it
)

// claim takes a dead or zombie process from its parent and reports whether it is gone. If
// it returns false the caller must call settle. Preconditions: k.treeMu held, p is on its
// parent's list of zombies and its debt is not paying.
func (k *Kernel) claim(p *Process, by exit.Context) (gone bool) {
	k.siblings(p).zombies.remove(linkSibling, p)
	p.parent = nil
	p.madeBy(nil)
	if p.debt != none {
		return false
	}
	k.release(p, by)
	return true
}

// settle is the second phase of a claim that has returned false. It may sleep.
func (k *Kernel) settle(p *Process, by exit.Context) {
	p.design.Owed((*ending)(p), by)
	k.treeMu.Lock()
	p.debt = none
	k.release(p, by)
	k.treeMu.Unlock()
}

// payLater settles zombies in the background. They were claimed by a thread that cannot
// settle them, as it is exiting with locks held. No process waits for them.
func (k *Kernel) payLater(left []*Process) {
	k.dead.begin()
	go func() {
		for _, p := range left {
			k.settle(p, exit.InParent)
		}
		k.dead.done()
	}()
}

// payForMemory makes zombies that hold memory give it back, when there is no free memory
// left. It reports whether there was such a zombie. They stay zombies.
func (k *Kernel) payForMemory() (paid bool) {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	for p := k.all.head; p != nil; {
		next := p.links[linkAll].next
		if p.State() == Zombie && p.debt == owing && p.links[linkSibling].on {
			p.debt = paying
			k.treeMu.Unlock()
			p.design.Owed((*ending)(p), exit.InParent)
			k.treeMu.Lock()
			p.debt = none
			paid = true
			parent := p.parent
			if p.unwanted() {
				k.claim(p, exit.InParent)
			}
			parent.notifyChild() // wait(2) may sleep because of the debt
			next = k.all.head    // the list may have changed
		}
		p = next
	}
	return paid
}

// release makes a dead or zombie process Gone. Its number is free again, unless it is the
// number of a group or session. Preconditions: k.treeMu held, p is claimed.
func (k *Kernel) release(p *Process, by exit.Context) {
	p.advance(Gone, by)
	k.leaveGroup(p)
	k.all.remove(linkAll, p)
	k.pids.releaseProcess(p.pid)
	p.cred.Groups.Drop()
	p.endAccount()
	k.counts.procs.Add(-1)
	k.counts.reaped.Add(1)
}
