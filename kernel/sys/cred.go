package sys

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/proc"
	"grim/proc/cred"
)

func sysGetuid(c ctx) (uint64, error)  { return uint64(c.t.Cred().UID), nil }
func sysGeteuid(c ctx) (uint64, error) { return uint64(c.t.Cred().EUID), nil }
func sysGetgid(c ctx) (uint64, error)  { return uint64(c.t.Cred().GID), nil }
func sysGetegid(c ctx) (uint64, error) { return uint64(c.t.Cred().EGID), nil }

// same is the argument that leaves a number unchanged.
const same = ^uint32(0)

// change calls fn with a copy of the caller's credentials, and sets the result.
func (c ctx) change(fn func(n *proc.Cred) error) (uint64, error) {
	old := c.t.Cred()
	n := *old
	if err := fn(&n); err != nil {
		return 0, err
	}
	c.t.SetCred(&n)
	if old.Has(cred.IPCLock) != n.Has(cred.IPCLock) {
		setMemoryLimits(c.mem(), c.t.Process(), &n)
	}
	return 0, nil
}

// changeIDs is change for user or group numbers. privileged says whether the caller may set
// any number. The capabilities follow the user numbers.
func (c ctx) changeIDs(priv cred.Cap, fn func(n *proc.Cred, privileged bool) error) (uint64, error) {
	return c.change(func(n *proc.Cred) error {
		old := c.t.Cred()
		if err := fn(n, old.Has(priv)); err != nil {
			return err
		}
		if priv == cred.SetUID {
			n.UIDsChanged(old)
		}
		return nil
	})
}

// may reports whether an unprivileged process may set a number to v: v must be one of have,
// or same.
func may(v uint32, have ...uint32) bool { return v == same || slices.Contains(have, v) }

// ids are the four numbers of one kind in a Cred.
type ids struct{ real, effective, saved, fs *uint32 }

func users(n *proc.Cred) ids  { return ids{&n.UID, &n.EUID, &n.SUID, &n.FSUID} }
func groups(n *proc.Cred) ids { return ids{&n.GID, &n.EGID, &n.SGID, &n.FSGID} }

// setOne implements setuid(2) and setgid(2).
func (i ids) setOne(v uint32, privileged bool) error {
	switch {
	case v == same:
		return syscall.EINVAL
	case privileged:
		*i.real, *i.effective, *i.saved, *i.fs = v, v, v, v
	case may(v, *i.real, *i.saved):
		*i.effective, *i.fs = v, v
	default:
		return syscall.EPERM
	}
	return nil
}

// setThree implements setresuid(2) and setresgid(2).
func (i ids) setThree(r, e, s uint32, privileged bool) error {
	have := []uint32{*i.real, *i.effective, *i.saved}
	if !privileged && !(may(r, have...) && may(e, have...) && may(s, have...)) {
		return syscall.EPERM
	}
	for _, x := range [...]struct {
		to *uint32
		v  uint32
	}{{i.real, r}, {i.effective, e}, {i.saved, s}} {
		if x.v != same {
			*x.to = x.v
		}
	}
	*i.fs = *i.effective
	return nil
}

// setTwo implements setreuid(2) and setregid(2). The saved number becomes the effective one
// if the real number is set, or if the effective number is set to another value than the
// real one.
func (i ids) setTwo(r, e uint32, privileged bool) error {
	if !privileged && !(may(r, *i.real, *i.effective) && may(e, *i.real, *i.effective, *i.saved)) {
		return syscall.EPERM
	}
	saved := same
	if r != same || (e != same && e != *i.real) {
		if saved = e; saved == same {
			saved = *i.effective
		}
	}
	return i.setThree(r, e, saved, true)
}

func sysSetuid(c ctx) (uint64, error) {
	return c.changeIDs(cred.SetUID, func(n *proc.Cred, priv bool) error { return users(n).setOne(c.uint32(0), priv) })
}

func sysSetgid(c ctx) (uint64, error) {
	return c.changeIDs(cred.SetGID, func(n *proc.Cred, priv bool) error { return groups(n).setOne(c.uint32(0), priv) })
}

func sysSetreuid(c ctx) (uint64, error) {
	return c.changeIDs(cred.SetUID, func(n *proc.Cred, priv bool) error { return users(n).setTwo(c.uint32(0), c.uint32(1), priv) })
}

func sysSetregid(c ctx) (uint64, error) {
	return c.changeIDs(cred.SetGID, func(n *proc.Cred, priv bool) error { return groups(n).setTwo(c.uint32(0), c.uint32(1), priv) })
}

func sysSetresuid(c ctx) (uint64, error) {
	return c.changeIDs(cred.SetUID, func(n *proc.Cred, priv bool) error {
		return users(n).setThree(c.uint32(0), c.uint32(1), c.uint32(2), priv)
	})
}

