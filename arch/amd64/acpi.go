package amd64

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// SoftOff is what is needed to switch a machine off by ACPI.
type SoftOff struct {
	PM1a  uint16 // port of PM1a_CNT_BLK
	Sleep uint8  // SLP_TYPa of the state S5
}

// FindSoftOff looks in the ACPI tables for what soft-off needs: PM1a_CNT_BLK in the FADT,
// and the sleep type in the \_S5_ package of the DSDT (ACPI specification 6.5, 5.2.9 and
// 7.4.2). read returns a piece of physical memory, or nil if it cannot reach it. rsdp is
// the address of the root pointer.
//
// It must be called before New, or the tables must lie in Config.RAM: the final direct map
// holds nothing else. Machines with hardware-reduced ACPI, such as QEMU's microvm, have no
// such port.
//
// The DSDT is not interpreted. The package is found by its name: firmware encodes it as a
// constant, and the name occurs once.
func FindSoftOff(read func(pa uint64, n int) []byte, rsdp uint64) (SoftOff, error) {
	fadt, err := findTable(read, rsdp, "FACP")
	if err != nil {
		return SoftOff{}, err
	}
	const dsdtField, pm1aField = 40, 64
	if len(fadt) < pm1aField+4 {
		return SoftOff{}, fmt.Errorf("acpi: FADT of %d bytes is too short", len(fadt))
	}
	port := binary.LittleEndian.Uint32(fadt[pm1aField:])
	if port == 0 || port > 0xffff {
		return SoftOff{}, fmt.Errorf("acpi: FADT has PM1a_CNT_BLK %#x, not a port", port)
	}
	dsdt, err := readTable(read, uint64(binary.LittleEndian.Uint32(fadt[dsdtField:])))
	if err != nil {
		return SoftOff{}, fmt.Errorf("acpi: DSDT: %w", err)
	}
	sleep, ok := sleepType(dsdt)
	if !ok {
		return SoftOff{}, fmt.Errorf("acpi: no constant \\_S5_ package in the DSDT")
	}
	return SoftOff{PM1a: uint16(port), Sleep: sleep}, nil
}

// findTable returns the table with the given signature, which the RSDP leads to.
func findTable(read func(uint64, int) []byte, rsdp uint64, signature string) ([]byte, error) {
	root := read(rsdp, 36)
	if len(root) < 36 || string(root[:8]) != "RSD PTR " {
		return nil, fmt.Errorf("acpi: no root pointer at %#x", rsdp)
	}
	// Revision 2 and later have an XSDT, of 8-byte entries.
	at, width := uint64(binary.LittleEndian.Uint32(root[16:])), 4
	if x := binary.LittleEndian.Uint64(root[24:]); root[15] >= 2 && x != 0 {
		at, width = x, 8
	}
	list, err := readTable(read, at)
	if err != nil {
		return nil, fmt.Errorf("acpi: root table: %w", err)
	}
	for e := list[tableHeader:]; len(e) >= width; e = e[width:] {
		pa := uint64(binary.LittleEndian.Uint32(e))
		if width == 8 {
			pa = binary.LittleEndian.Uint64(e)
		}
		if h := read(pa, 4); string(h) == signature {
			return readTable(read, pa)
		}
	}
	return nil, fmt.Errorf("acpi: no table %q", signature)
}

// tableHeader is the size of the header of each table; its bytes 4 to 7 hold the table's
// length. maxTable is the largest length accepted: DSDTs of large servers are below 1 MB.
const (
	tableHeader = 36
	maxTable    = 4 << 20
)

func readTable(read func(uint64, int) []byte, pa uint64) ([]byte, error) {
	h := read(pa, tableHeader)
	if len(h) < tableHeader {
		return nil, fmt.Errorf("nothing readable at %#x", pa)
	}
	n := binary.LittleEndian.Uint32(h[4:])
	if n < tableHeader || n > maxTable {
		return nil, fmt.Errorf("table at %#x says it has %d bytes", pa, n)
	}
	t := read(pa, int(n))
	if len(t) < int(n) {
		return nil, fmt.Errorf("table at %#x has %d bytes, %d are readable", pa, n, len(t))
	}
	return t, nil
}

// AML encodings, ACPI specification 6.5, 20.2.
const (
	amlZero    = 0x00
	amlOne     = 0x01
	amlByte    = 0x0a
	amlPackage = 0x12
)

// sleepType returns the first element of the package named _S5_.
func sleepType(aml []byte) (uint8, bool) {
	i := bytes.Index(aml, []byte("_S5_"))
	if i < 0 {
		return 0, false
	}
	p := aml[i+4:]
	if len(p) < 2 || p[0] != amlPackage {
		return 0, false
	}
	// PkgLength: its two high bits say how many more bytes it has.
	skip := 2 + int(p[1]>>6) + 1 // 2 bytes here: the name's opcode and the number of elements
	if len(p) < skip+2 {
		return 0, false
	}
	switch e := p[skip]; e {
	case amlZero, amlOne:
		return e, true
	case amlByte:
		return p[skip+1], true
	}
	return 0, false
}
