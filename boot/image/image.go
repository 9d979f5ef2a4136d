// Package image turns the linked kernel ELF into the file each machine boots:
// for amd64 an ELF file with physical load addresses, a PVH note and a 32-bit
// entry; for arm64 a Linux Image.
//
// It runs on the host, as part of the build, and knows the kernel only by its
// ELF program headers.
package image

import (
	"debug/elf"
	"fmt"
)

const (
	// KernelBase is the lowest address of the kernel window (DESIGN.md section 2).
	KernelBase = 0xffffffff80000000
	// HeapSize is how much memory behind the kernel's BSS an image reserves for
	// the first Go heap. It is part of the image's memory size, so that whoever
	// loads the image puts initramfs and boot information elsewhere.
	HeapSize = 16 << 20
	// pageSize is the granule of both architectures.
	pageSize = 4096
)

// loads returns the loadable segments of a linked kernel in address order and
// checks what every image relies on: the machine, and that all of it lies in
// the kernel window.
func loads(f *elf.File, machine elf.Machine) ([]*elf.Prog, error) {
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("want a 64-bit little-endian executable, have %v %v %v", f.Class, f.Data, f.Type)
	}
	if f.Machine != machine {
		return nil, fmt.Errorf("want a kernel for %v, have one for %v", machine, f.Machine)
	}
	var segs []*elf.Prog
	entry := false
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Memsz == 0 {
			continue
		}
		if p.Vaddr < KernelBase || p.Vaddr+p.Memsz < p.Vaddr {
			return nil, fmt.Errorf("segment at %#x is outside of the kernel window at %#x; link with -T", p.Vaddr, uint64(KernelBase))
		}
		if p.Filesz > p.Memsz {
			return nil, fmt.Errorf("segment at %#x has %d bytes in the file but %d in memory", p.Vaddr, p.Filesz, p.Memsz)
		}
		if n := len(segs); n > 0 && p.Vaddr < segs[n-1].Vaddr+segs[n-1].Memsz {
			return nil, fmt.Errorf("segment at %#x overlaps the one at %#x or is out of order", p.Vaddr, segs[n-1].Vaddr)
		}
		if f.Entry-p.Vaddr < p.Filesz && p.Flags&elf.PF_X != 0 {
			entry = true
		}
		segs = append(segs, p)
	}
	if len(segs) == 0 {
		return nil, fmt.Errorf("no loadable segment")
	}
	if !entry {
		return nil, fmt.Errorf("entry %#x is not in an executable segment", f.Entry)
	}
	return segs, nil
}

func pageUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }
