package machine

// CardSlot is a controller of SD and MMC cards: an i.MX 8M Plus uSDHC.
type CardSlot struct {
	Range
	Index int    // from 1, as in the manual
	Gate  uint64 // the register of its clock gate
}

// imxSlots has the clock gates (n of CCM_CCGRn) of the i.MX 8M Plus's three controllers. The
// tree only has the clock driver's own numbers (reference manual, 5.1.5 and 5.1.7).
var imxSlots = map[uint64]CardSlot{
	0x30b40000: {Index: 1, Gate: 81},
	0x30b50000: {Index: 2, Gate: 82},
	0x30b60000: {Index: 3, Gate: 94},
}

// imxGates returns the address of CCM_CCGR0, the first of the i.MX 8M Plus's clock gates.
func (in *Info) imxGates(root *node) (uint64, bool) {
	ccm := root.find(func(n *node) bool { return n.enabled() && n.compatible("fsl,imx8mp-ccm") })
	if ccm == nil {
		return 0, false
	}
	r, err := ccm.reg()
	if err != nil {
		in.warn("%v", err)
		return 0, false
	}
	return r.Base + 0x4000, true
}

// fdtCards finds slots for SD and MMC cards.
func (in *Info) fdtCards(root *node) error {
	gates, ok := in.imxGates(root)
	if !ok {
		return nil
	}
	root.walk(func(n *node) bool {
		if n.enabled() && n.compatible("fsl,imx8mp-usdhc") {
			if r, err := n.reg(); err == nil {
				if c, ok := imxSlots[r.Base]; ok {
					in.Cards = append(in.Cards, CardSlot{r, c.Index, gates + 16*c.Gate})
				}
			}
		}
		return true
	})
	return nil
}
