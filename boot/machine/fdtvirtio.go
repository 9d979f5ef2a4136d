package machine

// MMIODevice is a device with registers in memory and an interrupt line. IRQ is the number
// that the interrupt controller's driver uses.
type MMIODevice struct {
	Range
	IRQ int
}

// fdtVirtIO finds the places for virtio devices (Linux binding virtio,mmio). The registers
// of a place tell whether a device is there, and which. A place that makes no sense is left
// out.
func (in *Info) fdtVirtIO(root *node) error {
	root.walk(func(n *node) bool {
		if !n.enabled() || !n.compatible("virtio,mmio") {
			return true
		}
		r, err := n.reg()
		if err != nil {
			in.warn("%v", err)
			return true
		}
		if irq, _ := n.interrupt(0); irq >= 0 {
			in.VirtIO = append(in.VirtIO, MMIODevice{r, irq})
		}
		return true
	})
	return nil
}
