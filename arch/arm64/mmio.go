package arm64

import (
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// Ptr returns the address of pa in the direct map. Before New, the direct map has the
// device tree (2 MB from the 2 MB boundary below it, and 2 MB more) and the windows of
// EarlyMap.
func Ptr(pa arch.PA) unsafe.Pointer {
	return unsafe.Add(nil, uintptr(arch.DirectBase)+uintptr(pa))
}

// window is a range of device registers in the direct map. The tables have it as
// Device-nGnRnE: accesses are neither merged nor reordered.
type window struct{ at unsafe.Pointer }

// ReadRegister reads a 32-bit register of a device. The register must be mapped.
func ReadRegister(pa uint64) uint32 { return windowAt(Span{Base: pa}).read(0) }

func windowAt(r Span) window { return window{Ptr(arch.PA(r.Base))} }

// read and write use package atomic, so that the compiler emits each access once, with its
// size.
func (w window) read(off uintptr) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Add(w.at, off)))
}

func (w window) write(off uintptr, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Add(w.at, off)), v)
}

// read16 and write16 are not inlined, so that each is one access of 16 bits. Package atomic
// has nothing of that size.
//
//go:noinline
func (w window) read16(off uintptr) uint16 { return *(*uint16)(unsafe.Add(w.at, off)) }

//go:noinline
func (w window) write16(off uintptr, v uint16) { *(*uint16)(unsafe.Add(w.at, off)) = v }

// read8 and write8 are the same, for 8 bits.
//
//go:noinline
func (w window) read8(off uintptr) uint8 { return *(*uint8)(unsafe.Add(w.at, off)) }

//go:noinline
func (w window) write8(off uintptr, v uint8) { *(*uint8)(unsafe.Add(w.at, off)) = v }
