package image

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
)

// efiSymbol is the entry of the EFI stub (boot/overlay/runtime/efi_grim_arm64.s).
const efiSymbol = "runtime.efiEntry"

// Constants of the PE32+ headers, which make the image an EFI application. They follow the
// header of the Linux boot protocol in the same page (PE format specification, revision 11;
// UEFI 2.10, section 2.1.1). The image's first instruction reads "MZ", as a PE file must
// begin.
const (
	peOffset     = arm64HeaderSize // offset of the signature "PE\0\0"
	peFieldAt    = 60              // offset of the DOS header's field for that
	peAlign      = 512             // of a section's bytes in the file
	peRVAs       = 6               // data directories, all empty
	peTextFlags  = pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_EXECUTE | pe.IMAGE_SCN_MEM_READ
	peDataFlags  = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ | pe.IMAGE_SCN_MEM_WRITE
	peAttributes = pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LINE_NUMS_STRIPPED | pe.IMAGE_FILE_DEBUG_STRIPPED
)

// efiHeaders writes the PE headers into img, whose first byte has the link address base and
// whose size is a multiple of a page. There are no relocations, as the stub only uses
// addresses relative to the PC.
func efiHeaders(img []byte, f *elf.File, base uint64) error {
	entry, err := symbol(f, efiSymbol)
	if err != nil {
		return err
	}
	data := uint64(len(img))
	for _, s := range f.Sections {
		if loaded(s) && s.Flags&elf.SHF_WRITE != 0 {
			data = min(data, (s.Addr-base)&^(pageSize-1))
		}
	}
	if entry < base+pageSize || entry-base >= data {
		return fmt.Errorf("%s at %#x is outside of the kernel's text", efiSymbol, entry)
	}
	size := uint32(len(img))
	text := uint32(data) - pageSize
	var b bytes.Buffer
	b.WriteString("PE\x00\x00")
	section := func(name string, from, size, flags uint32) pe.SectionHeader32 {
		h := pe.SectionHeader32{VirtualSize: size, VirtualAddress: from, SizeOfRawData: size, PointerToRawData: from, Characteristics: flags}
		copy(h.Name[:], name)
		return h
	}
	optional := pe.OptionalHeader64{
		Magic: 0x20b, SizeOfCode: text, SizeOfInitializedData: size - uint32(data),
		AddressOfEntryPoint: uint32(entry - base), BaseOfCode: pageSize,
		SectionAlignment: pageSize, FileAlignment: peAlign,
		SizeOfImage: size, SizeOfHeaders: pageSize,
		Subsystem:          pe.IMAGE_SUBSYSTEM_EFI_APPLICATION,
		DllCharacteristics: pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
	}
	// debug/pe has all 16 data directories; only as many as the count says are written.
	var opt bytes.Buffer
	optional.NumberOfRvaAndSizes = peRVAs
	if err := binary.Write(&opt, binary.LittleEndian, &optional); err != nil {
		return err
	}
	opt.Truncate(opt.Len() - (len(optional.DataDirectory)-peRVAs)*binary.Size(pe.DataDirectory{}))
	for _, part := range []any{
		pe.FileHeader{
			Machine: pe.IMAGE_FILE_MACHINE_ARM64, NumberOfSections: 2,
			SizeOfOptionalHeader: uint16(opt.Len()), Characteristics: peAttributes,
		},
		opt.Bytes(),
		section(".text", pageSize, text, peTextFlags),
		section(".data", uint32(data), size-uint32(data), peDataFlags),
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return err
		}
	}
	if peOffset+b.Len() > pageSize {
		return errors.New("PE headers do not fit the header's page")
	}
	binary.LittleEndian.PutUint32(img[peFieldAt:], peOffset)
	copy(img[peOffset:], b.Bytes())
	return nil
}

// symbol returns the address of a function that is written in assembly.
func symbol(f *elf.File, name string) (uint64, error) {
	syms, err := f.Symbols()
	if err != nil {
		return 0, fmt.Errorf("kernel's symbols: %w", err)
	}
	for _, s := range syms {
		if s.Name == name || s.Name == name+".abi0" {
			return s.Value, nil
		}
	}
	return 0, fmt.Errorf("kernel has no symbol %s", name)
}
