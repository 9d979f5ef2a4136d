package proc

import "grim/proc/exit"

// A zombie is collected in two phases. claim, with Kernel.treeMu held, takes it off its
// parent's list, so that nobody else can collect it; its number still means it. Then, if
// its exit design left something on it, settle gives that back, with no lock held, and
// makes it gone. Under the other designs claim does both at once.
//
// The task that has claimed a zombie settles it, whatever becomes of the parent meanwhile: a
// thread in wait(2) is not interrupted between the two, so a parent does not end there,
// and a signal waits.

// debt is what a zombie owes.
type debt uint8

const (
	none   debt = iota
	owing       // Design.Owed is to run
	paying      // it is running, before the zombie was claimed; wait(2) waits
)

// claim takes a dead or zombie process from its parent and reports whether it is gone;
// false: settle is to be called. Preconditions: k.treeMu held, p on its parent's list of
// zombies, nobody pays for it.
func (k *Kernel) claim(p *Process, by exit.Context) (gone bool) {
	k.unlinkChild(p)
	p.parent = nil
	p.madeBy(nil)
	if p.debt != none {
		return false
	}
	k.release(p, by)
	return true
}

// settle is the second phase of a claim that has left something. It may sleep.
func (k *Kernel) settle(p *Process, by exit.Context) {
	p.design.Owed((*ending)(p), by)
	k.treeMu.Lock()
	p.debt = none
	k.release(p, by)
	k.treeMu.Unlock()
}

// payLater settles zombies that were claimed by a thread that cannot: one that ends, with
// locks held. Nobody waits for them.
func (k *Kernel) payLater(left []*Process) {
	k.dead.begin()
	go func() {
		for _, p := range left {
			k.settle(p, exit.InParent)
		}
		k.dead.done()
	}()
}

// payForMemory makes zombies that hold memory give it back, when there is none left, and
// reports whether there was one. They stay zombies.
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
			parent.notifyChild() // wait(2) may sleep because of us
			next = k.all.head    // the list may have changed
		}
		p = next
	}
	return paid
}

// release makes a dead or zombie process Gone: its number is free again, unless
// a group or session has it. Preconditions: k.treeMu held, claimed.
func (k *Kernel) release(p *Process, by exit.Context) {
	p.advance(Gone, by)
	k.leaveGroup(p)
	k.all.remove(linkAll, p)
	k.pids.releaseProcess(p.pid)
	p.endAccount()
	k.counts.procs.Add(-1)
	k.counts.reaped.Add(1)
}
