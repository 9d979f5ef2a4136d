package proc

// Cred are a process's user and group numbers. A Cred is never changed once a
// process has it, so that readers need no lock for its contents.
type Cred struct {
	UID, EUID, SUID, FSUID uint32
	GID, EGID, SGID, FSGID uint32
	Groups                 []uint32
}

// root is what Spawn gives to a process without other credentials.
var root = &Cred{}

// Cred returns the credentials; do not change them.
func (p *Process) Cred() *Cred {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cred
}

// SetCred replaces them; the caller gives c away.
func (p *Process) SetCred(c *Cred) {
	p.mu.Lock()
	p.cred = c
	if p.space != nil {
		p.space.setDomain(c, p.pid)
	}
	p.mu.Unlock()
	p.payFor(c.UID)
}

// setDomain tells the page tables which user's code runs on them, so that branch
// predictors are flushed between users. A process with several user numbers is kept
// apart from all others: it may hold what any of its users must not see. The tables
// of a borrowed space have the domain of the process that changed it last.
func (s *space) setDomain(c *Cred, pid int) {
	d := uint64(c.UID)
	if c.EUID != c.UID || c.SUID != c.UID {
		d = 1<<32 | uint64(pid)
	}
	s.vs.Pmap().SetDomain(d)
}

// mayKill is kill(2)'s rule: the superuser may, and who shares a user number.
func (c *Cred) mayKill(target *Cred) bool {
	return c.EUID == 0 || c.EUID == target.UID || c.EUID == target.SUID ||
		c.UID == target.UID || c.UID == target.SUID
}
