package vm

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/arch"
)

// Words of user memory are read and written atomically, with respect to user
// code and other CPUs: futexes, clear_child_tid, robust lists. An aligned word
// never crosses a page.

// lockWord is the address in the direct map of an aligned word of n bytes, with
// pm locked, for the caller to unlock: that lock keeps the page mapped, and the
// pointer is good until then. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) lockWord(va arch.VA, n uint64, want arch.Prot) (unsafe.Pointer, error) {
	if uint64(va)%n != 0 {
		return nil, syscall.EINVAL
	}
	for {
		vs.pm.Lock()
		// User addresses only: FrameLocked knows no others.
		if f, ok := vs.pm.FrameLocked(va, want); ok {
			return unsafe.Add(vs.sys.mem.Pointer(f), va&(arch.PageSize-1)), nil
		}
		vs.pm.Unlock()
		if err := userBuffer(va, n); err != nil {
			return nil, err
		}
		if err := vs.Fault(va, want); err != nil {
			return nil, copyError(err)
		}
	}
}

// ReadUint32 loads an aligned word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) ReadUint32(va arch.VA) (uint32, error) {
	p, err := vs.lockWord(va, 4, arch.Read)
	if err != nil {
		return 0, err
	}
	v := atomic.LoadUint32((*uint32)(p))
	vs.pm.Unlock()
	return v, nil
}

// WriteUint32 stores an aligned word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) WriteUint32(va arch.VA, v uint32) error {
	p, err := vs.lockWord(va, 4, arch.Write)
	if err != nil {
		return err
	}
	atomic.StoreUint32((*uint32)(p), v)
	vs.pm.Unlock()
	return nil
}

// ReadUint64 loads an aligned double word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) ReadUint64(va arch.VA) (uint64, error) {
	p, err := vs.lockWord(va, 8, arch.Read)
	if err != nil {
		return 0, err
	}
	v := atomic.LoadUint64((*uint64)(p))
	vs.pm.Unlock()
	return v, nil
}

// WriteUint64 stores an aligned double word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) WriteUint64(va arch.VA, v uint64) error {
	p, err := vs.lockWord(va, 8, arch.Write)
	if err != nil {
		return err
	}
	atomic.StoreUint64((*uint64)(p), v)
	vs.pm.Unlock()
	return nil
}

// CompareAndSwapUint32 replaces old by new in an aligned word and reports
// whether it was old. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) CompareAndSwapUint32(va arch.VA, old, new uint32) (bool, error) {
	p, err := vs.lockWord(va, 4, arch.Write)
	if err != nil {
		return false, err
	}
	ok := atomic.CompareAndSwapUint32((*uint32)(p), old, new)
	vs.pm.Unlock()
	return ok, nil
}
