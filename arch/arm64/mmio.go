package arm64

import (
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// Ptr is where the direct map has a physical address. Before New the direct map
// holds the device tree (2 MB from its 2 MB boundary, and 2 MB more) and what
// EarlyMap added.
func Ptr(pa arch.PA) unsafe.Pointer {
	return unsafe.Add(nil, uintptr(arch.DirectBase)+uintptr(pa))
}

// window is a range of device registers in the direct map, where the tables
// have it as Device-nGnRnE: accesses are neither merged nor reordered.
type window struct{ at unsafe.Pointer }

// ReadRegister reads a device's register of 32 bits, which is mapped.
func ReadRegister(pa uint64) uint32 { return windowAt(Span{Base: pa}).read(0) }

func windowAt(r Span) window { return window{Ptr(arch.PA(r.Base))} }

// read and write go through package atomic so that the compiler emits each one,
// once, with its size.
func (w window) read(off uintptr) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Add(w.at, off)))
}

func (w window) write(off uintptr, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Add(w.at, off)), v)
}

// read16 and write16 are not inlined, so that each is one access of 16 bits: package
// atomic has none of that size.
//
//go:noinline
func (w window) read16(off uintptr) uint16 { return *(*uint16)(unsafe.Add(w.at, off)) }

//go:noinline
func (w window) write16(off uintptr, v uint16) { *(*uint16)(unsafe.Add(w.at, off)) = v }

// read8 and write8 are the same for 8 bits.
//
//go:noinline
func (w window) read8(off uintptr) uint8 { return *(*uint8)(unsafe.Add(w.at, off)) }

//go:noinline
func (w window) write8(off uintptr, v uint8) { *(*uint8)(unsafe.Add(w.at, off)) = v }
