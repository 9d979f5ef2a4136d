package proc

import "grim/proc/cred"

// Cred are a thread's credentials. A Cred is never changed once a thread has it, so
// that readers need no lock for its contents.
type Cred = cred.Cred

// root is what Spawn gives to a process without other credentials.
var root = cred.Root()

// Cred returns the credentials of the process's leader; do not change them. Those of
// the other threads are the same unless one of them has asked for a change itself.
func (p *Process) Cred() *Cred {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cred
}

// Cred returns the thread's credentials; do not change them. For the thread itself.
func (t *Thread) Cred() *Cred { return t.cred }

// SetCred replaces them; the caller gives c away. For the thread itself.
func (t *Thread) SetCred(c *Cred) {
	p := t.p
	p.mu.Lock()
	t.cred = c
	leader := t.TID() == p.pid
	if leader {
		p.cred = c
	}
	if p.space != nil {
		p.space.setDomain(c, p.pid, !leader)
	}
	p.mu.Unlock()
	if leader {
		p.payFor(c.UID)
	}
	t.payForFiles()
}

// setDomain tells the page tables which user's code runs on them, so that branch
// predictors are flushed between users. A process with several user numbers, or mixed
// with threads of different users, is kept apart from all others: it may hold what any
// of its users must not see. The tables of a borrowed space have the domain of the
// process that changed it last.
func (s *space) setDomain(c *Cred, pid int, mixed bool) {
	d := uint64(c.UID)
	if mixed || c.EUID != c.UID || c.SUID != c.UID {
		d = 1<<32 | uint64(pid)
	}
	s.vs.Pmap().SetDomain(d)
}

// mayKill is kill(2)'s rule: with CAP_KILL, and for equal user numbers.
func mayKill(c, target *Cred) bool {
	return c.EUID == target.SUID || c.EUID == target.UID || c.UID == target.SUID || c.UID == target.UID ||
		c.Has(cred.Kill)
}
