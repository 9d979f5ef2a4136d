package proc

import (
	"syscall"

	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc/cred"
)

// Cred are a thread's credentials. A Cred never changes after a thread has got it, so its
// contents can be read without a lock.
type Cred = cred.Cred

// root are the credentials that Spawn gives to a process if it is not given others.
var root = cred.Root()

// Cred returns the credentials of the process's leader. The caller must not change them.
// The other threads have the same credentials unless one of them has changed its own.
func (p *Process) Cred() *Cred {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cred
}

// CredOf returns the credentials of the thread with number tid, or those of the process if
// there is no such thread.
func (p *Process) CredOf(tid int) *Cred {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.findLocked(tid); t != nil {
		return t.cred
	}
	return p.cred
}

// Cred returns the thread's credentials. The caller must not change them. Only the thread
// itself may call it.
func (t *Thread) Cred() *Cred { return t.cred }

// Guard returns what decides whether another process may look into this one, as it was at
// one moment: the vmspace, with a reference, or nil; the leader's credentials; and Dumpable.
// Exec and SetCred change all of them together. So no process gets the memory of a
// set-user-ID program by the rights of the program before it, nor the memory of a superuser
// by the credentials to which the superuser's process has changed since.
func (p *Process) Guard() (vs *vm.VMSpace, c *Cred, dumpable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.space != nil {
		vs = p.space.vs
		vs.Ref()
	}
	return vs, p.cred, p.Dumpable()
}

// SetCred replaces the thread's credentials by c, which the caller must not use any more.
// Only the thread itself may call it.
func (t *Thread) SetCred(c *Cred) {
	p := t.p
	p.mu.Lock()
	leader := t.setCredLocked(c)
	if p.space != nil {
		p.space.setDomain(c, p.pid, !leader)
	}
	p.mu.Unlock()
	if leader {
		p.payFor(c.UID)
	}
	t.payForFiles()
}

// setCredLocked replaces the thread's credentials, and the process's if the thread is the
// leader. If c has other effective numbers or more rights, the process is not dumpable any
// more, and the thread gets no signal at its parent's death (prctl(2); fs.suid_dumpable is
// 0). Precondition: p.mu held.
func (t *Thread) setCredLocked(c *Cred) (leader bool) {
	if old := t.cred; c.EUID != old.EUID || c.EGID != old.EGID || c.FSUID != old.FSUID || c.FSGID != old.FSGID ||
		c.Permitted&^old.Permitted != 0 {
		t.p.SetDumpable(false)
		t.pdeath = 0
	}
	c.Groups.Hold()
	t.cred.Groups.Drop()
	t.cred = c
	if leader = t.TID() == t.p.pid; leader {
		t.p.lead(c)
	}
	return leader
}

// lead makes c the process's credentials. Preconditions: p.mu held.
func (p *Process) lead(c *Cred) {
	c.Groups.Hold()
	p.cred.Groups.Drop()
	p.cred = c
}

// NewGroups makes a list of supplementary groups for SetCred, for which the thread's user
// pays. ids must be ascending and must not be changed any more. ENOMEM. Only the thread
// itself may call it.
func (t *Thread) NewGroups(ids []uint32) (*cred.Groups, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	u := t.user()
	defer u.Release()
	cost := groupsCost + 4*int64(len(ids))
	if !u.Take(charge.Process, cost) {
		return nil, syscall.ENOMEM
	}
	return cred.NewGroups(ids, func() { u.Give(charge.Process, cost) }), nil
}

// setDomain tells the page tables which user's code runs on them, so that branch predictors
// are flushed between users. A process with several user numbers, or with threads of
// different users, has a domain of its own, because it may hold what one of its users must
// not see. The tables of a borrowed space have the domain that was set last, by either
// process.
func (s *space) setDomain(c *Cred, pid int, mixed bool) {
	d := uint64(c.UID)
	if mixed || c.EUID != c.UID || c.SUID != c.UID {
		d = 1<<32 | uint64(pid)
	}
	s.vs.Pmap().SetDomain(d)
}

// mayKill is the rule of kill(2): it is true with CAP_KILL, and for equal user numbers.
func mayKill(c, target *Cred) bool {
	return c.EUID == target.SUID || c.EUID == target.UID || c.UID == target.SUID || c.UID == target.UID ||
		c.Has(cred.Kill)
}
