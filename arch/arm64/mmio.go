//go:build tamago && arm64

package arm64

import (
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// window is a range of device registers in the direct map, where the tables
// have it as Device-nGnRnE: accesses are neither merged nor reordered.
type window struct{ base arch.PA }

// read and write go through package atomic so that the compiler emits each one,
// once, with its size.
func (w window) read(off uintptr) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Add(Ptr(w.base), off)))
}

func (w window) write(off uintptr, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Add(Ptr(w.base), off)), v)
}
