package amd64

import (
	"fmt"

	"grim/arch"
)

// Bits that only kernel mappings use (Intel SDM volume 3A, table 5-20 and 5.9.2). PWT and
// PCD together select PAT entry 3, which is "uncacheable" after reset. No kernel mapping is
// global, because its TLB entries must not survive the switch to a user root of the
// separate layout.
const (
	ptePWT arch.PTE = 1 << 3
	ptePCD arch.PTE = 1 << 4

	kernTable  = pteP | pteRW | pteA
	kernData   = pteP | pteRW | pteA | pteD | pteNX
	kernRead   = pteP | pteA | pteNX
	kernText   = pteP | pteA
	kernDevice = kernData | ptePWT | ptePCD
)

// tablePage is one page of entries.
type tablePage = [arch.Entries]arch.PTE

// tables builds kernel page tables over memory that view makes reachable.
type tables struct {
	alloc func() arch.PA              // allocates a frame, which may hold anything
	view  func(pa arch.PA) *tablePage // the address at which a frame can be written
	huge  bool                        // 1 GB leaves may be used
}

// page returns a zeroed table page.
func (t *tables) page() arch.PA {
	pa := t.alloc()
	*t.view(pa) = tablePage{}
	return pa
}

// table returns the table that entry i of parent points to. It makes the table if there is
// none.
func (t *tables) table(parent arch.PA, i int) arch.PA {
	e := &t.view(parent)[i]
	switch {
	case *e == 0:
		*e = arch.PTE(t.page()) | kernTable
	case *e&ptePS != 0:
		panic(fmt.Sprintf("amd64: entry %d of table %#x is a leaf, %#x", i, parent, *e))
	}
	return arch.PA(*e & pteAdr)
}

// enter maps [va, va+size) to pa, with the largest leaves that alignment allows. It panics
// if a part is mapped already to something else.
func (t *tables) enter(root arch.PA, va arch.VA, pa arch.PA, size uint64, bits arch.PTE) {
	if (uint64(va)|uint64(pa)|size)&(arch.PageSize-1) != 0 {
		panic(fmt.Sprintf("amd64: mapping of %#x at %#x, %#x bytes, is not in whole pages", pa, va, size))
	}
	for size > 0 {
		level := 0
		for level < 2 {
			next := uint64(1) << (arch.PageShift + 9*(level+1))
			if (level+1 == 2 && !t.huge) || uint64(va)%next != 0 || uint64(pa)%next != 0 || size < next {
				break
			}
			level++
		}
		t.leaf(root, va, pa, level, bits)
		n := uint64(1) << (arch.PageShift + 9*level)
		va += arch.VA(n)
		pa += arch.PA(n)
		size -= n
	}
}

func (t *tables) leaf(root arch.PA, va arch.VA, pa arch.PA, level int, bits arch.PTE) {
	at := root
	for l := arch.Levels - 1; l > level; l-- {
		at = t.table(at, va.Index(l))
	}
	e := arch.PTE(pa) | bits
	if level > 0 {
		e |= ptePS
	}
	p := &t.view(at)[va.Index(level)]
	if *p != 0 && *p != e {
		panic(fmt.Sprintf("amd64: %#x is mapped by %#x, now %#x", va, *p, e))
	}
	*p = e
}

// Span is a range of physical memory.
type Span struct{ Base, Size uint64 }

// Image says where the kernel lies in its window. The physical address is the virtual
// address minus arch.KernelBase. All bounds but EText are multiples of the page size; EText
// is rounded up.
type Image struct {
	Text, EText     uint64
	Rodata, ERodata uint64
	Data, End       uint64            // End is the end of the first heap
	Guards          []arch.StackGuard // between Data and End, in order of address: not mapped
}

// kernelRoots builds the two root pages of the contract's KernelHalf. Both lead to the
// entry area; only the shared one leads to the rest. area is the page table of the last 2
// MB, which the caller fills.
func (t *tables) kernelRoots(ram, devices []Span, im Image) (shared, separate, area arch.PA) {
	shared, separate, area = t.page(), t.page(), t.page()

	pageUp := func(a uint64) uint64 { return (a + arch.PageSize - 1) &^ (arch.PageSize - 1) }
	fixed, endFixed := im.Text-uint64(arch.KernelBase), pageUp(im.ERodata)-uint64(arch.KernelBase)
	direct := func(from, to uint64, bits arch.PTE) {
		if from < to {
			t.enter(shared, arch.DirectBase+arch.VA(from), arch.PA(from), to-from, bits)
		}
	}
	for _, s := range ram {
		base := (s.Base + arch.PageSize - 1) &^ (arch.PageSize - 1)
		end := (s.Base + s.Size) &^ (arch.PageSize - 1)
		// The direct map covers the image's text and constants too, but read-only and not
		// executable: no text may be writable at another address.
		from, to := min(max(fixed, base), end), min(max(endFixed, base), end)
		direct(base, from, kernData)
		direct(from, to, kernRead)
		direct(to, end, kernData)
	}
	for _, s := range devices {
		base := s.Base &^ (arch.PageSize - 1)
		end := (s.Base + s.Size + arch.PageSize - 1) &^ (arch.PageSize - 1)
		t.enter(shared, arch.DirectBase+arch.VA(base), arch.PA(base), end-base, kernDevice)
	}

	window := func(from, to uint64, bits arch.PTE) {
		if to = pageUp(to); from < to {
			t.enter(shared, arch.VA(from), arch.PA(from-uint64(arch.KernelBase)), to-from, bits)
		}
	}
	window(im.Text, im.EText, kernText)
	window(im.Rodata, im.ERodata, kernRead)
	arch.AroundGuards(im.Guards, arch.VA(im.Data), arch.VA(pageUp(im.End)), func(from, to arch.VA) error {
		window(uint64(from), uint64(to), kernData)
		return nil
	})

	for _, root := range []arch.PA{shared, separate} {
		at := root
		va := arch.VA(areaBase)
		for l := arch.Levels - 1; l > 1; l-- {
			at = t.table(at, va.Index(l))
		}
		t.view(at)[va.Index(1)] = arch.PTE(area) | kernTable
	}
	// Root entries are copied into every process root, so they must not change later. The
	// table for devices anywhere in the first 512 GB is therefore made now.
	t.table(shared, arch.DirectBase.Index(arch.Levels-1))
	return shared, separate, area
}
