package sys

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/proc"
)

func sysGetuid(c ctx) (uint64, error)  { return uint64(c.t.Process().Cred().UID), nil }
func sysGeteuid(c ctx) (uint64, error) { return uint64(c.t.Process().Cred().EUID), nil }
func sysGetgid(c ctx) (uint64, error)  { return uint64(c.t.Process().Cred().GID), nil }
func sysGetegid(c ctx) (uint64, error) { return uint64(c.t.Process().Cred().EGID), nil }

// same is the argument that leaves a number as it is.
const same = ^uint32(0)

// change replaces the caller's credentials with what fn makes of a copy.
func (c ctx) change(fn func(n *proc.Cred, privileged bool) error) (uint64, error) {
	p := c.t.Process()
	old := p.Cred()
	n := *old
	if err := fn(&n, n.EUID == 0); err != nil {
		return 0, err
	}
	p.SetCred(&n)
	if (old.EUID == 0) != (n.EUID == 0) {
		setMemoryLimits(c.mem(), p) // the superuser may lock memory
	}
	if n.EUID != old.EUID || n.EGID != old.EGID || n.FSUID != old.FSUID || n.FSGID != old.FSGID {
		p.SetDumpable(false) // prctl(2); fs.suid_dumpable is 0
		return 0, c.t.SetParentDeath(0)
	}
	return 0, nil
}

// may reports whether an unprivileged process may set a number to v: to one
// that it has, or to none.
func may(v uint32, have ...uint32) bool { return v == same || slices.Contains(have, v) }

// ids are the four numbers of one kind, in a Cred.
type ids struct{ real, effective, saved, fs *uint32 }

func users(n *proc.Cred) ids  { return ids{&n.UID, &n.EUID, &n.SUID, &n.FSUID} }
func groups(n *proc.Cred) ids { return ids{&n.GID, &n.EGID, &n.SGID, &n.FSGID} }

// setOne is setuid(2) and setgid(2).
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

// setThree is setresuid(2) and setresgid(2).
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

// setTwo is setreuid(2) and setregid(2): the saved number follows the effective
// one if the real one was given, or the effective one becomes another than it.
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
	return c.change(func(n *proc.Cred, priv bool) error { return users(n).setOne(c.uint32(0), priv) })
}

func sysSetgid(c ctx) (uint64, error) {
	return c.change(func(n *proc.Cred, priv bool) error { return groups(n).setOne(c.uint32(0), priv) })
}

func sysSetreuid(c ctx) (uint64, error) {
	return c.change(func(n *proc.Cred, priv bool) error { return users(n).setTwo(c.uint32(0), c.uint32(1), priv) })
}

func sysSetregid(c ctx) (uint64, error) {
	return c.change(func(n *proc.Cred, priv bool) error { return groups(n).setTwo(c.uint32(0), c.uint32(1), priv) })
}

func sysSetresuid(c ctx) (uint64, error) {
	return c.change(func(n *proc.Cred, priv bool) error {
		return users(n).setThree(c.uint32(0), c.uint32(1), c.uint32(2), priv)
	})
}

func sysSetresgid(c ctx) (uint64, error) {
	return c.change(func(n *proc.Cred, priv bool) error {
		return groups(n).setThree(c.uint32(0), c.uint32(1), c.uint32(2), priv)
	})
}

// getThree stores real, effective and saved number where the arguments say.
func (c ctx) getThree(i ids) (uint64, error) {
	for n, v := range [3]*uint32{i.real, i.effective, i.saved} {
		if err := put(c, c.va(n), v); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func sysGetresuid(c ctx) (uint64, error) {
	n := *c.t.Process().Cred()
	return c.getThree(users(&n))
}

func sysGetresgid(c ctx) (uint64, error) {
	n := *c.t.Process().Cred()
	return c.getThree(groups(&n))
}

// setFS is setfsuid(2) and setfsgid(2): the old number, and no errors.
func (c ctx) setFS(of func(n *proc.Cred) ids) (uint64, error) {
	v := c.uint32(0)
	old := *of(c.t.Process().Cred()).fs
	_, err := c.change(func(n *proc.Cred, priv bool) error {
		if i := of(n); v != same && (priv || may(v, *i.real, *i.effective, *i.saved, *i.fs)) {
			*i.fs = v
		}
		return nil
	})
	return uint64(old), err
}

func sysSetfsuid(c ctx) (uint64, error) { return c.setFS(users) }
func sysSetfsgid(c ctx) (uint64, error) { return c.setFS(groups) }

// maxGroups is NGROUPS_MAX; smaller than Linux's 65536, as every process keeps
// its groups in kernel memory.
const maxGroups = 1024

func sysGetgroups(c ctx) (uint64, error) {
	g := c.t.Process().Cred().Groups
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
	if c.t.Process().Cred().EUID != 0 {
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
	return c.change(func(n *proc.Cred, _ bool) error {
		n.Groups = g
		return nil
	})
}

// capHeader is struct __user_cap_header_struct.
type capHeader struct {
	Version uint32
	PID     int32
}

// allCaps is every capability of Linux 6.1 (CAP_LAST_CAP is 40).
const allCaps = 1<<41 - 1

// capVersion reads the header; for an unknown version it stores the one that is
// known, which is EINVAL unless that was all the caller asked for.
func (c ctx) capVersion() (capHeader, error) {
	h, err := get[capHeader](c, c.va(0))
	if err != nil {
		return h, err
	}
	if h.Version == unix.LINUX_CAPABILITY_VERSION_3 {
		return h, nil
	}
	h.Version = unix.LINUX_CAPABILITY_VERSION_3
	if err := put(c, c.va(0), &h); err != nil {
		return h, err
	}
	return h, syscall.EINVAL
}

// sysCapget: the superuser has every capability and nobody else any.
func sysCapget(c ctx) (uint64, error) {
	h, err := c.capVersion()
	if err == syscall.EINVAL && c.va(1) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	p, err := c.process(int(h.PID))
	if err != nil {
		return 0, err
	}
	if c.va(1) == 0 {
		return 0, nil
	}
	var d [2]unix.CapUserData
	if p.Cred().EUID == 0 {
		for i := range d {
			set := uint32(uint64(allCaps) >> (32 * i))
			d[i].Effective, d[i].Permitted = set, set
		}
	}
	return 0, put(c, c.va(1), &d)
}

// sysCapset: giving capabilities away is not offered, asking for more is not
// allowed; what is asked for as it is succeeds.
func sysCapset(c ctx) (uint64, error) {
	if _, err := c.capVersion(); err != nil {
		return 0, err
	}
	d, err := get[[2]unix.CapUserData](c, c.va(1))
	if err != nil {
		return 0, err
	}
	for i := range d {
		want := d[i].Effective | d[i].Permitted
		if want&^uint32(uint64(allCaps)>>(32*i)) != 0 || (want != 0 && c.t.Process().Cred().EUID != 0) {
			return 0, syscall.EPERM
		}
	}
	return 0, nil
}
