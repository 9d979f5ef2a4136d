//go:build tamago && arm64

package arm64

import "fmt"

func newController(c *Config) (controller, error) {
	d := windowAt(c.Distributor)
	switch c.Controller {
	case "gicv2":
		return &gicv2{dist: d, cpu: windowAt(c.Interface)}, nil
	case "gicv3":
		return &gicv3{dist: d, distAt: c.Distributor.Base, redists: c.Redistributors}, nil
	case "bcm2836":
		return &bcm2836{banks: d, local: windowAt(c.Interface), self: func() uintptr { return uintptr(thisCPU().mpidr & 3) }}, nil
	}
	return nil, fmt.Errorf("arm64: no driver for interrupt controller %q", c.Controller)
}

// gicv3 is a GICv3 (IHI 0069): the distributor, a redistributor for each CPU, and system
// registers.
type gicv3 struct {
	dist    window
	distAt  uint64 // physical address, for messages
	redists []Span
}

// Redistributor registers, IHI 0069 section 12.10, and distributor bits.
const (
	gicrCTLR  = 0x0000
	gicrTYPER = 0x0008
	gicrWAKER = 0x0014
	gicrFrame = 0x10000 // size of a frame; there are two, or four with VLPIs

	gicrRWP       = 1 << 3 // in GICR_CTLR
	gicrLast      = 1 << 4
	gicrVLPIS     = 1 << 1
	gicrSleep     = 1 << 1 // ProcessorSleep
	gicrAsleep    = 1 << 2 // ChildrenAsleep
	gicdRWP       = 1 << 31
	gicdGroups    = 3      // EnableGrp1 of either view, EnableGrp1A or EnableGrp0
	gicdARE       = 1 << 4 // affinity routing
	gicSpins      = 1 << 20
	mpidrAffinity = 0xff_00ff_ffff
)

// defined in gic.s
func iccInit() bool // false: the CPU interface has no system registers
func iccAcknowledge() uint64
func iccDone(intid uint64)
func iccSend(v uint64) // ICC_SGI1R_EL1

func (g *gicv3) init(c *irqCPU) error {
	self := c.mpidr
	if err := g.prepare(c); err != nil {
		return err
	}
	n := lines(g.dist)
	g.dist.write(gicdCTLR, 0)
	if err := g.settled(); err != nil {
		return err
	}
	quiet(g.dist, firstSPI, n)
	if err := g.settled(); err != nil {
		return err
	}
	for i := firstSPI; i < n; i += 32 {
		g.dist.write(gicdIGROUPR+uintptr(i/8), ^uint32(0))
	}
	g.dist.write(gicdCTLR, gicdARE)
	g.dist.write(gicdCTLR, gicdARE|gicdGroups)
	if err := g.settled(); err != nil {
		return err
	}
	for i := firstSPI; i < n; i++ {
		g.dist.write(gicdIROUTER+uintptr(8*i), uint32(self))
		g.dist.write(gicdIROUTER+uintptr(8*i+4), uint32(self>>32))
	}
	if wrong := g.initThis(c); wrong != "" {
		return fmt.Errorf("arm64: GICv3 of CPU %#x: %s", self, wrong)
	}
	return nil
}

// initThis sets up this CPU's redistributor and interface. It returns a description of the
// problem, or "".
func (g *gicv3) initThis(c *irqCPU) string {
	c.redist.write(gicrWAKER, c.redist.read(gicrWAKER)&^gicrSleep)
	for i := 0; c.redist.read(gicrWAKER)&gicrAsleep != 0; i++ {
		if i == gicSpins {
			return "its redistributor does not wake up"
		}
	}
	quiet(c.private, 0, firstSPI)
	c.private.write(gicdIGROUPR, ^uint32(0))
	c.private.write(gicdISENABLER, 1<<sgis-1)
	for i := 0; c.redist.read(gicrCTLR)&gicrRWP != 0; i++ {
		if i == gicSpins {
			return "a register write of its redistributor stays pending"
		}
	}
	if !iccInit() {
		return "no system registers (ICC_SRE_EL1.SRE stays 0): firmware or hypervisor keeps them"
	}
	return ""
}

func (g *gicv3) initCPU(c *irqCPU) {
	if wrong := g.initThis(c); wrong != "" {
		panic(wrong)
	}
}

// prepare finds the CPU's redistributor.
func (g *gicv3) prepare(c *irqCPU) error {
	c.target = sgiTarget(c.mpidr)
	return g.findRedistributor(c)
}

func (g *gicv3) send(c *irqCPU, sgi int) { iccSend(c.target | uint64(sgi)<<24) }

// settled waits until a write of GICD_CTLR has taken effect.
func (g *gicv3) settled() error {
	for i := 0; g.dist.read(gicdCTLR)&gicdRWP != 0; i++ {
		if i == gicSpins {
			return fmt.Errorf("arm64: GICv3 distributor at %#x: a register write stays pending", g.distAt)
		}
	}
	return nil
}

// findRedistributor searches the frames for the redistributor with the CPU's affinity.
func (g *gicv3) findRedistributor(c *irqCPU) error {
	mpidr := c.mpidr
	self := uint32(mpidr&0xffffff | mpidr>>32<<24)
	for _, r := range g.redists {
		for at, end := r.Base, r.Base+r.Size; at+2*gicrFrame <= end; {
			w := windowAt(Span{Base: at})
			typer := w.read(gicrTYPER)
			if w.read(gicrTYPER+4) == self {
				c.redist, c.private = w, windowAt(Span{Base: at + gicrFrame})
				return nil
			}
			if typer&gicrLast != 0 {
				break
			}
			at += 2 * gicrFrame
			if typer&gicrVLPIS != 0 {
				at += 2 * gicrFrame
			}
		}
	}
	return fmt.Errorf("arm64: no GICv3 redistributor for CPU %#x in %#x", self, g.redists)
}

// frame returns the window with the enable registers of an INTID.
func (g *gicv3) frame(intid int) window {
	if intid < firstSPI {
		return thisCPU().private
	}
	return g.dist
}

func (g *gicv3) enable(intid int) {
	g.frame(intid).write(gicdISENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv3) disable(intid int) {
	g.frame(intid).write(gicdICENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv3) acknowledge() (int, uint32) {
	v := uint32(iccAcknowledge() & 0xffffff)
	return gicNumber(v), v
}

func (g *gicv3) done(token uint32) { iccDone(uint64(token)) }
