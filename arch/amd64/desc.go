package amd64

import "unsafe"

// Selectors. SYSCALL and SYSRET dictate the order (SDM volume 2, SYSRET): user data, then
// user code, 8 and 16 after the base given in STAR. There is no 32-bit user code segment,
// so user code cannot leave 64-bit mode.
const (
	selKernelCode = 0x10
	selKernelData = 0x18
	selUserBase   = 0x23 // base for SYSRET; its own slot stays empty
	selUserData   = 0x2b
	selUserCode   = 0x33
	selTSS        = 0x40
	gdtEntries    = 10
)

// Descriptors have the accessed bit set already, so that the CPU never writes to a
// descriptor when a segment register is loaded (SDM volume 3, 3.4.5).
const (
	descKernelCode = 0x00209b0000000000
	descKernelData = 0x0000930000000000
	descUserData   = 0x0000f30000000000
	descUserCode   = 0x0020fb0000000000
)

// tss is the 64-bit task state segment (SDM volume 3, figure 8-11). Stack pointers are
// pairs of 32-bit halves, as they are not 8-byte aligned.
type tss struct {
	_    uint32
	rsp  [3][2]uint32
	_    [2]uint32
	ist  [7][2]uint32
	_    [2]uint32
	_    uint16
	ioPB uint16 // beyond the limit, so that user code may use no port
}

const tssLimit = unsafe.Sizeof(tss{}) - 1

func (t *tss) setIST(n int, sp uint64) {
	t.ist[n-1] = [2]uint32{uint32(sp), uint32(sp >> 32)}
}

// Numbers of the interrupt stacks, as IDT entries use them.
const (
	istTrap  = 1
	istNMI   = 2
	istFault = 3
)

// istOf returns the number of the stack on which a vector's handler starts. An NMI or a
// machine check may come while another handler is on IST1. A double fault may come because
// IST1 cannot be used.
func istOf(vector int) int {
	switch vector {
	case vecNMI, vecMachine:
		return istNMI
	case vecDoubleFault:
		return istFault
	}
	return istTrap
}

// gate returns an IDT entry: a 64-bit interrupt gate, which clears IF (SDM volume 3,
// 6.14.1). User code may only use the gate of INT3.
func gate(vector int, handler uint64) (lo, hi uint64) {
	const interruptGate = 0xe
	dpl := uint64(0)
	if vector == vecBreakpoint {
		dpl = 3
	}
	lo = handler&0xffff | selKernelCode<<16 | uint64(istOf(vector))<<32 |
		interruptGate<<40 | dpl<<45 | 1<<47 | handler>>16&0xffff<<48
	return lo, handler >> 32
}

// setTables fills in a CPU's GDT and TSS, for a cpuArea at address va.
func (c *cpuArea) setTables(va uint64) {
	part := va - cpuPage
	c.tss = tss{ioPB: uint16(unsafe.Sizeof(tss{}))}
	c.tss.setIST(istTrap, part+trapStackTop)
	c.tss.setIST(istNMI, part+nmiStackTop)
	c.tss.setIST(istFault, part+faultStackTop)

	at := va + uint64(unsafe.Offsetof(c.tss))
	c.gdt = [gdtEntries]uint64{
		selKernelCode / 8: descKernelCode,
		selKernelData / 8: descKernelData,
		selUserData / 8:   descUserData,
		selUserCode / 8:   descUserCode,
		// An available 64-bit TSS, SDM volume 3, figure 8-4.
		selTSS / 8:   uint64(tssLimit) | at&0xffffff<<16 | 0x89<<40 | at>>24&0xff<<56,
		selTSS/8 + 1: at >> 32,
	}
	c.gdtr = tableRegister(va+uint64(unsafe.Offsetof(c.gdt)), gdtEntries*8-1)
	c.idtr = tableRegister(areaIDT, vectors*16-1)
}

// tableRegister returns the 10-byte operand of LGDT and LIDT, at offset 6, which keeps its
// address part aligned.
func tableRegister(base uint64, limit uint16) [2]uint64 {
	return [2]uint64{uint64(limit) << 48, base}
}
