package arm64

import (
	"cmp"
	"fmt"
	"slices"

	"grim/arch"
)

// Leaves of the kernel half are global: they are the same in every address space, so they
// are not tagged with an ASID. They all have UXN: EL0 never executes them.
const (
	kernelLeaf = pteValid | pteAF | pteUXN

	kernelText   = kernelLeaf | AttrNormal<<2 | pteInner | pteRO
	kernelRodata = kernelLeaf | AttrNormal<<2 | pteInner | pteRO | ptePXN
	kernelData   = kernelLeaf | AttrNormal<<2 | pteInner | ptePXN
	kernelDevice = kernelLeaf | AttrDevice<<2 | ptePXN
	// kernelScreen is for a framebuffer: stores may be merged, and need no alignment.
	kernelScreen = kernelLeaf | AttrUncached<<2 | pteInner | ptePXN
	kernelTable  = pteValid | pteTable
)

// kernelTables builds the kernel half. It uses physical addresses, and accesses memory
// through two functions, so that it runs on the host too.
type kernelTables struct {
	root  arch.PA
	alloc func() (arch.PA, error)               // returns a zeroed page
	at    func(arch.PA) *[arch.Entries]arch.PTE // returns the contents of a page
}

// mapRange maps [va, va+n) to the memory from pa on, with leaf bits as above, using the
// largest leaves that fit. va, pa and n are multiples of a page. It is an error if a part
// is mapped already: entries of the kernel half are never changed, so nothing has to be
// flushed.
func (t *kernelTables) mapRange(va arch.VA, pa arch.PA, n uint64, leaf arch.PTE) error {
	if uint64(va)%arch.PageSize != 0 || uint64(pa)%arch.PageSize != 0 || n%arch.PageSize != 0 {
		return fmt.Errorf("arm64: mapping of %#x at %#x, %#x bytes, is not on page boundaries", uint64(pa), uint64(va), n)
	}
	if uint64(pa)+n > 1<<47 || uint64(pa)+n < uint64(pa) {
		return fmt.Errorf("arm64: physical range %#x+%#x is beyond the direct map of 47 bits", uint64(pa), n)
	}
	for n > 0 {
		level := leafLevel(va, pa, n)
		e, err := t.entry(va, level)
		if err != nil {
			return err
		}
		if *e&pteValid != 0 {
			return fmt.Errorf("arm64: %#x is mapped twice (entry %#x, now for %#x)", uint64(va), uint64(*e), uint64(pa))
		}
		bits := leaf
		if level == 0 {
			bits |= pteTable // the descriptor of a page has bit 1 set, that of a block has not
		}
		e.Publish(arch.PTE(pa) | bits)
		size := levelSize(level)
		va, pa, n = va+arch.VA(size), pa+arch.PA(size), n-size
	}
	return nil
}

// has reports whether one entry with the bits of leaf already maps [va, va+n) to pa on.
func (t *kernelTables) has(va arch.VA, pa arch.PA, n uint64, leaf arch.PTE) bool {
	table := t.at(t.root)
	for level := arch.Levels - 1; ; level-- {
		e := table[va.Index(level)]
		if e&pteValid == 0 {
			return false
		}
		if level > 0 && e&pteTable != 0 {
			table = t.at(arch.PA(e & pteAdr))
			continue
		}
		if level > 0 {
			leaf &^= pteTable
		} else {
			leaf |= pteTable
		}
		off := uint64(va) & (levelSize(level) - 1)
		return e == arch.PTE(uint64(pa)-off)|leaf && off+n <= levelSize(level)
	}
}

// replaceSize is a bound on the size of the code that replaces the kernel half.
const replaceSize = 64

// identityMap makes a user half that maps the pages of [pa, pa+n) at their physical
// addresses, for kernel code to run in. It returns the root.
func identityMap(alloc func() (arch.PA, error), at func(arch.PA) *[arch.Entries]arch.PTE, pa arch.PA, n uint64) (arch.PA, error) {
	root, err := alloc()
	if err != nil {
		return 0, err
	}
	t := &kernelTables{root: root, alloc: alloc, at: at}
	from, to := arch.VA(pa).PageDown(), (arch.VA(pa) + arch.VA(n)).PageUp()
	return root, t.mapRange(from, arch.PA(from), uint64(to-from), kernelText|pteNG)
}

func levelSize(level int) uint64 { return 1 << (arch.PageShift + 9*uint(level)) }

// leafLevel returns the highest level, at most 2 (1 GB), whose leaf fits.
func leafLevel(va arch.VA, pa arch.PA, n uint64) int {
	for level := 2; level > 0; level-- {
		if size := levelSize(level); (uint64(va)|uint64(pa))%size == 0 && n >= size {
			return level
		}
	}
	return 0
}

// entry returns va's entry at a level. It makes the tables above it.
func (t *kernelTables) entry(va arch.VA, level int) (*arch.PTE, error) {
	table := t.at(t.root)
	for l := arch.Levels - 1; l > level; l-- {
		e := &table[va.Index(l)]
		if *e&pteValid == 0 {
			pa, err := t.alloc()
			if err != nil {
				return nil, err
			}
			e.Publish(arch.PTE(pa) | kernelTable)
		} else if *e&pteTable == 0 {
			return nil, fmt.Errorf("arm64: %#x is mapped twice: inside the block %#x", uint64(va), uint64(*e))
		}
		table = t.at(arch.PA(*e & pteAdr))
	}
	return &table[va.Index(level)], nil
}

// pages rounds spans to whole pages and merges those that touch. The result is in the order
// of addresses, without empty spans.
func pages(spans []Span) []Span {
	var out []Span
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.Base, b.Base) })
	for _, s := range spans {
		if s.Size == 0 {
			continue
		}
		base := s.Base &^ (arch.PageSize - 1)
		end := (s.Base + s.Size + arch.PageSize - 1) &^ (arch.PageSize - 1)
		if n := len(out); n > 0 && base <= out[n-1].Base+out[n-1].Size {
			out[n-1].Size = max(out[n-1].Base+out[n-1].Size, end) - out[n-1].Base
			continue
		}
		out = append(out, Span{base, end - base})
	}
	return out
}
