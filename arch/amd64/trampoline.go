package amd64

import (
	"encoding/binary"

	"grim/arch"
)

// A CPU that is started by a startup interrupt (SIPI) begins in real mode, at the start of
// a page below 1 MB. The trampoline is the code that takes it from there to the kernel's
// text in 64-bit mode. It goes from real mode to long mode with paging in one step (SDM
// volume 3, 9.8.5). It is assembled by hand, like the entry code of boot/image; a test
// disassembles the bytes and compares them with the listing.
//
// The page is mapped at its physical address in a root of its own, which has the kernel's
// kernel half. The page stays allocated: a CPU that has no work is stopped, and starts here
// again.

// trampolineListing is the code. Operands in brackets are offsets in the page. In the last
// part, which runs in 64-bit mode, they are relative.
var trampolineListing = []struct {
	asm  string
	mode int
	code []byte
	ref  int32 // in 64-bit mode: the offset that the last four bytes refer to
}{
	{"cli", 16, []byte{0xfa}, 0},
	{"cld", 16, []byte{0xfc}, 0},
	{"mov ax, cs", 16, []byte{0x8c, 0xc8}, 0},
	{"mov ds, ax", 16, []byte{0x8e, 0xd8}, 0},
	{"data32 lgdt [gdtr]", 16, []byte{0x66, 0x0f, 0x01, 0x16, trampGDTR, 0}, 0},
	{"mov eax, dword ptr [cr4]", 16, []byte{0x66, 0xa1, trampCR4, 0}, 0},
	{"mov cr4, eax", 16, []byte{0x0f, 0x22, 0xe0}, 0},
	{"mov eax, dword ptr [cr3]", 16, []byte{0x66, 0xa1, trampCR3, 0}, 0},
	{"mov cr3, eax", 16, []byte{0x0f, 0x22, 0xd8}, 0},
	{"mov ecx, -0x3fffff80", 16, []byte{0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0}, 0},
	{"mov eax, dword ptr [efer]", 16, []byte{0x66, 0xa1, trampEFER, 0}, 0},
	{"xor edx, edx", 16, []byte{0x66, 0x31, 0xd2}, 0},
	{"wrmsr", 16, []byte{0x0f, 0x30}, 0},
	{"mov eax, dword ptr [cr0]", 16, []byte{0x66, 0xa1, trampCR0, 0}, 0},
	{"mov cr0, eax", 16, []byte{0x0f, 0x22, 0xc0}, 0},
	{"jmp far [target]", 16, []byte{0x66, 0xff, 0x2e, trampTarget, 0}, 0},
	{"mov rdi, qword ptr [arg]", 64, []byte{0x48, 0x8b, 0x3d, 0, 0, 0, 0}, trampArg},
	{"mov rax, qword ptr [entry]", 64, []byte{0x48, 0x8b, 0x05, 0, 0, 0, 0}, trampEntry},
	{"jmp rax", 64, []byte{0xff, 0xe0}, 0},
}

// Offsets in the trampoline's page of what the code reads.
const (
	trampGDT    = 0x80 // null, 64-bit code
	trampGDTR   = 0x92 // limit and base; the base is aligned
	trampTarget = 0xa0 // 32-bit address and selector of the 64-bit part
	trampCR4    = 0xa8
	trampCR3    = 0xac
	trampEFER   = 0xb0
	trampCR0    = 0xb4
	trampArg    = 0xb8
	trampEntry  = 0xc0
	trampBytes  = 0xc8
)

// trampolineRegs are the values that the CPU's registers get. All roots are below 4 GB.
type trampolineRegs struct {
	cr0, cr3, cr4, efer uint32
	entry               uint64 // kernel text to go on in, with arg in RDI
}

// trampoline returns the contents of the trampoline's page, which is at pa.
func trampoline(pa arch.PA, r trampolineRegs) []byte {
	p := make([]byte, 0, trampBytes)
	var long int
	for _, ins := range trampolineListing {
		if ins.mode == 64 && long == 0 {
			long = len(p)
		}
		p = append(p, ins.code...)
		if at := int32(len(p)); ins.ref != 0 {
			binary.LittleEndian.PutUint32(p[at-4:], uint32(ins.ref-at))
		}
	}
	if len(p) > trampGDT {
		panic("amd64: the trampoline's code runs into its data")
	}
	p = p[:trampBytes]
	le := binary.LittleEndian
	le.PutUint64(p[trampGDT+8:], descKernelCode)
	le.PutUint16(p[trampGDTR:], 2*8-1)
	le.PutUint32(p[trampGDTR+2:], uint32(pa)+trampGDT)
	le.PutUint32(p[trampTarget:], uint32(pa)+uint32(long))
	le.PutUint16(p[trampTarget+4:], 8)
	le.PutUint32(p[trampCR4:], r.cr4)
	le.PutUint32(p[trampCR3:], r.cr3)
	le.PutUint32(p[trampEFER:], r.efer)
	le.PutUint32(p[trampCR0:], r.cr0)
	le.PutUint64(p[trampEntry:], r.entry)
	return p
}
