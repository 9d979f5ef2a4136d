// Package cred has the credentials of a thread: user and group numbers, supplementary
// groups and capabilities (credentials(7), capabilities(7)), and their changes by set*id
// calls and execve(2).
//
// Credentials are plain data without locks. A Cred is never changed once a thread has it: a
// change makes a copy. Copies share their supplementary groups.
package cred

import (
	"slices"
	"sync/atomic"
)

// Cap is the number of a capability.
type Cap uint

// The capabilities of Linux 6.1 that this kernel checks. The others exist only as bits.
const (
	Chown         Cap = 0
	DACOverride   Cap = 1
	DACReadSearch Cap = 2
	FOwner        Cap = 3
	FSetID        Cap = 4
	Kill          Cap = 5
	SetGID        Cap = 6
	SetUID        Cap = 7
	SetPCap       Cap = 8
	NetBind       Cap = 10
	NetAdmin      Cap = 12
	NetRaw        Cap = 13
	IPCLock       Cap = 14
	IPCOwner      Cap = 15
	SysRawIO      Cap = 17
	SysChroot     Cap = 18
	SysPtrace     Cap = 19
	SysAdmin      Cap = 21
	SysBoot       Cap = 22
	SysNice       Cap = 23
	SysResource   Cap = 24
	SysTime       Cap = 25
	SysTTY        Cap = 26
	MkNod         Cap = 27
	Lease         Cap = 28
	WakeAlarm     Cap = 35
	Last          Cap = 40
)

// Caps is a set of capabilities: bit n is capability n.
type Caps uint64

// All is the set of all capabilities.
const All Caps = 1<<(Last+1) - 1

// Set returns the set of the listed capabilities.
func Set(list ...Cap) (s Caps) {
	for _, c := range list {
		s |= 1 << c
	}
	return s
}

// fsCaps are the capabilities that follow the file system user number.
var fsCaps = Set(Chown, DACOverride, DACReadSearch, FOwner, FSetID, MkNod, 9, 32) // LINUX_IMMUTABLE, MAC_OVERRIDE

// Bits of Cred.Secure (capabilities(7), "The securebits flags").
const (
	NoRoot         = 1 << 0
	NoSetUIDFixup  = 1 << 2
	KeepCaps       = 1 << 4
	NoCapAmbient   = 1 << 6
	SecureLocks    = 1<<1 | 1<<3 | 1<<5 | 1<<7 // each locks the bit below it
	SecureKnown    = 0xff
	keepCapsLocked = KeepCaps << 1
)

// Cred are the credentials of a thread.
type Cred struct {
	UID, EUID, SUID, FSUID uint32
	GID, EGID, SGID, FSGID uint32
	Groups                 *Groups // nil: none

	Inheritable, Permitted, Effective, Bounding, Ambient Caps
	Secure                                               uint32
}

// Root returns the superuser's credentials.
func Root() *Cred { return &Cred{Permitted: All, Effective: All, Bounding: All} }

// Has reports whether a capability is effective.
func (c *Cred) Has(n Cap) bool { return c.Effective&(1<<n) != 0 }

// InGroup reports whether gid is the file system group or a supplementary group.
func (c *Cred) InGroup(gid uint32) bool {
	if gid == c.FSGID {
		return true
	}
	_, ok := slices.BinarySearch(c.Groups.IDs(), gid)
	return ok
}

// Groups is a list of supplementary groups. A user pays for it as long as a thread or
// process holds it. Readers do not hold it: for them it stays in memory anyway.
type Groups struct {
	ids  []uint32
	refs atomic.Int32
	free func()
}

// NewGroups makes a list of ids, which must be ascending and must not be changed any more.
// Nobody holds it yet. free is called when its last holder drops it.
func NewGroups(ids []uint32, free func()) *Groups { return &Groups{ids: ids, free: free} }

// IDs returns the groups, ascending. The caller must not change them.
func (g *Groups) IDs() []uint32 {
	if g == nil {
		return nil
	}
	return g.ids
}

// Hold makes the caller a holder.
func (g *Groups) Hold() {
	if g != nil {
		g.refs.Add(1)
	}
}

