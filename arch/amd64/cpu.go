//go:build tamago && amd64

package amd64

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"grim/arch"
)

// Defined in cpu_amd64.s.
func cpuid(leaf, sub uint32) (a, b, c, d uint32)
func rdmsr(msr uint32) uint64
func wrmsr(msr uint32, v uint64)
func rdtsc() uint64
func getCR0() uint64
func setCR0(v uint64)
func getCR2() uint64
func getCR3() uint64
func getDR6() uint64
func setDR6(v uint64)
func setCR3(v uint64)
func getCR4() uint64
func setCR4(v uint64)
func setXCR0(v uint64)
func invlpg(va uint64)
func invpcid(kind, pcid, va uint64)
func loadTables(gdtr, idtr *byte, tss, kernelData uint16)
func clearSegments(fsBase uint64)
func sleep()
func pause()
func fence()
func halt()
func tripleFault()
func in8(port uint16) uint8
func out8(port uint16, v uint8)
func out16(port, v uint16)
func out32(port uint16, v uint32)
func rdrand() (v uint64, ok bool)
func rdseed() (v uint64, ok bool)

// textAddresses returns the addresses of entryText, entryTextIBRS, syscallEntry, trapEntry
// and faultEntry, which are never called from Go.
func textAddresses() (entry, entryIBRS, syscall, trap, fault uint64)

// fillReturns overwrites the CPU's stack of predicted return addresses.
func fillReturns()

// Model-specific registers, SDM volume 4, table 2-2.
const (
	msrAPICBase    = 0x1b
	msrSysenterCS  = 0x174
	msrPAT         = 0x277
	msrTSCDeadline = 0x6e0
	msrX2APIC      = 0x800 // the local APIC's registers in x2APIC mode
	msrEFER        = 0xc0000080
	msrStar        = 0xc0000081
	msrLStar       = 0xc0000082
	msrFMask       = 0xc0000084
	msrFSBase      = 0xc0000100
	msrGSBase      = 0xc0000101
	msrKernelGS    = 0xc0000102

	eferSCE = 1 << 0
	eferLMA = 1 << 10
	eferNXE = 1 << 11

	// patReset is the PAT after reset (SDM volume 3, table 12-12). Entry 0 is write-back,
	// entry 3 uncacheable; the page tables use no others.
	patReset = 0x0007040600070406

	apicEnable = 1 << 11
	apicX2     = 1 << 10
)

// Control-register bits, SDM volume 3, 2.5.
const (
	cr0MP = 1 << 1
	cr0EM = 1 << 2
	cr0TS = 1 << 3
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0AM = 1 << 18

	dr6BS    = 1 << 14    // single step, SDM volume 3, 17.2.3
	dr6Reset = 0xffff0ff0 // reset value: no bit set that can be

	cr4DE         = 1 << 3
	cr4MCE        = 1 << 6
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10
	cr4UMIP       = 1 << 11
	cr4FSGSBASE   = 1 << 16
	cr4PCIDE      = 1 << 17
	cr4OSXSAVE    = 1 << 18
	cr4SMEP       = 1 << 20
	cr4SMAP       = 1 << 21
)

// areaPage maps a new zeroed page at va in the entry area, whose page table is given.
func (m *Machine) areaPage(table arch.PA, va uint64, bits arch.PTE) arch.PA {
	pa := m.tables.page()
	m.tables.view(table)[arch.VA(va).Index(0)] = arch.PTE(pa) | bits
	return pa
}

// buildAreaText fills the part of the entry area that all CPUs share. It writes through the
// direct map.
func (m *Machine) buildAreaText(table arch.PA) {
	m.areaTable = table
	entry, entryIBRS, _, _, _ := textAddresses()
	if m.spec.entry {
		entry = entryIBRS
	}
	source := unsafe.Slice((*byte)(memory(uintptr(entry))), textVectors+vectors*vectorSize)
	text := m.areaPage(table, areaText, kernText)
	copy(unsafe.Slice((*byte)(memory(direct(text))), arch.PageSize), source)
	idt := m.tables.view(m.areaPage(table, areaIDT, kernRead))
	for v := range vectors {
		stub := areaText + textVectors + uint64(v)*vectorSize
		checkStub(source, v)
		lo, hi := gate(v, stub)
		idt[2*v], idt[2*v+1] = arch.PTE(lo), arch.PTE(hi)
	}
}

