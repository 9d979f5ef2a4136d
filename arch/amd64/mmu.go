//go:build tamago && amd64

package amd64

import "grim/arch"

// CR3 (SDM volume 3, 2.5 and 4.10.4.1) holds the root's address, and the PCID in the low 12
// bits. Bit 63 of a value written means "keep the entries of that PCID". The bare kernel
// root has PCID 0, and so have roots with ASID 0. So the entries of PCID 0 are kept only on
// the way from and to a root that has a PCID of its own.
const (
	cr3KeepTLB = 1 << 63
	maxPCID    = 4095
)

// INVPCID types, SDM volume 2, INVPCID.
const (
	invAddress = 0
	invContext = 1
	invAll     = 2
)

func (m *Machine) cr3(r arch.Root) uint64 {
	v := uint64(r.Table)
	if m.Features.PCID && r.ASID != 0 {
		v |= uint64(r.ASID) | cr3KeepTLB
	}
	return v
}

// KernelHalf implements arch.MMU.
func (m *Machine) KernelHalf(l arch.Layout) arch.PA {
	if l == arch.Separate {
		return m.separate
	}
	return m.shared
}

// Activate implements arch.MMU. If the root is active already nothing is done: the TLB can
// hold nothing of it that package pmap has not flushed.
//
// In the separate layout CR3 stays at the bare kernel root; the entry area loads the user
// root on the way to user mode.
func (m *Machine) Activate(r arch.Root) {
	c := thisCPU()
	if r == c.active {
		return
	}
	a := c.area
	if r.Layout == arch.Separate {
		if a.kernelCR3 == 0 { // CR3 is, or may be, a process's root
			setCR3(uint64(m.shared))
		}
		a.kernelCR3, a.userCR3 = uint64(m.shared), m.cr3(r)
		a.kernelCR3 |= a.userCR3 & cr3KeepTLB
	} else {
		a.kernelCR3, a.userCR3 = 0, 0
		setCR3(m.cr3(r))
	}
	c.active = r
}

// Deactivate implements arch.MMU.
func (m *Machine) Deactivate() {
	c := thisCPU()
	setCR3(uint64(m.shared))
	c.area.kernelCR3, c.area.userCR3 = 0, 0
	c.active = arch.Root{}
}

// ASIDs implements arch.MMU.
func (m *Machine) ASIDs() int {
	if m.Features.PCID {
		return maxPCID
	}
	return 0
}

// FlushPage implements arch.MMU. Without PCIDs the TLB holds entries of the root in CR3
// only, because each load of CR3 drops the others, and the kernel has no global entries. In
// the separate layout that root is the kernel's now, so there is nothing to flush.
func (m *Machine) FlushPage(r arch.Root, va arch.VA) {
	switch {
	case m.Features.PCID && r.ASID != 0:
		invpcid(invAddress, uint64(r.ASID), uint64(va))
	case r.Layout == arch.SharedUK && r == thisCPU().active:
		invlpg(uint64(va))
	}
}

// FlushASID implements arch.MMU. With ASID 0, the entries of a shared root are dropped by
// loading CR3 again; those of a separate root were dropped when CR3 was last loaded.
func (m *Machine) FlushASID(r arch.Root) {
	switch {
	case m.Features.PCID && r.ASID != 0:
		invpcid(invContext, uint64(r.ASID), 0)
	case thisCPU().area.kernelCR3 == 0:
		setCR3(getCR3())
	}
}

// FlushAll implements arch.MMU.
func (m *Machine) FlushAll() {
	if m.Features.PCID {
		invpcid(invAll, 0, 0)
		return
	}
	setCR3(getCR3())
}

// SyncInstructions implements arch.MMU. There is nothing to do: instruction fetch sees the
// stores of all CPUs (SDM volume 3, 8.1.3 and 11.6). No CPU can have fetched these bytes
// before through their user address, because it did not translate to them.
func (m *Machine) SyncInstructions(arch.PA, int) {}

// LoadedRoots returns two root pages: that in CR3, and that which the return to user mode
// will load there, 0 if none. For self-tests.
func (m *Machine) LoadedRoots() [2]arch.PA {
	return [2]arch.PA{arch.PA(getCR3()) & arch.PA(pteAdr), arch.PA(thisCPU().area.userCR3) & arch.PA(pteAdr)}
}
