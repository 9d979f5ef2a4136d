//go:build tamago && amd64

package amd64

import "sync/atomic"

// NMIs is how many non-maskable interrupts have come in. The entry code counts
// them (genentry.go), and nothing else is done about them: this kernel asks for
// none, and the machine that sent one may well go on.
func (m *Machine) NMIs() (n uint64) {
	for i := range m.running {
		n += atomic.LoadUint64(&cpus[i].area.nmis)
	}
	return n
}

// reportNMIs prints what has come in since the last call. It allocates nothing.
func (c *cpu) reportNMIs() {
	if n := atomic.LoadUint64(&c.area.nmis); n != c.reported {
		c.reported = n
		show("NMI from the machine, for no reason known here; so far ", n)
		say("\n")
	}
}

// NMISoon has the machine's PIT send one in about a millisecond, for self-tests.
// It changes the two inputs of the I/O APIC that the PIT may have: 2 on a PC.
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
