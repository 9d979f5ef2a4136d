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
		return &bcm2836{banks: d, local: windowAt(c.Interface)}, nil
	}
	return nil, fmt.Errorf("arm64: no driver for interrupt controller %q", c.Controller)
}

// gicv3 is IHI 0069: the distributor, the redistributor of this CPU, and system
// registers.
type gicv3 struct {
	dist    window
	distAt  uint64 // for messages
	redists []Span
	redist  window // this CPU's RD_base frame
	private window // and its SGI_base frame

	redistAt uint64 // for messages
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

func (g *gicv3) init() error {
	if err := g.findRedistributor(); err != nil {
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
	self := readMPIDR() & mpidrAffinity
	for i := firstSPI; i < n; i++ {
		g.dist.write(gicdIROUTER+uintptr(8*i), uint32(self))
		g.dist.write(gicdIROUTER+uintptr(8*i+4), uint32(self>>32))
	}
	g.redist.write(gicrWAKER, g.redist.read(gicrWAKER)&^gicrSleep)
	for i := 0; g.redist.read(gicrWAKER)&gicrAsleep != 0; i++ {
		if i == gicSpins {
			return fmt.Errorf("arm64: GICv3 redistributor at %#x does not wake up", g.redistAt)
		}
	}
	quiet(g.private, 0, firstSPI)
	g.private.write(gicdIGROUPR, ^uint32(0))
	for i := 0; g.redist.read(gicrCTLR)&gicrRWP != 0; i++ {
		if i == gicSpins {
			return fmt.Errorf("arm64: GICv3 redistributor at %#x: a register write stays pending", g.redistAt)
		}
	}
	if !iccInit() {
		return fmt.Errorf("arm64: GICv3 without system registers (ICC_SRE_EL1.SRE stays 0): firmware or hypervisor keeps them")
	}
	return nil
}

// settled waits for a write of GICD_CTLR to have taken effect.
func (g *gicv3) settled() error {
	for i := 0; g.dist.read(gicdCTLR)&gicdRWP != 0; i++ {
		if i == gicSpins {
			return fmt.Errorf("arm64: GICv3 distributor at %#x: a register write stays pending", g.distAt)
		}
	}
	return nil
}

// findRedistributor walks the frames to the one with this CPU's affinity.
func (g *gicv3) findRedistributor() error {
	mpidr := readMPIDR()
	self := uint32(mpidr&0xffffff | mpidr>>32<<24)
	for _, r := range g.redists {
		for at, end := r.Base, r.Base+r.Size; at+2*gicrFrame <= end; {
			w := windowAt(Span{Base: at})
			typer := w.read(gicrTYPER)
			if w.read(gicrTYPER+4) == self {
				g.redist, g.redistAt, g.private = w, at, windowAt(Span{Base: at + gicrFrame})
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

// frame is where the enable registers of an INTID are.
func (g *gicv3) frame(intid int) window {
	if intid < firstSPI {
		return g.private
	}
	return g.dist
}

func (g *gicv3) enable(intid int) {
	g.frame(intid).write(gicdISENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv3) disable(intid int) {
	g.frame(intid).write(gicdICENABLER+uintptr(intid/32*4), 1<<(intid%32))
}

func (g *gicv3) acknowledge() int { return int(iccAcknowledge() & 0xffffff) }
func (g *gicv3) done(intid int)   { iccDone(uint64(intid)) }