// Drop undoes Hold.
func (g *Groups) Drop() {
	if g == nil {
		return
	}
	switch n := g.refs.Add(-1); {
	case n < 0:
		panic("cred: a list of groups is dropped more often than held")
	case n == 0:
		g.free()
	}
}

// Alone returns c without its supplementary groups, for a holder that does not pay for
// them.
func (c *Cred) Alone() *Cred {
	if c == nil || c.Groups == nil {
		return c
	}
	n := *c
	n.Groups = nil
	return &n
}

// Real returns c with the real numbers in place of the file system numbers, for access(2).
func (c *Cred) Real() *Cred {
	eff := c.Effective
	if c.Secure&NoSetUIDFixup == 0 {
		if eff = c.Permitted; c.UID != 0 {
			eff = 0
		}
	}
	if c.FSUID == c.UID && c.FSGID == c.GID && c.Effective == eff {
		return c
	}
	n := new(Cred)
	*n = *c
	n.FSUID, n.FSGID, n.Effective = c.UID, c.GID, eff
	return n
}

// KeepCapsLocked reports whether the KeepCaps bit is locked.
func (c *Cred) KeepCapsLocked() bool { return c.Secure&keepCapsLocked != 0 }

// UIDsChanged adapts the capabilities to a change of user numbers from those of old
// (capabilities(7), "Effect of user ID changes on capabilities").
func (c *Cred) UIDsChanged(old *Cred) {
	if c.Secure&NoSetUIDFixup != 0 {
		return
	}
	had := old.UID == 0 || old.EUID == 0 || old.SUID == 0
	if had && c.UID != 0 && c.EUID != 0 && c.SUID != 0 {
		if c.Secure&KeepCaps == 0 {
			c.Permitted, c.Effective = 0, 0
		}
		c.Ambient = 0
	}
	switch {
	case old.EUID == 0 && c.EUID != 0:
		c.Effective = 0
	case old.EUID != 0 && c.EUID == 0:
		c.Effective = c.Permitted
	}
	c.FSUIDChanged(old)
}

// FSUIDChanged is UIDsChanged for a change of only the file system number.
func (c *Cred) FSUIDChanged(old *Cred) {
	if c.Secure&NoSetUIDFixup != 0 {
		return
	}
	switch {
	case old.FSUID == 0 && c.FSUID != 0:
		c.Effective &^= fsCaps
	case old.FSUID != 0 && c.FSUID == 0:
		c.Effective |= c.Permitted & fsCaps
	}
}

// Exec returns the credentials after an execve(2) with c. uid and gid, if not nil, are those
// of a set-user-ID or set-group-ID file. secure says that the program has more rights than
// the caller (AT_SECURE).
func (c *Cred) Exec(uid, gid *uint32) (after *Cred, secure bool) {
	n := *c
	if uid != nil {
		n.EUID = *uid
	}
	if gid != nil {
		n.EGID = *gid
	}
	if uid != nil && n.EUID != c.UID || gid != nil && n.EGID != c.GID {
		n.Ambient = 0
	}
	n.SUID, n.FSUID, n.SGID, n.FSGID = n.EUID, n.EUID, n.EGID, n.EGID
	var permitted, inheritable Caps // of the file
	effective := false
	if n.Secure&NoRoot == 0 && (n.EUID == 0 || n.UID == 0) {
		permitted, inheritable = All, All
		effective = n.EUID == 0
	}
	n.Permitted = c.Inheritable&inheritable | permitted&c.Bounding | n.Ambient
	n.Effective = n.Ambient
	if effective {
		n.Effective = n.Permitted
	}
	n.Secure &^= KeepCaps
	secure = n.EUID != n.UID || n.EGID != n.GID || n.UID != 0 && effective
	if n.SUID == c.SUID && n.FSUID == c.FSUID && n.EUID == c.EUID && n.SGID == c.SGID && n.FSGID == c.FSGID &&
		n.EGID == c.EGID && n.Permitted == c.Permitted && n.Effective == c.Effective && n.Ambient == c.Ambient && n.Secure == c.Secure {
		return c, secure // an ordinary command costs no allocation
	}
	after = new(Cred)
	*after = n
	return after, secure
}
