package machine

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The PVH start info: Xen's public header arch-x86/hvm/start_info.h.
const (
	pvhMagic      = 0x336ec578
	pvhSize0      = 40 // version 0
	pvhSize1      = 56 // version 1: memory map
	pvhModuleSize = 32
	pvhMemSize    = 24

	pvhMaxModules = 64
	pvhMaxMem     = 1024
	maxCommand    = 4096

	pvhRAM = 1 // memory types are those of E820
)

var le = binary.LittleEndian

// COM1 of a PC, and the addresses of a PC's interrupt controllers if no table gives others
// (Intel 64 manual vol. 3, 11.4.1 and ICH9 datasheet, 13.5). microvm without ACPI is such a
// machine.
const (
	com1Port      = 0x3f8
	com1IRQ       = 4
	com1Hz        = 1_843_200
	defaultLAPIC  = 0xfee00000
	defaultIOAPIC = 0xfec00000
	ioapicWindow  = 4096
)

// FromPVH reads the start info at pa and what it points to.
func FromPVH(read Reader, pa uint64) (*Info, error) {
	in, err := fromPVH(read, pa)
	if err != nil {
		return nil, fmt.Errorf("PVH start info at %#x: %w", pa, err)
	}
	return in, nil
}

func fromPVH(read Reader, pa uint64) (*Info, error) {
	h := read(pa, pvhSize0)
	if len(h) != pvhSize0 {
		return nil, fmt.Errorf("not readable")
	}
	if m := le.Uint32(h); m != pvhMagic {
		return nil, fmt.Errorf("magic %#x, want %#x", m, uint32(pvhMagic))
	}
	if v := le.Uint32(h[4:]); v < 1 {
		return nil, fmt.Errorf("version %d has no memory map, want 1 or above", v)
	}
	h = read(pa, pvhSize1)
	if len(h) != pvhSize1 {
		return nil, fmt.Errorf("not readable to its end")
	}
	h = bytes.Clone(h)

	// The first page holds the real-mode vectors and BIOS data, which
	// firmware may still use.
	in := &Info{Model: "PC (PVH)", Reserved: []Range{{0, pageSize}}}
	if err := in.pvhMemory(read, le.Uint64(h[40:]), le.Uint32(h[48:])); err != nil {
		return nil, err
	}
	if err := in.pvhModules(read, le.Uint64(h[16:]), le.Uint32(h[12:])); err != nil {
		return nil, err
	}
	// Newer firmware of QEMU's microvm machine leaves the last page out of the memory map,
	// and QEMU loads the initramfs over it. Where the loader could store the initramfs
	// there is memory, so it is added to Memory; Reserved has it too, and it is freed after
	// it was read.
	if in.Memory != nil {
		in.Memory = append(in.Memory, normalize([]Range{in.Initrd}, true)...)
	}
	if at := le.Uint64(h[24:]); at != 0 {
		s, err := cString(read, at, maxCommand)
		if err != nil {
			return nil, fmt.Errorf("cmdline_paddr: %w", err)
		}
		in.CommandLine = s
	}
	in.pcDefaults()
	if in.RSDP = le.Uint64(h[32:]); in.RSDP != 0 {
		if err := in.acpi(read, in.RSDP); err != nil {
			return nil, err
		}
	}
	in.Console.IRQ = int(in.Interrupts.ISA[com1IRQ].GSI)
	return in, in.finish()
}

func (in *Info) pvhMemory(read Reader, at uint64, n uint32) error {
	if n == 0 || n > pvhMaxMem {
		return fmt.Errorf("memmap_entries is %d, want 1 to %d", n, pvhMaxMem)
	}
	t := read(at, int(n)*pvhMemSize)
	if len(t) != int(n)*pvhMemSize {
		return fmt.Errorf("memmap_paddr %#x: %d entries are not readable", at, n)
	}
	for i := range int(n) {
		e := t[i*pvhMemSize:]
		r, err := newRange(fmt.Sprintf("memory map entry %d", i), le.Uint64(e), le.Uint64(e[8:]))
		if err != nil {
			return err
		}
		if le.Uint32(e[16:]) == pvhRAM {
			in.Memory = append(in.Memory, r)
		} else {
			in.Reserved = append(in.Reserved, r)
		}
	}
	return nil
}

// pvhModules takes the first module as the initramfs. Other modules are only protected from
// being overwritten.
func (in *Info) pvhModules(read Reader, at uint64, n uint32) error {
	if n == 0 {
		return nil
	}
	if n > pvhMaxModules {
		return fmt.Errorf("nr_modules is %d, want at most %d", n, pvhMaxModules)
	}
	t := read(at, int(n)*pvhModuleSize)
	if len(t) != int(n)*pvhModuleSize {
		return fmt.Errorf("modlist_paddr %#x: %d entries are not readable", at, n)
	}
	for i := range int(n) {
		e := t[i*pvhModuleSize:]
		r, err := newRange(fmt.Sprintf("module %d", i), le.Uint64(e), le.Uint64(e[8:]))
		if err != nil {
			return err
		}
		if i == 0 {
			in.Initrd = r
		} else {
			in.Reserved = append(in.Reserved, r)
		}
	}
	return nil
}

// pcDefaults sets what a PC without ACPI tables has.
func (in *Info) pcDefaults() {
	in.Console = Console{Kind: PortCOM, Base: com1Port, Size: 8, Hz: com1Hz, RegWidth: 1}
	in.Interrupts = Interrupts{
		Kind: IOAPIC,
		Dist: Range{defaultIOAPIC, ioapicWindow},
		CPU:  Range{defaultLAPIC, pageSize},
		PIC:  true,
	}
	for i := range in.Interrupts.ISA {
		in.Interrupts.ISA[i].GSI = uint32(i)
	}
}

// cString reads a string of at most limit bytes that ends with a zero byte. It reads page
// by page, because the string may end just before the end of memory.
func cString(read Reader, pa uint64, limit int) (string, error) {
	var s []byte
	for at := pa; len(s) <= limit; {
		n := pageSize - int(at%pageSize)
		b := read(at, n)
		if len(b) != n {
			return "", fmt.Errorf("string at %#x is not readable", pa)
		}
		if i := bytes.IndexByte(b, 0); i >= 0 && len(s)+i <= limit {
			return string(append(s, b[:i]...)), nil
		}
		s = append(s, b...)
		at += uint64(n)
	}
	return "", fmt.Errorf("string at %#x is longer than %d bytes", pa, limit)
}
