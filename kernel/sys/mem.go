package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
)

// PROT_READ, PROT_WRITE and PROT_EXEC are arch.Prot's bits.
const protMask = unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC

// map32Bit is MAP_32BIT, which exists on amd64 only.
const map32Bit = 0x40

// mmapFlags translates the flags of mmap(2) that change what Map does; the
// others are hints.
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

func sysMmap(c ctx) (uint64, error) {
	addr, length, flags, off := c.va(0), c.arg(1), c.int(3), int64(c.arg(5))
	prot := arch.Prot(c.arg(2) & protMask)
	if off < 0 || off%arch.PageSize != 0 || length == 0 {
		return 0, syscall.EINVAL
	}
	var fl vm.MapFlags
	switch flags & unix.MAP_TYPE {
	case unix.MAP_SHARED, unix.MAP_SHARED_VALIDATE:
		fl = vm.Shared
	case unix.MAP_PRIVATE:
		fl = vm.Private
	default:
		return 0, syscall.EINVAL
	}
	if flags&(unix.MAP_HUGETLB|map32Bit) != 0 {
		return 0, syscall.ENOMEM
	}
	for _, m := range mmapFlags {
		if flags&m.linux != 0 {
			fl |= m.vm
		}
	}
	if flags&unix.MAP_ANONYMOUS == 0 {
		return c.mapFile(addr, length, prot, fl, off)
	}
	return c.mapAnon(addr, length, prot, fl)
}

// mayPlace says whether the caller may map memory exactly at addr: below vm.MinAddr,
// CAP_SYS_RAWIO is needed. EPERM. (An address inside a page is EINVAL, later.)
func (c ctx) mayPlace(addr arch.VA, fl vm.MapFlags) error {
	if fl&(vm.Fixed|vm.FixedNoReplace) != 0 && addr < vm.MinAddr && addr%arch.PageSize == 0 && c.t.Process().Cred().EUID != 0 {
		return syscall.EPERM
	}
	return nil
}

// mapAnon maps zero-filled memory; shared, it is an object of its own that
// children of fork have too.
func (c ctx) mapAnon(addr arch.VA, length uint64, prot arch.Prot, fl vm.MapFlags) (uint64, error) {
	if err := c.mayPlace(addr, fl); err != nil {
		return 0, err
	}
	if fl&vm.Shared == 0 {
		va, err := c.mem().Map(addr, length, prot, fl|vm.Anon, nil, 0)
		return uint64(va), err
	}
	if length > uint64(arch.UserMax) {
		return 0, syscall.ENOMEM
	}
	obj, err := vm.NewAnonObject(c.s.cfg.VM, int64(length), c.mem().Account().User())
	if err != nil {
		return 0, err
	}
	defer obj.Unref()
	va, err := c.mem().Map(addr, length, prot, fl, obj, 0)
	return uint64(va), err
}

func (c ctx) mapFile(addr arch.VA, length uint64, prot arch.Prot, fl vm.MapFlags, off int64) (uint64, error) {
	f, err := c.file(4)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	acc := f.Flags()
	if acc&unix.O_PATH != 0 {
		return 0, syscall.EBADF
	}
	if acc&unix.O_ACCMODE == unix.O_WRONLY {
		return 0, syscall.EACCES // every mapping can be read
	}
	if fl&vm.Shared != 0 && acc&unix.O_ACCMODE != unix.O_RDWR {
		if prot&arch.Write != 0 {
			return 0, syscall.EACCES
		}
		fl |= vm.MayNotWrite
	}
	if f.Zero() {
		return c.mapAnon(addr, length, prot, fl)
	}
	if err := c.mayPlace(addr, fl); err != nil {
		return 0, err
	}
	obj, err := f.Object()
	if err != nil {
		return 0, err
	}
	defer obj.Unref()
	va, err := c.mem().Map(addr, length, prot, fl, obj, off)
	return uint64(va), err
}

func sysMunmap(c ctx) (uint64, error) { return 0, c.mem().Unmap(c.va(0), c.arg(1)) }

func sysMprotect(c ctx) (uint64, error) {
	if c.arg(2)&^protMask != 0 {
		return 0, syscall.EINVAL
	}
	return 0, c.mem().Protect(c.va(0), c.arg(1), arch.Prot(c.arg(2)))
}

func sysMremap(c ctx) (uint64, error) {
	if c.int(3)&unix.MREMAP_FIXED != 0 {
		if err := c.mayPlace(c.va(4), vm.Fixed); err != nil {
			return 0, err
		}
	}
	va, err := c.mem().Remap(c.va(0), c.arg(1), c.arg(2), c.int(3), c.va(4))
	return uint64(va), err
}

func sysMadvise(c ctx) (uint64, error) { return 0, c.mem().Advise(c.va(0), c.arg(1), c.int(2)) }
func sysMsync(c ctx) (uint64, error)   { return 0, c.mem().Sync(c.va(0), c.arg(1), c.int(2)) }
func sysBrk(c ctx) (uint64, error)     { return uint64(c.mem().Brk(c.va(0))), nil }
func sysMlock(c ctx) (uint64, error)   { return 0, c.mem().Lock(c.va(0), c.arg(1)) }
func sysMunlock(c ctx) (uint64, error) { return 0, c.mem().Unlock(c.va(0), c.arg(1)) }

func sysMlock2(c ctx) (uint64, error) {
	if c.int(2)&^unix.MLOCK_ONFAULT != 0 {
		return 0, syscall.EINVAL
	}
	return sysMlock(c)
}

func sysMlockall(c ctx) (uint64, error) {
	const known = unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT
	if f := c.int(0); f&^known != 0 || f == 0 || f == unix.MCL_ONFAULT {
		return 0, syscall.EINVAL
	}
	return 0, c.mem().LockAll(c.int(0))
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
	var buf [512]byte
	for pages > 0 {
		k := min(pages, uint64(len(buf)))
		if err := c.mem().Incore(addr, buf[:k]); err != nil {
			return 0, err
		}
		if err := c.mem().CopyOut(vec, buf[:k]); err != nil {
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

// sysMembarrier: with one CPU, entering the kernel is the barrier: no other
// thread of the process runs meanwhile.
func sysMembarrier(c ctx) (uint64, error) {
	if c.arg(1) != 0 {
		return 0, syscall.EINVAL
	}
	switch c.int(0) {
	case membarrierQuery:
		return membarrierSupported, nil
	case membarrierGlobal, membarrierPrivate, membarrierRegisterPrivate:
		return 0, nil
	}
	return 0, syscall.EINVAL
}
