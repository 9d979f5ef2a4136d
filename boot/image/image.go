// Package image turns the linked kernel ELF into the file that each machine boots. For
// amd64 that is an ELF file with physical load addresses, a PVH note and a 32-bit entry.
// For arm64 it is a Linux Image.
//
// It runs on the host, as part of the build. All that it knows of the kernel is in the
// kernel's ELF file.
package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

const (
	// KernelBase is the lowest address of the kernel window (DESIGN.md section 2).
	KernelBase = 0xffffffff80000000
	// HeapSize is how much memory after the kernel's BSS an image reserves for the first Go
	// heap. It is part of the image's memory size, so that loaders put initramfs and boot
	// information elsewhere.
	HeapSize = 16 << 20
	// MostMemory is how much memory text and data of Grim itself may take. All of it is
	// missing from every machine: a library once brought 32 MB of it, unnoticed. A kernel of
	// one's own may have another limit (mkimage's flag -most).
	MostMemory = 12 << 20
	// pageSize is the granule of both architectures.
	pageSize = 4096
)

// loads returns the loadable segments of a linked kernel in address order. It checks what
// every image relies on: the machine, and that all segments lie in the kernel window.
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

// CheckMemory refuses a kernel whose text and data take more than most bytes.
func CheckMemory(kernel []byte, most uint64) error {
	f, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return err
	}
	segs, err := loads(f, f.Machine)
	if err != nil {
		return err
	}
	first, last := segs[0], segs[len(segs)-1]
	if n := last.Vaddr + last.Memsz - first.Vaddr; n > most {
		return fmt.Errorf("the kernel takes %d KB of memory, more than %d MB: %s", n>>10, most>>20, largest(f))
	}
	return nil
}

// largest names the three largest symbols of a kernel.
func largest(f *elf.File) string {
	syms, err := f.Symbols()
	if err != nil {
		return err.Error()
	}
	slices.SortStableFunc(syms, func(a, b elf.Symbol) int { return cmp.Compare(b.Size, a.Size) })
	var words []string
	for _, s := range syms[:min(len(syms), 3)] {
		words = append(words, fmt.Sprintf("%s takes %d KB", s.Name, s.Size>>10))
	}
	return strings.Join(words, ", ")
}

func pageUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }
