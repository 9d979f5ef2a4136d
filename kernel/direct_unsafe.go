//go:build tamago

package kernel

import (
	"unsafe"

	"grim/arch"
)

// Here a physical address becomes a pointer. All of package kernel gets memory and device
// registers from these functions.

// direct returns the address of pa in the direct map. Safety: pa is RAM that the caller
// owns, outside of the Go heap, or a device's registers.
func direct(pa arch.PA) unsafe.Pointer {
	return unsafe.Add(nil, uintptr(arch.DirectBase)+uintptr(pa))
}

// directBytes returns n bytes of memory from pa on. Safety: as for direct.
func directBytes(pa arch.PA, n uint64) []byte { return unsafe.Slice((*byte)(direct(pa)), n) }

// directWord returns a 32-bit word of memory or a device register. Safety: as for direct; pa
// is a multiple of 4.
func directWord(pa arch.PA) *uint32 { return (*uint32)(direct(pa)) }
