package arm64

// Interrupt numbers (INTIDs): 0-15 are between CPUs, 16-31 are the CPU's own
// (PPI), from 32 on shared (SPI), from 1020 on special.
const (
	firstSPI     = 32
	firstSpecial = 1020
)

// Distributor registers: IHI 0048 (GICv2) section 4.3, IHI 0069 (GICv3) section
// 12.9. The redistributor's second frame has those of INTID 0-31 at the same offsets.
const (
	gicdCTLR       = 0x0000
	gicdTYPER      = 0x0004
	gicdIGROUPR    = 0x0080
	gicdISENABLER  = 0x0100
	gicdICENABLER  = 0x0180
	gicdICPENDR    = 0x0280
	gicdICACTIVER  = 0x0380
	gicdIPRIORITYR = 0x0400
	gicdITARGETSR  = 0x0800
	gicdICFGR      = 0x0c00
	gicdSGIR       = 0x0f00 // GICv2
	gicdIROUTER    = 0x6000 // + 8*INTID

	gicPriority = 0xa0a0a0a0 // one value for all: no preemption, interrupts are masked
)

// controller is an interrupt controller. Edge or level is left as reset and
// firmware set it: the lines used here are level-sensitive, the reset value.
type controller interface {
	// init sets up the controller, and the part of the boot CPU, c, which calls it.
	init(c *irqCPU) error
	enable(intid int)
	disable(intid int)
	// acknowledge returns the next pending interrupt of this CPU, firstSpecial or above if
	// there is none, and what done is to be told of it. An interrupt from another CPU is
	// fromCPU of its number.
	acknowledge() (intid int, token uint32)
	// done drops the priority and deactivates what acknowledge returned.
	done(token uint32)

	// prepare finds out what there is to know of a CPU that is not the boot CPU, before it
	// is started. initCPU is init for such a CPU, which calls it; it neither allocates nor
	// stores pointers. init and initCPU let all interrupts between CPUs through.
	prepare(c *irqCPU) error
	initCPU(c *irqCPU)
	// send sends an interrupt to a CPU.
	send(c *irqCPU, sgi int)
}

// irqCPU is what an interrupt controller has to know of a CPU.
type irqCPU struct {
	mpidr uint64 // the CPU's affinity
	// target is what the controller knows it by: GICv2, a bit in target lists; GICv3, what
	// selects it in ICC_SGI1R_EL1. The windows are GICv3's: the frames of its
	// redistributor.
	target          uint64
	redist, private window
}

// Interrupts between CPUs.
const (
	sgiWake  = iota // there is work
	sgiShoot        // leave user mode
	sgiStop         // the kernel dies
	sgis     = 16
)

// fromCPU is what acknowledge returns for an interrupt between CPUs. It is negative: not
// every controller numbers them and its lines together.
func fromCPU(sgi int) int { return -1 - sgi }

// lines is how many INTIDs a distributor has.
func lines(dist window) int {
	return min(32*(int(dist.read(gicdTYPER)&31)+1), firstSpecial)
}

// quiet disables all INTIDs in [from, to) and gives them one priority. What firmware
// left pending or active is neither afterwards: an interrupt that is active does not
// come again, and there is nobody left to end it.
func quiet(w window, from, to int) {
	for i := from; i < to; i += 32 {
		w.write(gicdICENABLER+uintptr(i/8), ^uint32(0))
		w.write(gicdICPENDR+uintptr(i/8), ^uint32(0))
		w.write(gicdICACTIVER+uintptr(i/8), ^uint32(0))
	}
	for i := from; i < to; i += 4 {
		w.write(gicdIPRIORITYR+uintptr(i), gicPriority)
	}
}

// gicv2 is IHI 0048.
type gicv2 struct{ dist, cpu window }

// CPU interface registers, IHI 0048 section 4.4.
const (
	giccCTLR = 0x00
	giccPMR  = 0x04
	giccBPR  = 0x08
	giccIAR  = 0x0c
	giccEOIR = 0x10
	giccAPR  = 0xd0 // four registers: the priorities that are active
)

func (g *gicv2) init(c *irqCPU) error {
	n := lines(g.dist)
	g.dist.write(gicdCTLR, 0)
	quiet(g.dist, 0, n)
	self := g.self()
	for i := firstSPI; i < n; i += 4 {
		g.dist.write(gicdITARGETSR+uintptr(i), self)
	}
	// Bit 0 enables group 1 where there is a secure world to own group 0, and
	// the only group where there is none.
	g.dist.write(gicdCTLR, 1)
	g.initInterface(c)
	return nil
}

// self is this CPU's bit in target lists, in each of four bytes. A read of the banked
// target register tells it; 0 on a machine with one CPU.
func (g *gicv2) self() uint32 { return g.dist.read(gicdITARGETSR) }

// prepare: the banked registers of another CPU cannot be reached.
func (g *gicv2) prepare(*irqCPU) error { return nil }

func (g *gicv2) initCPU(c *irqCPU) {
	quiet(g.dist, 0, firstSPI)
	g.initInterface(c)
}

// initInterface turns this CPU's interface on.
func (g *gicv2) initInterface(c *irqCPU) {
	c.target = max(uint64(g.self()&0xff), 1) // the only CPU is the first
	g.dist.write(gicdISENABLER, 1<<sgis-1)
	// Nothing of a priority as high as an active one is signalled.
	for i := range uintptr(4) {
		g.cpu.write(giccAPR+4*i, 0)
	}
	g.cpu.write(giccPMR, 0xff)
	g.cpu.write(giccBPR, 0)
	g.cpu.write(giccCTLR, 1)
}

func (g *gicv2) enable(intid int) {
	g.dist.write(gicdISENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv2) disable(intid int) {
	g.dist.write(gicdICENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

// acknowledge: of an interrupt between CPUs, the register has the sender too.
func (g *gicv2) acknowledge() (int, uint32) {
	v := g.cpu.read(giccIAR)
	return gicNumber(v & 0x3ff), v
}

// gicNumber is an interrupt's number as acknowledge returns it.
func gicNumber(intid uint32) int {
	if intid < sgis {
		return fromCPU(int(intid))
	}
	return int(intid)
}

func (g *gicv2) done(token uint32) { g.cpu.write(giccEOIR, token) }

func (g *gicv2) send(c *irqCPU, sgi int) { g.dist.write(gicdSGIR, sgir(c.target, sgi)) }

// sgir is GICD_SGIR (IHI 0048, 4.3.15) for one interrupt to the CPUs of a target list.
func sgir(target uint64, sgi int) uint32 { return uint32(target)<<16 | uint32(sgi) }

// sgiTarget selects one CPU in ICC_SGI1R_EL1 (IHI 0069, 12.2.20): the affinities over the
// lowest, whose low four bits are a bit in a list, and its others the list's range.
func sgiTarget(mpidr uint64) uint64 {
	aff := func(n uint) uint64 { return mpidr >> n & 0xff }
	return aff(32)<<48 | aff(16)<<32 | aff(8)<<16 | aff(0)>>4<<44 | 1<<(aff(0)&15)
}
