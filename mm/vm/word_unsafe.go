package vm

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/arch"
	"grim/mm/phys"
)

// Words of user memory are read and written atomically, with respect to user
// code and other CPUs: futexes, clear_child_tid, robust lists. An aligned word
// never crosses a page.

// word calls fn with the address of an aligned word of n bytes in the direct
// map. EINVAL misaligned, EFAULT.
//
// Unsafe: the pointer is into a frame that pmap.mu, held while fn runs, keeps
// mapped; fn must not let it escape.
func (vs *VMSpace) word(va arch.VA, n uint64, want arch.Prot, fn func(p unsafe.Pointer)) error {
	if uint64(va)%n != 0 {
		return syscall.EINVAL
	}
	if err := userBuffer(va, n); err != nil {
		return err
	}
	mem := vs.sys.mem
	_, err := vs.access(va, n, want, func(f phys.Frame, off, _ int) {
		fn(unsafe.Add(mem.Pointer(f), off))
	})
	return err
}

// ReadUint32 loads an aligned word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) ReadUint32(va arch.VA) (v uint32, err error) {
	err = vs.word(va, 4, arch.Read, func(p unsafe.Pointer) { v = atomic.LoadUint32((*uint32)(p)) })
	return v, err
}

// WriteUint32 stores an aligned word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) WriteUint32(va arch.VA, v uint32) error {
	return vs.word(va, 4, arch.Write, func(p unsafe.Pointer) { atomic.StoreUint32((*uint32)(p), v) })
}

// ReadUint64 loads an aligned double word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) ReadUint64(va arch.VA) (v uint64, err error) {
	err = vs.word(va, 8, arch.Read, func(p unsafe.Pointer) { v = atomic.LoadUint64((*uint64)(p)) })
	return v, err
}

// WriteUint64 stores an aligned double word. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) WriteUint64(va arch.VA, v uint64) error {
	return vs.word(va, 8, arch.Write, func(p unsafe.Pointer) { atomic.StoreUint64((*uint64)(p), v) })
}

// CompareAndSwapUint32 replaces old by new in an aligned word and reports
// whether it was old. EINVAL misaligned, EFAULT; it may sleep.
func (vs *VMSpace) CompareAndSwapUint32(va arch.VA, old, new uint32) (ok bool, err error) {
	err = vs.word(va, 4, arch.Write, func(p unsafe.Pointer) { ok = atomic.CompareAndSwapUint32((*uint32)(p), old, new) })
	return ok, err
}
