package amd64

import (
	"testing"
	"unsafe"
)

func TestSelectors(t *testing.T) {
	// The selectors that SYSCALL and SYSRET load, SDM volume 2.
	if selKernelData != selKernelCode+8 {
		t.Error("SYSCALL takes SS from the descriptor behind CS")
	}
	if selUserData != selUserBase+8 || selUserCode != selUserBase+16 {
		t.Error("SYSRETQ takes SS and CS 8 and 16 behind the base")
	}
	if selUserData&3 != 3 || selUserCode&3 != 3 {
		t.Error("user selectors lack privilege level 3")
	}
}

func TestCPUArea(t *testing.T) {
	const va = areaCPU0 + cpuPage
	var c cpuArea
	c.setTables(va)

	// Field offsets of the 64-bit TSS, SDM volume 3, figure 8-11.
	if o := unsafe.Offsetof(c.tss.ist); o != 36 {
		t.Errorf("IST1 at %d, want 36", o)
	}
	if o := unsafe.Offsetof(c.tss.ioPB); o != 102 || tssLimit != 103 {
		t.Errorf("I/O map base at %d, limit %d; want 102, 103", o, tssLimit)
	}
	if int(c.tss.ioPB) <= int(tssLimit) {
		t.Error("the I/O permission map lies inside of the TSS: ports are open")
	}
	for n, top := range map[int]uint64{istTrap: trapStackTop, istNMI: nmiStackTop, istFault: faultStackTop} {
		got := uint64(c.tss.ist[n-1][0]) | uint64(c.tss.ist[n-1][1])<<32
		if got != areaCPU0+top {
			t.Errorf("IST%d is %#x, want %#x", n, got, areaCPU0+top)
		}
		// The assembly masks a stack pointer to find the CPU's part.
		if (got-8)&^(areaStride-1) != areaCPU0 {
			t.Errorf("IST%d does not lead to its CPU's part", n)
		}
	}
	if areaCPU0+trapStackTop != va {
		t.Error("cpuArea is not right above IST1: the entry text addresses it so")
	}

	if sel := c.gdt[selTSS/8]; sel&0xffff != uint64(tssLimit) || sel>>40&0xff != 0x89 {
		t.Errorf("TSS descriptor %#x", sel)
	}
	base := c.gdt[selTSS/8]>>16&0xffffff | c.gdt[selTSS/8]>>56<<24 | c.gdt[selTSS/8+1]<<32
	if want := va + uint64(unsafe.Offsetof(c.tss)); base != want {
		t.Errorf("TSS descriptor's base is %#x, want %#x", base, want)
	}
	for _, s := range []int{selKernelCode, selKernelData, selUserCode, selUserData} {
		if c.gdt[s/8]>>40&1 == 0 {
			t.Errorf("descriptor %#x is not marked accessed: the CPU would write to it", s)
		}
	}
	if c.gdt[selUserBase/8] != 0 {
		t.Error("there is a 32-bit user code segment")
	}
	op := (*[10]byte)(unsafe.Add(unsafe.Pointer(&c.gdtr), 6))
	if limit := uint16(op[0]) | uint16(op[1])<<8; limit != gdtEntries*8-1 {
		t.Errorf("GDT limit %d", limit)
	}
}

func TestGates(t *testing.T) {
	const handler = 0xffffffffffe01230
	for v := range vectors {
		lo, hi := gate(v, handler)
		if got := lo&0xffff | lo>>48<<16 | hi<<32; got != handler {
			t.Errorf("vector %d: handler %#x", v, got)
		}
		if lo>>40&0x1f != 0xe || lo>>47&1 != 1 || lo>>16&0xffff != selKernelCode {
			t.Errorf("vector %d: gate %#x", v, lo)
		}
		if dpl := lo >> 45 & 3; (dpl == 3) != (v == 3) {
			t.Errorf("vector %d: privilege level %d", v, dpl)
		}
		if ist := lo >> 32 & 7; ist == 0 || int(ist) != istOf(v) {
			t.Errorf("vector %d arrives on stack %d", v, ist)
		}
	}
	if istOf(vecDoubleFault) == istTrap || istOf(vecNMI) == istTrap {
		t.Error("a double fault or NMI would overwrite the stack in use")
	}
	if vecSpurious&15 != 15 || vecTimer <= vecIRQ+irqLines-1 || vecSpurious >= vectors {
		t.Error("vectors overlap")
	}
}
