package machine

// Ethernet is a network controller: an i.MX 8M Plus ENET.
type Ethernet struct {
	Range
	IRQ  int    // for frames, as the interrupt controller's driver counts
	Gate uint64 // the register of its clock gate
	// MAC is the address that the tree has for it. Zero: the tree has none.
	MAC [6]byte
	// Fuses are the registers of the fuse controller, FuseGate its clock gate, and FuseWord
	// is the number of the fuse word with the first part of the address. Size 0: the tree
	// names no fuses.
	Fuses    Range
	FuseGate uint64
	FuseWord int
}

// Numbers of clock gates (n of CCM_CCGRn; reference manual, 5.1.7).
const (
	enetGate = 10
	fuseGate = 34
)

// fdtEthernet finds the first network controller that there is a driver for (Linux binding
// fsl,fec.yaml).
func (in *Info) fdtEthernet(root *node) error {
	gates, ok := in.imxGates(root)
	if !ok {
		return nil
	}
	n := root.find(func(n *node) bool { return n.enabled() && n.compatible("fsl,imx8mp-fec") })
	if n == nil {
		return nil
	}
	r, err := n.reg()
	if err != nil {
		in.warn("%v", err)
		return nil
	}
	irq, _ := n.interrupt(0)
	if irq < 0 {
		in.warn("%s has no interrupt", n)
		return nil
	}
	in.Ethernet = Ethernet{Range: r, IRQ: irq, Gate: gates + 16*enetGate}
	e := &in.Ethernet
	for _, name := range []string{"mac-address", "local-mac-address"} {
		if b := n.prop(name); len(b) == len(e.MAC) && e.MAC == [6]byte{} {
			copy(e.MAC[:], b)
		}
	}
	in.fdtFuses(root, n)
	return nil
}

// fdtFuses finds the fuses that have the address of the network controller n: a node of 6
// bytes below the fuse controller (Linux binding imx-ocotp.yaml), whose words have 4 bytes.
func (in *Info) fdtFuses(root, n *node) {
	cell := root.phandle(n.u32("nvmem-cells", 0))
	fuses := root.find(func(f *node) bool { return f.enabled() && f.compatible("fsl,imx8mp-ocotp") })
	if cell == nil || fuses == nil {
		return
	}
	reg := cell.prop("reg")
	if len(reg) != 8 || be.Uint32(reg)%4 != 0 || be.Uint32(reg) >= maxFuses || be.Uint32(reg[4:]) != 6 {
		return
	}
	r, err := fuses.reg()
	if err != nil || r.Size < 0x400+4*maxFuses {
		return
	}
	in.Ethernet.Fuses = r
	in.Ethernet.FuseGate = in.Ethernet.Gate + 16*(fuseGate-enetGate)
	in.Ethernet.FuseWord = int(be.Uint32(reg) / 4)
}

// maxFuses is the number of fuse bytes of an i.MX 8M Plus; each word of them is in a
// register 16 bytes apart from the next.
const maxFuses = 0x600
