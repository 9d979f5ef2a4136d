package kernel

import (
	"fmt"

	"grim/arch"
	"grim/boot/machine"
	"grim/mm/phys"
)

// bootMemory allocates physical memory before the frame allocator exists: for the kernel's
// page tables and for the heap. Package phys gets the rest.
type bootMemory struct {
	free   []machine.Range // ascending, whole pages
	tables uint64          // page tables must be below this address
}

// take takes size bytes (whole pages), aligned, from the highest range that has them below
// limit: low memory is for devices and loaders, which need it.
func (b *bootMemory) take(size, align, limit uint64) (arch.PA, error) {
	for i := len(b.free) - 1; i >= 0; i-- {
		r := b.free[i]
		end := min(r.End(), limit)
		if end < r.Base+size {
			continue
		}
		base := (end - size) &^ (align - 1)
		if base < r.Base || base > end {
			continue
		}
		b.remove(i, base, size)
		return arch.PA(base), nil
	}
	return 0, fmt.Errorf("no %d KB of free memory, aligned to %d KB, below %#x", size>>10, align>>10, limit)
}

// remove removes [base, base+size) from range i.
func (b *bootMemory) remove(i int, base, size uint64) {
	r := b.free[i]
	var rest []machine.Range
	if base > r.Base {
		rest = append(rest, machine.Range{Base: r.Base, Size: base - r.Base})
	}
	if end := base + size; end < r.End() {
		rest = append(rest, machine.Range{Base: end, Size: r.End() - end})
	}
	b.free = append(b.free[:i:i], append(rest, b.free[i+1:]...)...)
}

// page allocates one page for the kernel's page tables.
func (b *bootMemory) page() arch.PA {
	pa, err := b.take(arch.PageSize, arch.PageSize, b.tables)
	if err != nil {
		panic("kernel: page tables: " + err.Error())
	}
	return pa
}

// lowPage returns the highest free page below 1 MB, where the CPUs of a PC start. ok is
// false if there is none. The memory below 1 MB is not used otherwise.
func lowPage(info *machine.Info) (page arch.PA, ok bool) {
	for _, r := range info.Usable() {
		if end := min(r.End(), 1<<20); r.Base+arch.PageSize <= end {
			page, ok = arch.PA(end-arch.PageSize), true
		}
	}
	return page, ok
}

// bytes returns how much memory is left.
func (b *bootMemory) bytes() (n uint64) {
	for _, r := range b.free {
		n += r.Size
	}
	return n
}

// ranges returns the memory that is left, for package phys.
func (b *bootMemory) ranges() []phys.Range { return physRanges(b.free) }

func physRanges(rs []machine.Range) []phys.Range {
	var out []phys.Range
	for _, r := range rs {
		out = append(out, phys.Range{Start: arch.PA(r.Base), End: arch.PA(r.End())})
	}
	return out
}

// heapSize returns how much of the free memory the Go heap gets in addition to the initial
// heap: an eighth, in whole 2 MB blocks. The kernel's objects are small compared with the
// memory that they manage; the frame allocator's records are 1/256 of it.
// At least two blocks: the self-tests need 20 MB of heap.
func heapSize(free uint64) uint64 {
	const most = 1 << 30 // the window is 2 GB
	return max(min(free/8, most)&^(arch.BlockSize-1), 2*arch.BlockSize)
}
