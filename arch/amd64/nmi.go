//go:build tamago && amd64

package amd64

import "sync/atomic"

// NMIs returns how many non-maskable interrupts have come in. The entry code counts them
// (genentry.go), and nothing else is done about them: the kernel has not asked for them,
// and the machine may well go on.
func (m *Machine) NMIs() (n uint64) {
	for i := range m.running {
		n += atomic.LoadUint64(&cpus[i].area.nmis)
	}
	return n
}

// reportNMIs prints how many NMIs have come in, if there are new ones. It allocates
// nothing.
func (c *cpu) reportNMIs() {
	if n := atomic.LoadUint64(&c.area.nmis); n != c.reported {
		c.reported = n
		show("NMI from the machine, for no reason known here; so far ", n)
		say("\n")
	}
}

// NMISoon makes the machine's PIT send an NMI in about a millisecond, for self-tests. It
// changes inputs 0 and 2 of the I/O APIC; the PIT is at one of them, on a PC at 2.
func (m *Machine) NMISoon() {
	const (
		redirNMI    = 4 << 8
		millisecond = 1193 // of the PIT's clock, 1.193182 MHz
	)
	m.ioapicWrite(ioapicTable, redirNMI)
	m.ioapicWrite(ioapicTable+2*2, redirNMI)
	out8(0x43, 0x30) // channel 0, both bytes, mode 0: one interrupt at the end
	out8(0x40, millisecond&0xff)
	out8(0x40, millisecond>>8)
}
