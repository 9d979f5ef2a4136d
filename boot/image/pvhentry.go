package image

import (
	"encoding/binary"
	"fmt"
)

// instr is one line of the entry code's listing. code holds the instruction's bytes. ref,
// if not empty, is the label whose address is stored in the last bytes: one byte, relative,
// for a short jump; otherwise four bytes, absolute.
type instr struct {
	label string
	asm   string
	code  []byte
	ref   string
}

// Constants of the entry code.
const (
	exitPort   = 0xf4 // the port at which the runner puts QEMU's isa-debug-exit
	exitFailed = 0x01 // QEMU then ends with status 3, as after any failure
)

// pvhListing is the entry code. It is assembled by hand because building Grim needs no
// assembler otherwise; a test disassembles the bytes and compares them with the listing. At
// entry the CPU is in 32-bit protected mode with flat segments, paging is off, and EBX is
// the physical address of the start info.
//
// It uses no stack. On a CPU without long mode or NX, which could not protect user memory
// from execution, it prints a message on COM1 and stops the machine.
var pvhListing = []instr{
	{"entry", "cli", []byte{0xfa}, ""},
	{"", "cld", []byte{0xfc}, ""},
	{"", "mov ebp, ebx", []byte{0x89, 0xdd}, ""}, // CPUID overwrites EBX
	{"", "mov eax, 0x80000000", []byte{0xb8, 0x00, 0x00, 0x00, 0x80}, ""},
	{"", "cpuid", []byte{0x0f, 0xa2}, ""},
	{"", "mov esi, long", []byte{0xbe, 0, 0, 0, 0}, "msglong"},
	{"", "cmp eax, 0x80000001", []byte{0x3d, 0x01, 0x00, 0x00, 0x80}, ""},
	{"", "jb fail", []byte{0x72, 0}, "fail"},
	{"", "mov eax, 0x80000001", []byte{0xb8, 0x01, 0x00, 0x00, 0x80}, ""},
	{"", "cpuid", []byte{0x0f, 0xa2}, ""},
	{"", "test edx, 0x20000000", []byte{0xf7, 0xc2, 0x00, 0x00, 0x00, 0x20}, ""}, // LM
	{"", "jz fail", []byte{0x74, 0}, "fail"},
	{"", "mov esi, nx", []byte{0xbe, 0, 0, 0, 0}, "msgnx"},
	{"", "test edx, 0x100000", []byte{0xf7, 0xc2, 0x00, 0x00, 0x10, 0x00}, ""}, // NX
	{"", "jz fail", []byte{0x74, 0}, "fail"},
	// Intel SDM volume 3, 9.8.5: PAE, CR3, EFER.LME (with NXE), then paging.
	{"", "mov eax, cr4", []byte{0x0f, 0x20, 0xe0}, ""},
	{"", "or eax, 0x20", []byte{0x83, 0xc8, 0x20}, ""}, // PAE
	{"", "mov cr4, eax", []byte{0x0f, 0x22, 0xe0}, ""},
	{"", "mov eax, pml4", []byte{0xb8, 0, 0, 0, 0}, "pml4"},
	{"", "mov cr3, eax", []byte{0x0f, 0x22, 0xd8}, ""},
	{"", "mov ecx, 0xc0000080", []byte{0xb9, 0x80, 0x00, 0x00, 0xc0}, ""}, // EFER
	{"", "rdmsr", []byte{0x0f, 0x32}, ""},
	{"", "or eax, 0x900", []byte{0x0d, 0x00, 0x09, 0x00, 0x00}, ""}, // LME, NXE
	{"", "wrmsr", []byte{0x0f, 0x30}, ""},
	{"", "mov eax, cr0", []byte{0x0f, 0x20, 0xc0}, ""},
	{"", "and eax, 0x9fffffff", []byte{0x25, 0xff, 0xff, 0xff, 0x9f}, ""}, // caches on
	{"", "or eax, 0x80010001", []byte{0x0d, 0x01, 0x00, 0x01, 0x80}, ""},  // PG, WP, PE
	{"", "mov cr0, eax", []byte{0x0f, 0x22, 0xc0}, ""},
	{"", "lgdt [gdtr]", []byte{0x0f, 0x01, 0x15, 0, 0, 0, 0}, "gdtr"},
	{"", "jmp far [target]", []byte{0xff, 0x2d, 0, 0, 0, 0}, "target"},
	{"fail", "lodsb", []byte{0xac}, ""},
	{"", "test al, al", []byte{0x84, 0xc0}, ""},
	{"", "jz stop", []byte{0x74, 0}, "stop"},
	{"", "mov cl, al", []byte{0x88, 0xc1}, ""},
	{"", "mov edx, 0x3fd", []byte{0xba, 0xfd, 0x03, 0x00, 0x00}, ""}, // COM1 line status
	{"wait", "in al, dx", []byte{0xec}, ""},
	{"", "test al, 0x20", []byte{0xa8, 0x20}, ""}, // transmitter empty; 0xff where no port is
	{"", "jz wait", []byte{0x74, 0}, "wait"},
	{"", "mov al, cl", []byte{0x88, 0xc8}, ""},
	{"", "mov edx, 0x3f8", []byte{0xba, 0xf8, 0x03, 0x00, 0x00}, ""},
	{"", "out dx, al", []byte{0xee}, ""},
	{"", "jmp fail", []byte{0xeb, 0}, "fail"},
	{"stop", "mov al, 0x1", []byte{0xb0, exitFailed}, ""},
	{"", "out 0xf4, al", []byte{0xe6, exitPort}, ""},
	{"halt", "hlt", []byte{0xf4}, ""},
	{"", "jmp halt", []byte{0xeb, 0}, "halt"},
}

