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
	gicdIROUTER    = 0x6000 // + 8*INTID

	gicPriority = 0xa0a0a0a0 // one value for all: no preemption, interrupts are masked
)

// controller is an interrupt controller. Edge or level is left as reset and
// firmware set it: the lines used here are level-sensitive, the reset value.
type controller interface {
	init() error
	enable(intid int)
	disable(intid int)
	// acknowledge returns the next pending interrupt, firstSpecial or above if
	// there is none.
	acknowledge() int
	// done drops the priority and deactivates what acknowledge returned.
	done(intid int)
}

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

func (g *gicv2) init() error {
	n := lines(g.dist)
	g.dist.write(gicdCTLR, 0)
	quiet(g.dist, 0, n)
	// A read of the banked target register tells this CPU's own bit; 0 on a
	// machine with one CPU.
	self := g.dist.read(gicdITARGETSR)
	for i := firstSPI; i < n; i += 4 {
		g.dist.write(gicdITARGETSR+uintptr(i), self)
	}
	// Bit 0 enables group 1 where there is a secure world to own group 0, and
	// the only group where there is none.
	g.dist.write(gicdCTLR, 1)
	// Nothing of a priority as high as an active one is signalled.
	for i := range uintptr(4) {
		g.cpu.write(giccAPR+4*i, 0)
	}
	g.cpu.write(giccPMR, 0xff)
	g.cpu.write(giccBPR, 0)
	g.cpu.write(giccCTLR, 1)
	return nil
}

func (g *gicv2) enable(intid int) {
	g.dist.write(gicdISENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv2) disable(intid int) {
	g.dist.write(gicdICENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv2) acknowledge() int { return int(g.cpu.read(giccIAR) & 0x3ff) }
func (g *gicv2) done(intid int)   { g.cpu.write(giccEOIR, uint32(intid)) }
