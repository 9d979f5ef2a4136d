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
	p.mu.Unlock()
	p.payFor(c.UID)
}

// mayKill is kill(2)'s rule: the superuser may, and who shares a user number.
func (c *Cred) mayKill(target *Cred) bool {
	return c.EUID == 0 || c.EUID == target.UID || c.EUID == target.SUID ||
		c.UID == target.UID || c.UID == target.SUID
}
