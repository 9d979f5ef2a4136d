package arm64

// Interrupt numbers (INTIDs): 0-15 are interrupts between CPUs, 16-31 belong to one CPU
// (PPI), those from 32 on are shared (SPI), those from 1020 on are special.
const (
	firstSPI     = 32
	firstSpecial = 1020
)

// Distributor registers: IHI 0048 (GICv2) section 4.3, IHI 0069 (GICv3) section 12.9. The
// second frame of a redistributor has those of INTID 0-31 at the same offsets.
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
	gicdCPENDSGIR  = 0x0f10 // GICv2: a byte for each SGI, with a bit for each CPU that sent it
	gicdIROUTER    = 0x6000 // + 8*INTID

	gicPriority = 0xa0a0a0a0 // the same for all: no preemption, as interrupts are masked
)

// controller is an interrupt controller. The trigger mode stays as reset and firmware have
// set it: the lines used here are level-sensitive, which is the reset value.
type controller interface {
	// init sets up the controller, and the part of the boot CPU c. The boot CPU calls it.
	init(c *irqCPU) error
	enable(intid int)
	disable(intid int)
	// acknowledge returns the next pending interrupt of this CPU, or firstSpecial or above
	// if there is none, and the token for done. For an interrupt from another CPU it
	// returns fromCPU of the number.
	acknowledge() (intid int, token uint32)
	// done drops the priority and deactivates the interrupt that acknowledge returned.
	done(token uint32)

	// prepare collects the data of a CPU other than the boot CPU, before that CPU is
	// started. initCPU is init for such a CPU, which calls it; it neither allocates nor
	// stores pointers. init and initCPU enable all interrupts between CPUs.
	prepare(c *irqCPU) error
	initCPU(c *irqCPU)
	// send sends an interrupt to a CPU.
	send(c *irqCPU, sgi int)
}

// irqCPU is an interrupt controller's data of a CPU.
type irqCPU struct {
	mpidr uint64 // the CPU's affinity
	// target is the CPU's name at the controller. GICv2: a bit of target lists. GICv3: the
	// bits that select the CPU in ICC_SGI1R_EL1. The windows are used by GICv3: the frames
	// of the CPU's redistributor.
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

// fromCPU returns the number that acknowledge returns for an interrupt between CPUs. It is
// negative, because not every controller numbers these interrupts and its lines together.
func fromCPU(sgi int) int { return -1 - sgi }

// lines returns how many INTIDs a distributor has.
func lines(dist window) int {
	return min(32*(int(dist.read(gicdTYPER)&31)+1), firstSpecial)
}

// quiet disables all INTIDs in [from, to) and gives them the same priority. It also clears
// the pending and active states that firmware has left: an active interrupt is not
// signalled again, and no handler would ever end it.
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

// gicv2 is a GICv2 (IHI 0048).
type gicv2 struct{ dist, cpu window }

// CPU interface registers, IHI 0048 section 4.4.
const (
	giccCTLR = 0x00
	giccPMR  = 0x04
	giccBPR  = 0x08
	giccIAR  = 0x0c
	giccEOIR = 0x10
	giccAPR  = 0xd0 // four registers: the active priorities
)

func (g *gicv2) init(c *irqCPU) error {
	n := lines(g.dist)
	g.dist.write(gicdCTLR, 0)
	quiet(g.dist, 0, n)
	self := g.self()
	for i := firstSPI; i < n; i += 4 {
		g.dist.write(gicdITARGETSR+uintptr(i), self)
	}
	// Bit 0 enables group 1 if there is a secure world that owns group 0. Otherwise it
	// enables the only group.
	g.dist.write(gicdCTLR, 1)
	g.initInterface(c)
	return nil
}

// self returns this CPU's bit of target lists, in each of four bytes. It reads a banked
// target register. The register is 0 on a machine with one CPU.
func (g *gicv2) self() uint32 { return g.dist.read(gicdITARGETSR) }

// prepare does nothing: the banked registers of another CPU cannot be accessed.
func (g *gicv2) prepare(*irqCPU) error { return nil }

func (g *gicv2) initCPU(c *irqCPU) {
	quiet(g.dist, 0, firstSPI)
	g.initInterface(c)
}

// initInterface turns on this CPU's interface.
func (g *gicv2) initInterface(c *irqCPU) {
	c.target = max(uint64(g.self()&0xff), 1) // a single CPU reads 0, and is CPU 0
	// ICPENDR leaves them alone.
	for i := uintptr(0); i < sgis; i += 4 {
		g.dist.write(gicdCPENDSGIR+i, ^uint32(0))
	}
	g.dist.write(gicdISENABLER, 1<<sgis-1)
	// Interrupts are signalled only if no active one has the same or a higher priority.
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

// acknowledge returns the whole register as the token: for an interrupt between CPUs, done
// needs the sender too.
func (g *gicv2) acknowledge() (int, uint32) {
	v := g.cpu.read(giccIAR)
	return gicNumber(v & 0x3ff), v
}

// gicNumber converts an INTID to the number that acknowledge returns.
func gicNumber(intid uint32) int {
	if intid < sgis {
		return fromCPU(int(intid))
	}
	return int(intid)
}

func (g *gicv2) done(token uint32) { g.cpu.write(giccEOIR, token) }

func (g *gicv2) send(c *irqCPU, sgi int) { g.dist.write(gicdSGIR, sgir(c.target, sgi)) }

// sgir returns GICD_SGIR (IHI 0048, 4.3.15) for an interrupt to the CPUs of a target list.
func sgir(target uint64, sgi int) uint32 { return uint32(target)<<16 | uint32(sgi) }

// sgiTarget selects one CPU in ICC_SGI1R_EL1 (IHI 0069, 12.2.20). The higher affinities are
// given as they are. The low four bits of the lowest are a bit of a list, its other bits
// the range of the list.
func sgiTarget(mpidr uint64) uint64 {
	aff := func(n uint) uint64 { return mpidr >> n & 0xff }
	return aff(32)<<48 | aff(16)<<32 | aff(8)<<16 | aff(0)>>4<<44 | 1<<(aff(0)&15)
}
