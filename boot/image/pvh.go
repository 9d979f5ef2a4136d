package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// The boot area is a segment of its own, below the kernel, which is linked at physical 2
// MB. The kernel may reuse all of it once it runs on its own page tables.
const (
	BootBase = 0x100000          // entry code, messages, GDT
	bootPML4 = BootBase + 0x1000 // page tables, in the order of pvhTables
	bootSize = 8 * pageSize

	// XEN_ELFNOTE_PHYS32_ENTRY of the Xen public header elfnote.h: the physical
	// address to enter in 32-bit protected mode, paging off, EBX = start info.
	notePhys32Entry = 18
)

// PVH makes the file that QEMU's -kernel boots on q35 and microvm by the PVH protocol (Xen
// docs/misc/pvh.pandoc). It has the kernel's segments at their physical addresses, which
// are the virtual ones minus KernelBase, and the boot area with the 32-bit entry and the
// first page tables.
func PVH(kernel []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return nil, err
	}
	segs, err := loads(f, elf.EM_X86_64)
	if err != nil {
		return nil, err
	}
	if pa := segs[0].Vaddr - KernelBase; pa < BootBase+bootSize {
		return nil, fmt.Errorf("kernel starts at physical %#x, inside the boot area, which ends at %#x", pa, BootBase+bootSize)
	}
	last := segs[len(segs)-1]
	if end := pageUp(last.Vaddr+last.Memsz) + HeapSize - KernelBase; end > 1<<30 {
		return nil, fmt.Errorf("kernel and first heap end at physical %#x, above 1 GB", end)
	}

	code, entry, err := pvhEntry(f.Entry)
	if err != nil {
		return nil, err
	}
	boot := make([]byte, bootSize)
	copy(boot, code)
	copy(boot[bootPML4-BootBase:], pvhTables())

	// A segment's contents have the same offset within a page in the file and in memory, so
	// that loaders can map the file.
	type seg struct {
		head elf.Prog64
		data []byte
	}
	out := []seg{{elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X),
		Vaddr: BootBase, Paddr: BootBase, Memsz: bootSize, Align: pageSize}, boot}}
	for i, p := range segs {
		data := make([]byte, p.Filesz)
		if _, err := io.ReadFull(p.Open(), data); err != nil {
			return nil, fmt.Errorf("segment at %#x: %w", p.Vaddr, err)
		}
		h := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(p.Flags), Vaddr: p.Vaddr,
			Paddr: p.Vaddr - KernelBase, Memsz: p.Memsz, Align: pageSize}
		if i == len(segs)-1 {
			h.Memsz = pageUp(p.Vaddr+p.Memsz) + HeapSize - p.Vaddr
		}
		out = append(out, seg{h, data})
	}
	out = append(out, seg{elf.Prog64{Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Align: 4}, pvhNote(entry)})

	var img bytes.Buffer
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
		Entry: uint64(entry), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(out))}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	head.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	head.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	put := func(v any) { binary.Write(&img, binary.LittleEndian, v) } // writes to memory, which cannot fail
	put(&head)
	off := pageUp(64 + 56*uint64(len(out)))
	for i := range out {
		h := &out[i].head
		off += (h.Vaddr - off) % pageSize
		h.Off, h.Filesz = off, uint64(len(out[i].data))
		if h.Memsz == 0 {
			h.Memsz = h.Filesz
		}
		put(h)
		off += h.Filesz
	}
	for _, s := range out {
		img.Write(make([]byte, s.head.Off-uint64(img.Len())))
		img.Write(s.data)
	}
	return img.Bytes(), nil
}

// pvhNote returns the note that gives a PVH loader the entry. The descriptor is 8 bytes
// wide because QEMU reads 8 bytes from a 64-bit file.
func pvhNote(entry uint32) []byte {
	var b bytes.Buffer
	for _, v := range []any{uint32(4), uint32(8), uint32(notePhys32Entry), []byte("Xen\x00"), uint64(entry)} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}

// Page-table bits, Intel SDM volume 3, 4.5.
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteLarge   = 1 << 7
)

// pvhTables returns the page tables that the entry code switches on: seven pages at
// bootPML4. They map the first 4 GB with 2 MB pages, at their physical addresses (for the
// switch itself) and in the direct map; the first 2 GB are also in the kernel window. All
// is writable and executable: the tables serve only until the kernel has built its own.
func pvhTables() []byte {
	const pages = 7
	table := func(i int) uint64 { return bootPML4 + uint64(i)*pageSize }
	const (
		pml4 = iota
		low  // page-directory-pointer table of the first 512 GB
		high // the one of the last 512 GB
		dir  // four page directories, 1 GB each
	)
	t := make([]byte, pages*pageSize)
	set := func(table, index int, v uint64) {
		binary.LittleEndian.PutUint64(t[table*pageSize+index*8:], v)
	}
	const link = ptePresent | pteWrite
	set(pml4, 0, table(low)|link)
	set(pml4, 256, table(low)|link) // 0xffff800000000000, the direct map
	set(pml4, 511, table(high)|link)
	for g := range 4 {
		set(low, g, table(dir+g)|link)
		for i := range 512 {
			set(dir+g, i, uint64(g)<<30|uint64(i)<<21|link|pteLarge)
		}
	}
	set(high, 510, table(dir)|link) // 0xffffffff80000000, the kernel window
	set(high, 511, table(dir+1)|link)
	return t
}