func sysSetresgid(c ctx) (uint64, error) {
	return c.changeIDs(cred.SetGID, func(n *proc.Cred, priv bool) error {
		return groups(n).setThree(c.uint32(0), c.uint32(1), c.uint32(2), priv)
	})
}

// getThree stores the real, effective and saved number at the addresses in the arguments.
func (c ctx) getThree(i ids) (uint64, error) {
	for n, v := range [3]*uint32{i.real, i.effective, i.saved} {
		if err := put(c, c.va(n), v); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func sysGetresuid(c ctx) (uint64, error) {
	n := *c.t.Cred()
	return c.getThree(users(&n))
}

func sysGetresgid(c ctx) (uint64, error) {
	n := *c.t.Cred()
	return c.getThree(groups(&n))
}

// setFS implements setfsuid(2) and setfsgid(2). It returns the old number, and no errors.
func (c ctx) setFS(priv cred.Cap, of func(n *proc.Cred) ids) (uint64, error) {
	v, old := c.uint32(0), c.t.Cred()
	_, err := c.change(func(n *proc.Cred) error {
		if i := of(n); v != same && (old.Has(priv) || may(v, *i.real, *i.effective, *i.saved, *i.fs)) {
			*i.fs = v
			n.FSUIDChanged(old)
		}
		return nil
	})
	return uint64(*of(old).fs), err
}

func sysSetfsuid(c ctx) (uint64, error) { return c.setFS(cred.SetUID, users) }
func sysSetfsgid(c ctx) (uint64, error) { return c.setFS(cred.SetGID, groups) }

// maxGroups is NGROUPS_MAX. It is smaller than Linux's 65536, as every process keeps its
// groups in kernel memory.
const maxGroups = 1024

func sysGetgroups(c ctx) (uint64, error) {
	g := c.t.Cred().Groups.IDs()
	n := c.int(0)
	switch {
	case n < 0:
		return 0, syscall.EINVAL
	case n == 0:
		return uint64(len(g)), nil
	case n < len(g):
		return 0, syscall.EINVAL
	}
	raw := make([]byte, 4*len(g))
	for i, v := range g {
		le.PutUint32(raw[4*i:], v)
	}
	if len(g) == 0 {
		return 0, nil
	}
	return uint64(len(g)), c.mem().CopyOut(c.va(1), raw)
}

func sysSetgroups(c ctx) (uint64, error) {
	n := c.uint32(0)
	if !c.t.Cred().Has(cred.SetGID) {
		return 0, syscall.EPERM
	}
	if n > maxGroups {
		return 0, syscall.EINVAL
	}
	raw := make([]byte, 4*n)
	if n > 0 {
		if err := c.mem().CopyIn(raw, c.va(1)); err != nil {
			return 0, err
		}
	}
	g := make([]uint32, n)
	for i := range g {
		g[i] = le.Uint32(raw[4*i:])
	}
	slices.Sort(g)
	list, err := c.t.NewGroups(g)
	if err != nil {
		return 0, err
	}
	return c.change(func(n *proc.Cred) error {
		n.Groups = list
		return nil
	})
}

// capHeader is struct __user_cap_header_struct.
type capHeader struct {
	Version uint32
	PID     int32
}

// capVersion reads the header and returns how many words each set has. For an unknown
// version it stores the newest version and returns EINVAL, unless the caller only asked for
// the version.
func (c ctx) capVersion() (h capHeader, words int, err error) {
	if h, err = get[capHeader](c, c.va(0)); err != nil {
		return h, 0, err
	}
	switch h.Version {
	case unix.LINUX_CAPABILITY_VERSION_1:
		return h, 1, nil
	case unix.LINUX_CAPABILITY_VERSION_2, unix.LINUX_CAPABILITY_VERSION_3:
		return h, 2, nil
	}
	h.Version = unix.LINUX_CAPABILITY_VERSION_3
	if err := put(c, c.va(0), &h); err != nil {
		return h, 0, err
	}
	return h, 0, syscall.EINVAL
}

func sysCapget(c ctx) (uint64, error) {
	h, words, err := c.capVersion()
	if err == syscall.EINVAL && c.va(1) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if h.PID < 0 {
		return 0, syscall.EINVAL
	}
	n := c.t.Cred()
	if h.PID != 0 && int(h.PID) != c.t.TID() {
		p, err := c.process(int(h.PID))
		if err != nil {
			return 0, err
		}
		n = p.Cred()
	}
	if c.va(1) == 0 {
		return 0, nil
	}
	var d [2]unix.CapUserData
	for i := range d {
		shift := 32 * i
		d[i] = unix.CapUserData{Effective: uint32(n.Effective >> shift), Permitted: uint32(n.Permitted >> shift),
			Inheritable: uint32(n.Inheritable >> shift)}
	}
	if words == 1 {
		return 0, put(c, c.va(1), &d[0])
	}
	return 0, put(c, c.va(1), &d)
}

func sysCapset(c ctx) (uint64, error) {
	h, words, err := c.capVersion()
	if err != nil {
		return 0, err
	}
	if h.PID != 0 && int(h.PID) != c.t.TID() {
		return 0, syscall.EPERM
	}
	var d [2]unix.CapUserData
	if words == 1 {
		d[0], err = get[unix.CapUserData](c, c.va(1))
	} else {
		d, err = get[[2]unix.CapUserData](c, c.va(1))
	}
	if err != nil {
		return 0, err
	}
	join := func(lo, hi uint32) cred.Caps { return (cred.Caps(hi)<<32 | cred.Caps(lo)) & cred.All }
	eff, prm, inh := join(d[0].Effective, d[1].Effective), join(d[0].Permitted, d[1].Permitted), join(d[0].Inheritable, d[1].Inheritable)
	return c.change(func(n *proc.Cred) error {
		switch {
		case !n.Has(cred.SetPCap) && inh&^(n.Inheritable|n.Permitted) != 0,
			inh&^(n.Inheritable|n.Bounding) != 0,
			prm&^n.Permitted != 0,
			eff&^prm != 0:
			return syscall.EPERM
		}
		n.Effective, n.Permitted, n.Inheritable = eff, prm, inh
		n.Ambient &= prm & inh
		return nil
	})
}

// prctlCaps handles the requests of prctl(2) about capabilities. ok is false for other
// requests.
func (c ctx) prctlCaps() (v uint64, err error, ok bool) {
	old, arg := c.t.Cred(), c.arg(1)
	switch c.int(0) {
	case unix.PR_CAPBSET_READ:
		if arg > uint64(cred.Last) {
			return 0, syscall.EINVAL, true
		}
		v, err = flag(old.Bounding&(1<<arg) != 0)
	case unix.PR_CAPBSET_DROP:
		switch {
		case !old.Has(cred.SetPCap):
			return 0, syscall.EPERM, true
		case arg > uint64(cred.Last):
			return 0, syscall.EINVAL, true
		}
		v, err = c.change(func(n *proc.Cred) error { n.Bounding &^= 1 << arg; return nil })
	case unix.PR_GET_SECUREBITS:
		v = uint64(old.Secure)
	case unix.PR_SET_SECUREBITS:
		locked := uint64(old.Secure) & cred.SecureLocks
		if locked>>1&(uint64(old.Secure)^arg) != 0 || locked&^arg != 0 || arg&^cred.SecureKnown != 0 || !old.Has(cred.SetPCap) {
			return 0, syscall.EPERM, true
		}
		v, err = c.change(func(n *proc.Cred) error { n.Secure = uint32(arg); return nil })
	case unix.PR_GET_KEEPCAPS:
		v, err = flag(old.Secure&cred.KeepCaps != 0)
	case unix.PR_SET_KEEPCAPS:
		switch {
		case arg > 1:
			return 0, syscall.EINVAL, true
		case old.KeepCapsLocked():
			return 0, syscall.EPERM, true
		}
		v, err = c.change(func(n *proc.Cred) error {
			n.Secure &^= cred.KeepCaps
			if arg == 1 {
				n.Secure |= cred.KeepCaps
			}
			return nil
		})
	case unix.PR_CAP_AMBIENT:
		v, err = c.prctlAmbient(int(arg), c.arg(2))
	default:
		return 0, nil, false
	}
	return v, err, true
}

// prctlAmbient implements PR_CAP_AMBIENT.
func (c ctx) prctlAmbient(op int, n uint64) (uint64, error) {
	if c.arg(3)|c.arg(4) != 0 || op != unix.PR_CAP_AMBIENT_CLEAR_ALL && n > uint64(cred.Last) ||
		op == unix.PR_CAP_AMBIENT_CLEAR_ALL && n != 0 {
		return 0, syscall.EINVAL
	}
	bit, old := cred.Caps(1)<<n, c.t.Cred()
	switch op {
	case unix.PR_CAP_AMBIENT_CLEAR_ALL:
		return c.change(func(n *proc.Cred) error { n.Ambient = 0; return nil })
	case unix.PR_CAP_AMBIENT_IS_SET:
		return flag(old.Ambient&bit != 0)
	case unix.PR_CAP_AMBIENT_LOWER:
		return c.change(func(n *proc.Cred) error { n.Ambient &^= bit; return nil })
	case unix.PR_CAP_AMBIENT_RAISE:
		if old.Permitted&old.Inheritable&bit == 0 || old.Secure&cred.NoCapAmbient != 0 {
			return 0, syscall.EPERM
		}
		return c.change(func(n *proc.Cred) error { n.Ambient |= bit; return nil })
	}
	return 0, syscall.EINVAL
}
