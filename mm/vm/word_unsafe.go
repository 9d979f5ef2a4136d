package vm

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/arch"
	"grim/mm/phys"
)

// Words of user memory that must be read and written atomically with respect to user code
// and other CPUs: futexes, clear_child_tid, robust lists. An aligned word never crosses a
// page.

// lockWord returns the address, in the direct map, of an aligned word of n bytes. On
// success pm is locked, and the caller must unlock it: the lock keeps the page mapped, and
// the pointer is valid until then. EINVAL if va is misaligned, EFAULT. It may sleep.
func (vs *VMSpace) lockWord(va arch.VA, n uint64, want arch.Prot) (unsafe.Pointer, error) {
	if uint64(va)%n != 0 {
		return nil, syscall.EINVAL
	}
	for {
		vs.pm.Lock()
		// FrameLocked accepts user addresses only.
		if f, ok := vs.pm.FrameLocked(va, want); ok {
			return vs.word(f, va), nil
		}
		vs.pm.Unlock()
		if err := userBuffer(va, n); err != nil {
			return nil, err
		}
		if err := vs.copyFault(va, want); err != nil {
			return nil, err
		}
	}
}

// TryReadUint32 is ReadUint32 for an aligned word whose page is present. there is false if
// it would have to fault. It does not sleep, and may be called with locks held.
func (vs *VMSpace) TryReadUint32(va arch.VA) (v uint32, there bool) {
	vs.pm.Lock()
	f, there := vs.pm.FrameLocked(va, arch.Read)
	if there {
		v = atomic.LoadUint32((*uint32)(vs.word(f, va)))
	}
	vs.pm.Unlock()
	return v, there
}

// TryCompareAndSwapUint32 is CompareAndSwapUint32 for an aligned word whose page is present
// and writable. If it would have to fault, there is false and nothing has been done. It
// does not sleep.
func (vs *VMSpace) TryCompareAndSwapUint32(va arch.VA, old, new uint32) (swapped, there bool) {
	vs.pm.Lock()
	f, there := vs.pm.FrameLocked(va, arch.Write)
	if there {
		swapped = atomic.CompareAndSwapUint32((*uint32)(vs.word(f, va)), old, new)
	}
	vs.pm.Unlock()
	return swapped, there
}

// word returns the address, in the direct map, of the word at va, which is in frame f.
func (vs *VMSpace) word(f phys.Frame, va arch.VA) unsafe.Pointer {
	return unsafe.Add(vs.sys.mem.Pointer(f), va&(arch.PageSize-1))
}

// ReadUint32 loads an aligned word. EINVAL if va is misaligned, EFAULT. It may sleep.
func (vs *VMSpace) ReadUint32(va arch.VA) (uint32, error) {
	p, err := vs.lockWord(va, 4, arch.Read)
	if err != nil {
		return 0, err
	}
	v := atomic.LoadUint32((*uint32)(p))
	vs.pm.Unlock()
	return v, nil
}

// WriteUint32 stores an aligned word. EINVAL if va is misaligned, EFAULT. It may sleep.
func (vs *VMSpace) WriteUint32(va arch.VA, v uint32) error {
	p, err := vs.lockWord(va, 4, arch.Write)
	if err != nil {
		return err
	}
	atomic.StoreUint32((*uint32)(p), v)
	vs.pm.Unlock()
	return nil
}

// ReadUint64 loads an aligned double word. EINVAL if va is misaligned, EFAULT. It may
// sleep.
func (vs *VMSpace) ReadUint64(va arch.VA) (uint64, error) {
	p, err := vs.lockWord(va, 8, arch.Read)
	if err != nil {
		return 0, err
	}
	v := atomic.LoadUint64((*uint64)(p))
	vs.pm.Unlock()
	return v, nil
}

// WriteUint64 stores an aligned double word. EINVAL if va is misaligned, EFAULT. It may
// sleep.
func (vs *VMSpace) WriteUint64(va arch.VA, v uint64) error {
	p, err := vs.lockWord(va, 8, arch.Write)
	if err != nil {
		return err
	}
	atomic.StoreUint64((*uint64)(p), v)
	vs.pm.Unlock()
	return nil
}

// CompareAndSwapUint32 replaces old by new in an aligned word, and reports whether it was
// old. EINVAL if va is misaligned, EFAULT. It may sleep.
func (vs *VMSpace) CompareAndSwapUint32(va arch.VA, old, new uint32) (bool, error) {
	p, err := vs.lockWord(va, 4, arch.Write)
	if err != nil {
		return false, err
	}
	ok := atomic.CompareAndSwapUint32((*uint32)(p), old, new)
	vs.pm.Unlock()
	return ok, nil
}
