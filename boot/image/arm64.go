package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// The header of a Linux arm64 Image (kernel documentation,
// "Booting AArch64 Linux", section 4, "Call the kernel image"); little endian.
const (
	arm64HeaderSize = 64
	arm64OffCode0   = 0  // executed first; without effect
	arm64OffCode1   = 4  // executed next: a branch to the entry
	arm64OffSize    = 16 // image_size: memory that must be free, from the image's start
	arm64OffFlags   = 24
	arm64OffMagic   = 56
	arm64Magic      = 0x644d5241 // "ARM\x64"
	arm64MZ         = 0xfa405a4d // ccmp x18, #0, #13, pl: an instruction that spells "MZ"

	arm64FlagPage4K   = 1 << 1 // bits 1-2: page size
	arm64FlagAnywhere = 1 << 3 // the 2 MB aligned base may be anywhere in RAM

	arm64Align = 2 << 20 // alignment of the load address minus text_offset

	// arm64Window is how much of the kernel's window the first page tables map
	// (boot/overlay/runtime/rt0_grim_arm64.s): one table of 2 MB blocks.
	arm64Window = 1 << 30
)

// ARM64 makes a Linux arm64 Image of the linked kernel, as QEMU, U-Boot's booti and other
// loaders start it. It is an EFI application too. The memory that the header claims goes on
// for HeapSize bytes after the kernel's BSS, so that loaders keep the initramfs and the
// device tree off the first Go heap.
//
// One page before the kernel's text holds the headers. Its link address and its load
// address are 2 MB boundaries, with text_offset 0, because some boards' firmware loads
// there without reading the header. So the distance between link and load address is a
// multiple of 2 MB, and the entry code can map the kernel with blocks.
func ARM64(kernel []byte) ([]byte, error) {
	f, err := ARM64ELF(kernel)
	if err != nil {
		return nil, err
	}
	if f.Machine != elf.EM_AARCH64 || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("want a 64-bit little-endian arm64 executable, have %v %v %v %v", f.Machine, f.Class, f.Data, f.Type)
	}
	start, fileEnd, memEnd, err := extent(f)
	if err != nil {
		return nil, err
	}
	if start%pageSize != 0 {
		return nil, fmt.Errorf("text starts at %#x, want a multiple of 4096: check -T", start)
	}
	base := start - pageSize
	if base%arm64Align != 0 {
		return nil, fmt.Errorf("text starts at %#x, want one page above a multiple of 2 MB: check -T and -R", start)
	}
	size := pageUp(memEnd - base + HeapSize)
	if window := base &^ (arm64Window - 1); base+size-window > arm64Window {
		return nil, fmt.Errorf("kernel and %d bytes of heap need %d bytes from %#x, the first page tables map %d from %#x",
			HeapSize, size, base, arm64Window, window)
	}
	if f.Entry < start || f.Entry >= fileEnd || f.Entry%4 != 0 {
		return nil, fmt.Errorf("entry point %#x is outside the kernel (%#x-%#x)", f.Entry, start, fileEnd)
	}
	branch, err := arm64Branch(base+arm64OffCode1, f.Entry)
	if err != nil {
		return nil, err
	}

	img := make([]byte, pageUp(fileEnd-base))
	le := binary.LittleEndian
	le.PutUint32(img[arm64OffCode0:], arm64MZ)
	le.PutUint32(img[arm64OffCode1:], branch)
	le.PutUint64(img[arm64OffSize:], size)
	le.PutUint64(img[arm64OffFlags:], arm64FlagPage4K|arm64FlagAnywhere)
	le.PutUint32(img[arm64OffMagic:], arm64Magic)
	for _, s := range f.Sections {
		if !loaded(s) || s.Type == elf.SHT_NOBITS {
			continue
		}
		if _, err := s.ReadAt(img[s.Addr-base:s.Addr-base+s.Size], 0); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	return img, efiHeaders(img, f, base)
}

// ARM64ELF parses only the kernel's sections. The Go linker rounds arm64 segments to 64 KB,
// so that with -T the file offset of the text segment is negative, which debug/elf does not
// accept.
func ARM64ELF(kernel []byte) (*elf.File, error) {
	const phnum = 56 // offset of e_phnum in an ELF64 header
	if len(kernel) < 64 {
		return nil, fmt.Errorf("%d bytes are not an ELF file", len(kernel))
	}
	k := bytes.Clone(kernel)
	k[phnum], k[phnum+1] = 0, 0
	return elf.NewFile(bytes.NewReader(k))
}

// extent returns the address range of the loaded sections. Those with contents end at
// fileEnd, with BSS they end at memEnd.
func extent(f *elf.File) (start, fileEnd, memEnd uint64, err error) {
	text := f.Section(".text")
	if text == nil {
		return 0, 0, 0, errors.New("kernel has no .text section")
	}
	start = text.Addr
	for _, s := range f.Sections {
		if !loaded(s) {
			continue
		}
		end := s.Addr + s.Size
		if s.Addr < start || end < s.Addr {
			return 0, 0, 0, fmt.Errorf("section %s (%#x-%#x) lies before .text or wraps", s.Name, s.Addr, end)
		}
		memEnd = max(memEnd, end)
		if s.Type != elf.SHT_NOBITS {
			fileEnd = max(fileEnd, end)
		}
	}
	return start, fileEnd, memEnd, nil
}

// loaded reports whether the kernel reads a section at run time. It does not read the
// notes, which the Go linker puts before the text, and sections that only reserve TLS.
func loaded(s *elf.Section) bool {
	return s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_TLS == 0 && s.Type != elf.SHT_NOTE && s.Size != 0
}

// arm64Branch encodes "B to" at address from (Arm ARM C6.2.26): a signed 26-bit
// word offset.
func arm64Branch(from, to uint64) (uint32, error) {
	off := int64(to-from) / 4
	if off < -1<<25 || off >= 1<<25 {
		return 0, fmt.Errorf("entry %#x is more than 128 MB from the header at %#x", to, from)
	}
	return 0x14000000 | uint32(off)&(1<<26-1), nil
}
