package machine

import (
	"bytes"
	"fmt"
)

// Offsets are from the ACPI specification 6.5: RSDP 5.2.5.3, table header 5.2.6, MADT
// 5.2.12. u-root's pkg/acpi cannot be used here: it finds and reads tables through Linux's
// /dev/mem and /sys.
const (
	rsdpSize1  = 20
	rsdpSize2  = 36
	sdtHeader  = 36
	maxSDT     = 1 << 20
	madtFixed  = 44
	madtPCAT   = 1 // flag: 8259s are there
	lapicReady = 1 // enabled. A CPU that is not enabled is not there; "online capable" means that it may come later

	madtLAPIC    = 0
	madtIOAPIC   = 1
	madtOverride = 2
	madtLAPICAt  = 5
	madtX2APIC   = 9
)

// acpi reads the MADT, if there is one. pa is the address of the RSDP.
func (in *Info) acpi(read Reader, pa uint64) error {
	p := read(pa, rsdpSize1)
	if len(p) != rsdpSize1 || string(p[:8]) != "RSD PTR " || sum(p) != 0 {
		return fmt.Errorf("rsdp_paddr %#x: no ACPI root pointer there", pa)
	}
	root, width := uint64(le.Uint32(p[16:])), 4
	if p[15] >= 2 {
		p = read(pa, rsdpSize2)
		if len(p) == rsdpSize2 && sum(p) == 0 && le.Uint64(p[24:]) != 0 {
			root, width = le.Uint64(p[24:]), 8
		}
	}
	t, err := table(read, root)
	if err != nil {
		return err
	}
	if sig := string(t[:4]); sig != "RSDT" && sig != "XSDT" {
		return fmt.Errorf("ACPI table at %#x: signature %q, want RSDT or XSDT", root, sig)
	}
	for e := t[sdtHeader:]; len(e) >= width; e = e[width:] {
		at := uint64(le.Uint32(e))
		if width == 8 {
			at = le.Uint64(e)
		}
		sig := read(at, 4)
		if len(sig) != 4 || string(sig) != "APIC" {
			continue
		}
		madt, err := table(read, at)
		if err != nil {
			return err
		}
		return in.madt(madt)
	}
	return nil
}

// table returns a copy of the ACPI table at pa, after checking it.
func table(read Reader, pa uint64) ([]byte, error) {
	h := read(pa, sdtHeader)
	if len(h) != sdtHeader {
		return nil, fmt.Errorf("ACPI table at %#x is not readable", pa)
	}
	n := le.Uint32(h[4:])
	if n < sdtHeader || n > maxSDT {
		return nil, fmt.Errorf("ACPI table %q at %#x: length %d, want %d to %d", h[:4], pa, n, sdtHeader, maxSDT)
	}
	t := bytes.Clone(read(pa, int(n)))
	if len(t) != int(n) {
		return nil, fmt.Errorf("ACPI table at %#x: %d bytes are not readable", pa, n)
	}
	if s := sum(t); s != 0 {
		return nil, fmt.Errorf("ACPI table %q at %#x: checksum is off by %#x", t[:4], pa, s)
	}
	return t, nil
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

func (in *Info) madt(t []byte) error {
	if len(t) < madtFixed {
		return fmt.Errorf("ACPI MADT: %d bytes, want at least %d", len(t), madtFixed)
	}
	ic := &in.Interrupts
	ic.CPU.Base = uint64(le.Uint32(t[36:]))
	ic.PIC = le.Uint32(t[40:])&madtPCAT != 0
	ioapics := 0
	for off := madtFixed; off < len(t); {
		e := t[off:]
		if len(e) < 2 || int(e[1]) < 2 || int(e[1]) > len(e) {
			return fmt.Errorf("ACPI MADT: entry at offset %d runs over the end of the table (%d bytes)", off, len(t))
		}
		e = e[:e[1]]
		switch kind := e[0]; {
		case kind == madtLAPIC && len(e) >= 8:
			if le.Uint32(e[4:])&lapicReady != 0 {
				in.addCPU(CPU{ID: uint64(e[3])})
			}
		case kind == madtX2APIC && len(e) >= 16:
			if le.Uint32(e[8:])&lapicReady != 0 {
				in.addCPU(CPU{ID: uint64(le.Uint32(e[4:]))})
			}
		case kind == madtIOAPIC && len(e) >= 12:
			// ISA interrupts arrive at the I/O APIC whose inputs start at 0.
			if gsi := le.Uint32(e[8:]); ioapics == 0 || gsi == 0 {
				ic.Dist, ic.GSIBase = Range{uint64(le.Uint32(e[4:])), ioapicWindow}, gsi
			}
			ioapics++
		case kind == madtOverride && len(e) >= 10:
			src, flags := e[3], le.Uint16(e[8:])
			if int(src) >= len(ic.ISA) {
				return fmt.Errorf("ACPI MADT: override of ISA interrupt %d, want 0 to 15", src)
			}
			ic.ISA[src] = ISALine{le.Uint32(e[4:]), flags&3 == 3, flags>>2&3 == 3}
		case kind == madtLAPICAt && len(e) >= 12:
			ic.CPU.Base = le.Uint64(e[4:])
		}
		off += len(e)
	}
	for _, r := range []Range{ic.CPU, ic.Dist} {
		if _, err := newRange("ACPI MADT: interrupt controller", r.Base, r.Size); err != nil {
			return err
		}
	}
	return nil
}
