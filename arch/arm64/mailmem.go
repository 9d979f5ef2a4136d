//go:build tamago && arm64

package arm64

import "unsafe"

// flushLines writes the data cache's lines of n bytes at p to memory and invalidates them.
// Defined in mailmem.s.
func flushLines(p unsafe.Pointer, n uintptr)

func init() {
	message.flush = flushLines
	message.physical = func(p unsafe.Pointer) uint64 { return uint64(physOfImage(uintptr(p))) }
}