// pvhListing64 follows in the same page. It runs in 64-bit mode at its identity address. It
// clears the data segments and puts the address of the start info into EDI for the kernel's
// entry.
var pvhListing64 = []instr{
	{"", "xor eax, eax", []byte{0x31, 0xc0}, ""},
	{"", "mov ds, ax", []byte{0x8e, 0xd8}, ""},
	{"", "mov es, ax", []byte{0x8e, 0xc0}, ""},
	{"", "mov fs, ax", []byte{0x8e, 0xe0}, ""},
	{"", "mov gs, ax", []byte{0x8e, 0xe8}, ""},
	{"", "mov ss, ax", []byte{0x8e, 0xd0}, ""},
	{"", "mov edi, ebp", []byte{0x89, 0xef}, ""},
	{"", "mov rax, qword ptr [kernel]", []byte{0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0}, "kernel"},
	{"", "jmp rax", []byte{0xff, 0xe0}, ""},
}

const (
	msgLong = "\r\ngrim: this CPU has no 64-bit mode (CPUID 80000001h EDX.LM is clear): cannot run here\r\n\x00"
	msgNX   = "\r\ngrim: this CPU has no execute protection (CPUID 80000001h EDX.NX is clear): cannot run here\r\n\x00"
)

// pvhEntry assembles the first page of the boot area, and returns it with the physical
// address of its entry. kernel is the address that the 64-bit code jumps to.
func pvhEntry(kernel uint64) (page []byte, entry uint32, err error) {
	labels := map[string]uint32{"pml4": bootPML4}
	here := func() uint32 { return BootBase + uint32(len(page)) }
	mark := func(name string) {
		page = append(page, make([]byte, -len(page)&7)...)
		labels[name] = here()
	}
	type fixup struct {
		at  int // offset just after the instruction
		ins instr
	}
	var fixups []fixup
	emit := func(list []instr) {
		for _, i := range list {
			if i.label != "" {
				labels[i.label] = here()
			}
			page = append(page, i.code...)
			if i.ref != "" {
				fixups = append(fixups, fixup{len(page), i})
			}
		}
	}

	le := binary.LittleEndian
	emit(pvhListing)
	mark("long")
	emit(pvhListing64)
	mark("gdt")
	page = le.AppendUint64(page, 0)
	page = le.AppendUint64(page, 0x00209a0000000000) // 64-bit code, ring 0
	mark("gdtr")
	page = le.AppendUint16(page, 2*8-1)
	page = le.AppendUint32(page, labels["gdt"])
	mark("target")
	page = le.AppendUint32(page, labels["long"])
	page = le.AppendUint16(page, 8)
	mark("kernel")
	page = le.AppendUint64(page, kernel)
	mark("msglong")
	page = append(page, msgLong...)
	mark("msgnx")
	page = append(page, msgNX...)

	for _, f := range fixups {
		to, ok := labels[f.ins.ref]
		if !ok {
			return nil, 0, fmt.Errorf("entry code: no label %q", f.ins.ref)
		}
		if len(f.ins.code) > 2 {
			le.PutUint32(page[f.at-4:], to)
			continue
		}
		d := int64(to) - int64(BootBase+f.at)
		if d != int64(int8(d)) {
			return nil, 0, fmt.Errorf("entry code: %q is %d bytes away", f.ins.asm, d)
		}
		page[f.at-1] = byte(d)
	}
	if len(page) > bootPML4-BootBase {
		return nil, 0, fmt.Errorf("entry code takes %d bytes, more than its page", len(page))
	}
	return page, labels["entry"], nil
}
