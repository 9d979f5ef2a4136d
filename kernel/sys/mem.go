package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc/cred"
)

// PROT_READ, PROT_WRITE and PROT_EXEC are arch.Prot's bits.
const protMask = unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC

// map32Bit is MAP_32BIT, which exists only on amd64.
const map32Bit = 0x40

// mmapFlags translates the flags of mmap(2) that change what Map does. The other flags are
// hints.
var mmapFlags = [...]struct {
	linux int
	vm    vm.MapFlags
}{
	{unix.MAP_FIXED, vm.Fixed},
	{unix.MAP_FIXED_NOREPLACE, vm.FixedNoReplace},
	{unix.MAP_GROWSDOWN, vm.GrowsDown},
	{unix.MAP_NORESERVE, vm.NoReserve},
	{unix.MAP_POPULATE, vm.Populate},
	{unix.MAP_LOCKED, vm.Locked},
}

// legacyFlags are the flags that MAP_SHARED_VALIDATE accepts (Linux's LEGACY_MAP_MASK):
// those that are older than it, including MAP_HUGE_*. All others are refused, even
// MAP_FIXED_NOREPLACE. Without VALIDATE they are ignored.
const legacyFlags = unix.MAP_TYPE | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_DENYWRITE |
	unix.MAP_EXECUTABLE | unix.MAP_GROWSDOWN | unix.MAP_LOCKED | unix.MAP_NORESERVE | unix.MAP_POPULATE |
	unix.MAP_NONBLOCK | unix.MAP_STACK | unix.MAP_HUGETLB | map32Bit | unix.MAP_HUGE_MASK<<unix.MAP_HUGE_SHIFT

// sysMmap checks in Linux's order: offset, descriptor, length, address, permissions of the
// file.
func sysMmap(c ctx) (uint64, error) {
	m := mapping{addr: c.va(0), length: c.arg(1), prot: arch.Prot(c.arg(2) & protMask), flags: c.int(3), off: c.arg(5)}
	if m.off%arch.PageSize != 0 {
		return 0, syscall.EINVAL
	}
	var f *fs.File
	if m.flags&unix.MAP_ANONYMOUS == 0 {
		var err error
		if f, err = c.file(4); err != nil {
			return 0, err
		}
		defer f.Release()
		if f.Flags()&unix.O_PATH != 0 {
			return 0, syscall.EBADF
		}
	}
	if m.length == 0 {
		return 0, syscall.EINVAL
	}
	if m.length > uint64(arch.UserMax) || m.flags&(unix.MAP_HUGETLB|map32Bit) != 0 {
		return 0, syscall.ENOMEM
	}
	m.length = uint64(arch.VA(m.length).PageUp())
	for _, x := range mmapFlags {
		if m.flags&x.linux != 0 {
			m.vm |= x.vm
		}
	}
	if err := c.mayPlace(m.addr, m.length, m.vm); err != nil {
		return 0, err
	}
	if f == nil {
		return c.mapAnon(&m)
	}
	return c.mapFile(f, &m)
}

// memory returns the caller's address space, for calls that may take long.
func (c ctx) memory() vm.Caller { return c.mem().For(c.t) }

// mapping has the arguments of mmap(2).
type mapping struct {
	addr   arch.VA
	length uint64 // whole pages
	prot   arch.Prot
	flags  int
	off    uint64
	vm     vm.MapFlags
}

// mayPlace checks that the caller may map n bytes exactly at addr. ENOMEM: addr is not in
// the user half. EINVAL: it is inside a page. EPERM: it is below vm.MinAddr, and the caller
// lacks CAP_SYS_RAWIO.
func (c ctx) mayPlace(addr arch.VA, n uint64, fl vm.MapFlags) error {
	switch {
	case fl&(vm.Fixed|vm.FixedNoReplace) == 0:
		return nil
	case userRange(addr, n) != nil:
		return syscall.ENOMEM
	case addr%arch.PageSize != 0:
		return syscall.EINVAL
	case addr < vm.MinAddr && !c.t.Cred().Has(cred.SysRawIO):
		return syscall.EPERM
	}
	return nil
}

// mapAnon maps zero-filled memory. Shared memory is an object of its own, which children of
// fork have too.
func (c ctx) mapAnon(m *mapping) (uint64, error) {
	switch m.flags & unix.MAP_TYPE {
	case unix.MAP_PRIVATE:
		m.vm |= vm.Private
	case unix.MAP_SHARED:
		m.vm |= vm.Shared
	default:
		return 0, syscall.EINVAL
	}
	va, err := c.memory().Map(m.addr, m.length, m.prot, m.vm|vm.Anon, nil, 0)
	return uint64(va), err
}

