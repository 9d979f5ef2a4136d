package amd64

import (
	"bytes"
	"testing"
	"unsafe"

	syscpu "golang.org/x/sys/cpu"
)

// PageOps clear and copy all of a page, and nothing beside it. Broken by: one iteration of
// a loop less, or one more. (kernel/selftest has the same test for both architectures.)
func TestPageOps(t *testing.T) {
	if ops := PageOps(&Features{XSAVE: true, XCR0: xcr0Base}); ops.Clear != nil || ops.Copy != nil {
		t.Error("AVX used without AVX")
	}
	if !syscpu.X86.HasAVX {
		t.Skip("the host has no AVX")
	}
	ops := PageOps(&Features{XSAVE: true, XCR0: xcr0Base | xcr0AVX})
	const page = 4096
	src, dst := make([]byte, page), make([]byte, 3*page)
	for i := range src {
		src[i] = byte(i*7 + i>>8)
	}
	reset := func() []byte {
		for i := range dst {
			dst[i] = 0xaa
		}
		return bytes.Clone(dst)
	}
	want := reset()
	clear(want[page : 2*page])
	if ops.Clear(unsafe.Pointer(&dst[page])); !bytes.Equal(dst, want) {
		t.Error("the page cleared is not exactly the page")
	}
	want = reset()
	copy(want[page:], src)
	if ops.Copy(unsafe.Pointer(&dst[page]), unsafe.Pointer(&src[0])); !bytes.Equal(dst, want) {
		t.Error("the page copied is not exactly the page")
	}
}
