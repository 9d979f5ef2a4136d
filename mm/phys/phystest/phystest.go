// Package phystest gives host tests physical memory to manage.
package phystest

import (
	"syscall"
	"testing"
	"unsafe"

	"grim/arch"
	"grim/mm/phys"
)

// New makes an allocator over pages frames of RAM, with frame 0 left out. The
// memory is an anonymous mapping of the host, so what is not touched costs
// nothing; it goes when the test ends.
func New(t testing.TB, pages int) *phys.Memory {
	t.Helper()
	arena, err := syscall.Mmap(-1, 0, pages*arch.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(arena) })
	m, err := phys.New(unsafe.Pointer(&arena[0]), []phys.Range{{Start: 0, End: arch.PA(pages) << arch.PageShift}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