func (c ctx) mapFile(f *fs.File, m *mapping) (uint64, error) {
	// A device interprets its offset itself. A file has no offset above the largest int64.
	end := m.off + m.length
	if end < m.off || f.Stat().Mode&unix.S_IFMT == unix.S_IFREG && int64(end) < 0 {
		return 0, syscall.EOVERFLOW
	}
	acc := f.Flags() & unix.O_ACCMODE
	switch m.flags & unix.MAP_TYPE {
	case unix.MAP_SHARED_VALIDATE:
		if m.flags&^legacyFlags != 0 {
			return 0, syscall.EOPNOTSUPP
		}
		fallthrough
	case unix.MAP_SHARED:
		m.vm |= vm.Shared
		if acc != unix.O_RDWR {
			if m.prot&arch.Write != 0 {
				return 0, syscall.EACCES
			}
			m.vm |= vm.MayNotWrite
		}
	case unix.MAP_PRIVATE:
		m.vm |= vm.Private
	default:
		return 0, syscall.EINVAL
	}
	if acc == unix.O_WRONLY {
		return 0, syscall.EACCES // every mapping can be read
	}
	zero := f.Zero()
	var obj vm.Object
	if !zero {
		var err error
		if obj, err = f.Object(); err != nil {
			return 0, err
		}
		defer obj.Unref()
	}
	if m.vm&vm.GrowsDown != 0 {
		return 0, syscall.EINVAL
	}
	if zero {
		m.flags = m.flags&^unix.MAP_TYPE | unix.MAP_PRIVATE
		if m.vm&vm.Shared != 0 {
			m.flags = m.flags&^unix.MAP_TYPE | unix.MAP_SHARED
		}
		return c.mapAnon(m)
	}
	va, err := c.memory().Map(m.addr, m.length, m.prot, m.vm, obj, int64(m.off))
	return uint64(va), err
}

func sysMunmap(c ctx) (uint64, error) { return 0, c.mem().Unmap(c.va(0), c.arg(1)) }

func sysMprotect(c ctx) (uint64, error) {
	if c.arg(2)&^protMask != 0 {
		switch addr, n := c.va(0), c.arg(1); {
		case addr%arch.PageSize != 0:
		case n == 0:
			return 0, nil
		case addr+arch.VA(n) < addr:
			return 0, syscall.ENOMEM
		}
		return 0, syscall.EINVAL
	}
	return 0, c.mem().Protect(c.va(0), c.arg(1), arch.Prot(c.arg(2)))
}

func sysMremap(c ctx) (uint64, error) {
	if to := c.va(4); c.int(3)&unix.MREMAP_FIXED != 0 && to%arch.PageSize == 0 {
		if err := c.mayPlace(to, 0, vm.Fixed); err == syscall.EPERM {
			return 0, err
		}
	}
	va, err := c.memory().Remap(c.va(0), c.arg(1), c.arg(2), c.int(3), c.va(4))
	return uint64(va), err
}

func sysMadvise(c ctx) (uint64, error) { return 0, c.memory().Advise(c.va(0), c.arg(1), c.int(2)) }
func sysMsync(c ctx) (uint64, error)   { return 0, c.memory().Sync(c.va(0), c.arg(1), c.int(2)) }
func sysBrk(c ctx) (uint64, error)     { return uint64(c.memory().Brk(c.va(0))), nil }
func sysMlock(c ctx) (uint64, error)   { return 0, c.memory().Lock(c.va(0), c.arg(1), false) }
func sysMunlock(c ctx) (uint64, error) { return 0, c.mem().Unlock(c.va(0), c.arg(1)) }

func sysMlock2(c ctx) (uint64, error) {
	if c.int(2)&^unix.MLOCK_ONFAULT != 0 {
		return 0, syscall.EINVAL
	}
	return 0, c.memory().Lock(c.va(0), c.arg(1), c.int(2) != 0)
}

func sysMlockall(c ctx) (uint64, error) {
	const known = unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT
	if f := c.int(0); f&^known != 0 || f == 0 || f == unix.MCL_ONFAULT {
		return 0, syscall.EINVAL
	}
	return 0, c.memory().LockAll(c.int(0))
}

func sysMunlockall(c ctx) (uint64, error) {
	c.mem().UnlockAll()
	return 0, nil
}

func sysMincore(c ctx) (uint64, error) {
	addr, n, vec := c.va(0), c.arg(1), c.va(2)
	if addr%arch.PageSize != 0 {
		return 0, syscall.EINVAL
	}
	if userRange(addr, n) != nil {
		return 0, syscall.ENOMEM
	}
	pages := (n + arch.PageSize - 1) / arch.PageSize
	if err := userRange(vec, pages); err != nil {
		return 0, err
	}
	var buf [64]byte // for 20 000 instructions
	for pages > 0 {
		k := min(pages, uint64(len(buf)))
		if err := c.mem().Incore(addr, buf[:k]); err != nil {
			return 0, err
		}
		if err := c.mem().CopyOut(vec, buf[:k]); err != nil {
			return 0, err
		}
		if err := c.t.Pause(); err != nil {
			return 0, err
		}
		addr, vec, pages = addr+arch.VA(k*arch.PageSize), vec+arch.VA(k), pages-k
	}
	return 0, nil
}

// Commands of membarrier(2), include/uapi/linux/membarrier.h.
const (
	membarrierQuery           = 0
	membarrierGlobal          = 1 << 0
	membarrierPrivate         = 1 << 3
	membarrierRegisterPrivate = 1 << 4
	membarrierSupported       = membarrierGlobal | membarrierPrivate | membarrierRegisterPrivate
)

// sysMembarrier implements membarrier(2). A CPU in user mode is made to leave user mode. Any
// other CPU passes a barrier before it enters user mode again. With one CPU, the entry to
// the kernel is enough.
func sysMembarrier(c ctx) (uint64, error) {
	if c.arg(1) != 0 {
		return 0, syscall.EINVAL
	}
	switch c.int(0) {
	case membarrierQuery:
		return membarrierSupported, nil
	case membarrierGlobal:
		c.s.cfg.VM.Pmaps().Barrier()
		return 0, nil
	case membarrierPrivate:
		c.t.VM().Pmap().Barrier()
		return 0, nil
	case membarrierRegisterPrivate:
		return 0, nil
	}
	return 0, syscall.EINVAL
}
