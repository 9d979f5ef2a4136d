package arch

import "unsafe"

// Word returns the first 4 bytes of b as a word for atomic access: a ring's index in memory
// that a device reads and writes too. It panics if b is shorter, or not aligned.
func Word(b []byte) *uint32 {
	p := unsafe.Pointer(unsafe.SliceData(b))
	if len(b) < 4 || uintptr(p)&3 != 0 {
		panic("arch: not the memory of a word")
	}
	// Safety: b has the 4 bytes, and is alive as long as the word is.
	return (*uint32)(p)
}
