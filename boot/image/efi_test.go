package image

import (
	"bytes"
	"debug/pe"
	"testing"
)

// TestEFIHeaders reads the image as firmware does, and checks what the PE format
// specification and UEFI 2.10, section 2.1.1, demand of an application.
func TestEFIHeaders(t *testing.T) {
	k := goodARM64()
	img, err := ARM64(k.build())
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != pe.IMAGE_FILE_MACHINE_ARM64 {
		t.Errorf("machine %#x", f.Machine)
	}
	const wrong = pe.IMAGE_FILE_RELOCS_STRIPPED | pe.IMAGE_FILE_DLL
	if c := f.Characteristics; c&pe.IMAGE_FILE_EXECUTABLE_IMAGE == 0 || c&wrong != 0 {
		t.Errorf("characteristics %#x: an executable that may be loaded anywhere", c)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		t.Fatalf("optional header %T, want that of PE32+", f.OptionalHeader)
	}
	if h.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION {
		t.Errorf("subsystem %d, want an EFI application, 10", h.Subsystem)
	}
	if want := uint32(k.efi - 0xffffffff80200000); h.AddressOfEntryPoint != want {
		t.Errorf("entry point %#x, want %#x", h.AddressOfEntryPoint, want)
	}
	if h.ImageBase != 0 || h.NumberOfRvaAndSizes != 6 {
		t.Errorf("image base %#x, %d data directories, want 0 and 6", h.ImageBase, h.NumberOfRvaAndSizes)
	}
	if want := int(64+4+20) + int(f.SizeOfOptionalHeader) + 40*len(f.Sections); int(h.SizeOfHeaders) < want {
		t.Errorf("headers take %#x bytes, %#x are claimed", want, h.SizeOfHeaders)
	}
	if a := h.SectionAlignment; a < 4096 || a&(a-1) != 0 || h.FileAlignment < 512 || h.FileAlignment > a {
		t.Errorf("alignment of sections %#x, in the file %#x", a, h.FileAlignment)
	}
	// The sections are in order and without gaps, they cover everything once, and none is
	// both writable and executable. Bytes must have the same place in memory as in the
	// file, because the stub copies the image as it finds it.
	next := h.SizeOfHeaders
	for _, s := range f.Sections {
		if s.VirtualAddress != next || s.Offset != s.VirtualAddress || s.Size != s.VirtualSize ||
			s.VirtualAddress%h.SectionAlignment != 0 || s.Offset%h.FileAlignment != 0 || s.Size%h.FileAlignment != 0 {
			t.Errorf("section %+v, want it at %#x", s.SectionHeader, next)
		}
		if c := s.Characteristics; c&pe.IMAGE_SCN_MEM_EXECUTE != 0 && c&pe.IMAGE_SCN_MEM_WRITE != 0 {
			t.Errorf("section %s is written and executed", s.Name)
		}
		in := h.AddressOfEntryPoint >= s.VirtualAddress && h.AddressOfEntryPoint < s.VirtualAddress+s.VirtualSize
		if in != (s.Characteristics&pe.IMAGE_SCN_MEM_EXECUTE != 0) {
			t.Errorf("section %s: entry point inside: %v, characteristics %#x", s.Name, in, s.Characteristics)
		}
		next = s.VirtualAddress + s.VirtualSize
	}
	if next != h.SizeOfImage || int(next) != len(img) {
		t.Errorf("sections end at %#x, SizeOfImage is %#x, the file has %#x bytes", next, h.SizeOfImage, len(img))
	}
}