// buildArea fills the part of CPU n. It sets kernelFS to the value of the calling CPU; for
// other CPUs the caller changes it.
func (m *Machine) buildArea(table arch.PA, n int) {
	_, _, onSyscall, onTrap, onFault := textAddresses()
	part := areaCPU0 + uint64(n)*areaStride
	stack := func(from, to uint64) {
		for off := from; off < to; off += arch.PageSize {
			m.areaPage(table, part+off, kernData)
		}
	}
	stack(trapStack, trapStackTop)
	stack(nmiStack, nmiStackTop)
	stack(faultStack, faultStackTop)

	c := new(cpu)
	cpus[n] = c
	c.areaVA = part + cpuPage
	page := m.areaPage(table, c.areaVA, kernData)
	// Go code uses the page by its direct-map address; the assembly uses areaVA.
	c.area = (*cpuArea)(memory(direct(page)))
	c.deadline = math.MaxInt64
	a := c.area
	a.setTables(c.areaVA)
	a.self = c.areaVA
	a.kernelRoot = uint64(m.shared)
	a.kernelFS = rdmsr(msrFSBase)
	a.onTrap, a.onSyscall, a.onFault = onTrap, onSyscall, onFault
	a.toSysret, a.toIret = areaText+textSysret, areaText+textIret
	a.mxcsr = resetMXCSR
	a.fsgsbase, a.xsave = flag(m.Features.FSGSBase), flag(m.Features.XSAVE)
	a.modern = a.fsgsbase & a.xsave
	a.specCtrl = m.spec.specCtrl
	if m.spec.verw {
		a.verw, a.modern = selKernelData, 0
	}
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// checkStub panics if the assembler has not laid out the stub of vector v as buildAreaText
// assumes: it starts with PUSHQ $0 or PUSHQ $vector, with one-byte immediates.
func checkStub(text []byte, v int) {
	b := text[textVectors+v*vectorSize:][:4]
	if b[0] == 0x6a && int(b[1]) == v || b[0] == 0x6a && b[1] == 0 && b[2] == 0x6a && int(b[3]) == v {
		return
	}
	panic(fmt.Sprintf("amd64: no stub for vector %d in the entry text: % x", v, b))
}

// startCPU switches the calling CPU, whose record is c, to the kernel's own tables, and
// turns on the CPU's features that protect the kernel.
func (m *Machine) startCPU(c *cpu) {
	f := &m.Features
	efer := rdmsr(msrEFER) | eferSCE | eferNXE
	if m.spec.autoIBRS {
		efer |= eferAutoIBRS
	}
	wrmsr(msrEFER, efer)
	if m.spec.specCtrl != 0 {
		wrmsr(msrSpecCtrl, m.spec.specCtrl)
	}
	setCR0(getCR0()&^(cr0EM|cr0TS) | cr0MP | cr0NE | cr0WP | cr0AM)
	if rdmsr(msrPAT) != patReset {
		wrmsr(msrPAT, patReset)
	}
	setCR3(uint64(m.shared))

	cr4 := getCR4() | cr4DE | cr4MCE | cr4OSFXSR | cr4OSXMMEXCPT
	for _, x := range [...]struct {
		have bool
		bit  uint64
	}{
		{f.UMIP, cr4UMIP}, {f.FSGSBase, cr4FSGSBASE}, {f.XSAVE, cr4OSXSAVE},
		{f.SMEP, cr4SMEP}, {f.SMAP, cr4SMAP}, {f.PCID, cr4PCIDE},
	} {
		if x.have {
			cr4 |= x.bit
		}
	}
	setCR4(cr4)
	if f.XSAVE {
		setXCR0(f.XCR0)
	}

	loadTables(registerOperand(&c.area.gdtr), registerOperand(&c.area.idtr), selTSS, selKernelData)
	clearSegments(c.area.kernelFS)
	wrmsr(msrGSBase, 0)
	wrmsr(msrKernelGS, c.areaVA)

	// SDM volume 2, SYSCALL and SYSRET. SYSENTER gets no target, so user code that tries it
	// gets a general protection fault.
	wrmsr(msrStar, selUserBase<<48|selKernelCode<<32)
	wrmsr(msrLStar, areaText+textSyscall)
	wrmsr(msrFMask, kernelClears)
	wrmsr(msrSysenterCS, 0)

	runtime.SetCPURecord(unsafe.Pointer(c))
	g, top := runtime.FaultStack()
	c.area.faultG, c.area.faultTop = uint64(g), uint64(top)
}

// registerOperand returns where in r tableRegister put the operand.
func registerOperand(r *[2]uint64) *byte {
	return (*byte)(unsafe.Add(unsafe.Pointer(r), 6))
}
