package amd64

import (
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// maxInstruction is the longest x86 instruction, SDM volume 2, 2.3.11.
const maxInstruction = 15

// Disassemble returns the first instruction of text, which lies at pc, in Go's assembly
// syntax.
func Disassemble(pc uint64, text []byte) string {
	i, err := x86asm.Decode(text, 64)
	if err != nil || i.Op == 0 { // the decoder returns Op 0 for a lone prefix
		return fmt.Sprintf("%#x: no instruction", pc)
	}
	return fmt.Sprintf("%#x: %s", pc, x86asm.GoSyntax(i, pc, nil))
}

// vectorNames are the names of SDM volume 3, table 6-1.
var vectorNames = [32]string{
	"divide error", "debug", "NMI", "breakpoint", "overflow", "bound range",
	"invalid opcode", "no FPU", "double fault", "reserved 9", "invalid TSS",
	"segment not present", "stack segment", "general protection", "page fault",
	"reserved 15", "x87", "alignment check", "machine check", "SIMD",
	"virtualization", "control protection", "reserved 22", "reserved 23",
	"reserved 24", "reserved 25", "reserved 26", "reserved 27", "hypervisor",
	"VMM communication", "security", "reserved 31",
}
