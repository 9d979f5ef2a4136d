package image

import (
	"debug/elf"
	"strings"
	"testing"
)

// A kernel that takes too much memory is refused, be it data that is not in the file.
// Broken by: CheckMemory that does not compare; one that counts what is in the file.
func TestMostMemory(t *testing.T) {
	kernel := func(bss uint64) []byte {
		return testELF(elf.EM_X86_64, KernelBase+0x201040,
			testSeg{KernelBase + 0x200000, 0x2000, elf.PF_R | elf.PF_X, make([]byte, 0x2000)},
			testSeg{KernelBase + 0x202000, bss, elf.PF_R | elf.PF_W, []byte("data")})
	}
	err := CheckMemory(kernel(MostMemory-0x2000+1), MostMemory)
	if err == nil || !strings.Contains(err.Error(), "takes 12288 KB of memory, more than 12 MB") {
		t.Errorf("a byte too much: %v", err)
	}
	if err := CheckMemory(kernel(MostMemory-0x2000), MostMemory); err != nil {
		t.Error(err)
	}
}
