package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// kernelARM64 describes the ELF file that testKernelARM64 builds: a text section
// with the entry, data, and BSS, as the Go linker lays them out.
type kernelARM64 struct {
	machine           elf.Machine
	typ               elf.Type
	text, data, bss   uint64 // addresses
	textSize, bssSize uint64
	entry, efi        uint64
	efiName           string
}

func goodARM64() kernelARM64 {
	return kernelARM64{
		machine: elf.EM_AARCH64, typ: elf.ET_EXEC,
		text: 0xffffffff80201000, textSize: 0x2000,
		data: 0xffffffff80210000,
		bss:  0xffffffff80211000, bssSize: 0x12345,
		entry: 0xffffffff80201404, efi: 0xffffffff80201800, efiName: efiSymbol,
	}
}

// build makes the file: header, section contents, section headers, and one
// program header with a negative offset, as the linker writes it for arm64.
func (k kernelARM64) build() []byte {
	const textOff, dataOff, strOff, symOff, shOff = 0x1000, 0x4000, 0x5000, 0x5100, 0x5200
	names := "\x00.text\x00.data\x00.bss\x00.shstrtab\x00.note\x00.symtab\x00" + k.efiName + "\x00"
	name := func(s string) uint32 { return uint32(strings.Index(names, s+"\x00")) }
	var b bytes.Buffer
	put := func(off int, v ...any) {
		for b.Len() < off {
			b.WriteByte(0)
		}
		for _, v := range v {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	h := elf.Header64{Type: uint16(k.typ), Machine: uint16(k.machine), Version: 1, Entry: k.entry,
		Phoff: 64, Shoff: shOff, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64, Shnum: 7, Shstrndx: 5}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	negative := ^uint64(0xefff)
	put(0, h, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: negative, Vaddr: k.text &^ 0xffff, Filesz: 0x12000})
	put(textOff, bytes.Repeat([]byte{0x11}, int(k.textSize)))
	put(dataOff, bytes.Repeat([]byte{0x22}, 0x100))
	put(strOff, []byte(names))
	put(symOff, elf.Sym64{}, elf.Sym64{Name: name(k.efiName), Info: 0x12, Shndx: 2, Value: k.efi, Size: 32})
	alloc := uint64(elf.SHF_ALLOC)
	put(shOff, elf.Section64{},
		elf.Section64{Name: name(".note"), Type: uint32(elf.SHT_NOTE), Flags: alloc, Addr: k.text - 0x80, Off: 0xf80, Size: 0x64},
		elf.Section64{Name: name(".text"), Type: uint32(elf.SHT_PROGBITS), Flags: alloc, Addr: k.text, Off: textOff, Size: k.textSize},
		elf.Section64{Name: name(".data"), Type: uint32(elf.SHT_PROGBITS), Flags: alloc | uint64(elf.SHF_WRITE), Addr: k.data, Off: dataOff, Size: 0x100},
		elf.Section64{Name: name(".bss"), Type: uint32(elf.SHT_NOBITS), Flags: alloc, Addr: k.bss, Size: k.bssSize},
		elf.Section64{Name: name(".shstrtab"), Type: uint32(elf.SHT_STRTAB), Off: strOff, Size: uint64(len(names))},
		elf.Section64{Name: name(".symtab"), Type: uint32(elf.SHT_SYMTAB), Off: symOff, Size: 48, Entsize: 24, Link: 5, Info: 1})
	return b.Bytes()
}

// TestARM64Header checks every field of the header against "Booting AArch64
// Linux", and that the sections are where their link addresses say.
func TestARM64Header(t *testing.T) {
	img, err := ARM64(goodARM64().build())
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	// The first instruction is a compare that only changes the flags, and reads "MZ". Then
	// comes B from image offset 4 to text+0x404, which is a page further on: 0x1400/4
	// words.
	if got := le.Uint32(img); got != 0xfa405a4d || string(img[:2]) != "MZ" {
		t.Errorf("code0 %#x, want ccmp x18, #0, #13, pl (0xfa405a4d)", got)
	}
	for _, c := range []struct {
		name string
		off  int
		want uint64
	}{
		{"code1", 4, 0x14000500},
		{"text_offset", 8, 0},
		{"image_size", 16, 0x11000 + 0x13000 + HeapSize},
		{"flags", 24, 0xa}, // little endian, 4 KB pages, anywhere
		{"res2", 32, 0}, {"res3", 40, 0}, {"res4", 48, 0},
		{"magic, res5 (PE header's offset)", 56, 0x40<<32 | 0x644d5241},
	} {
		got := le.Uint64(img[c.off:])
		if c.name == "code1" {
			got = uint64(le.Uint32(img[c.off:]))
		}
		if got != c.want {
			t.Errorf("%s %#x, want %#x", c.name, got, c.want)
		}
	}
	if want := 0x11000; len(img) != want {
		t.Errorf("image is %#x bytes, want %#x: to the end of .data's last page", len(img), want)
	}
	for _, c := range []struct {
		name   string
		lo, hi int
		want   byte
	}{
		{"header page behind the headers", 0x200, 0x1000, 0},
		{".text", 0x1000, 0x3000, 0x11},
		{"gap", 0x3000, 0x10000, 0},
		{".data", 0x10000, 0x10100, 0x22},
		{"padding", 0x10100, 0x11000, 0},
	} {
		if i := bytes.IndexFunc(img[c.lo:c.hi], func(r rune) bool { return r != rune(c.want) }); i >= 0 {
			t.Errorf("%s: byte %#x is %#x, want %#x", c.name, c.lo+i, img[c.lo+i], c.want)
		}
	}
}

func TestARM64Refuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*kernelARM64)
		want   string
	}{
		{"machine", func(k *kernelARM64) { k.machine = elf.EM_X86_64 }, "arm64 executable"},
		{"type", func(k *kernelARM64) { k.typ = elf.ET_DYN }, "arm64 executable"},
		{"text not on a page", func(k *kernelARM64) { k.text += 0x10; k.entry += 0x10 }, "multiple of 4096"},
		{"image not on a 2 MB boundary", func(k *kernelARM64) { k.text += 0x1000 }, "multiple of 2 MB"},
		{"no EFI stub", func(k *kernelARM64) { k.efiName = "runtime.other" }, "no symbol runtime.efiEntry"},
		{"EFI entry in data", func(k *kernelARM64) { k.efi = k.data }, "outside of the kernel's text"},
		{"data before text", func(k *kernelARM64) { k.data = k.text - 0x10000 }, "before .text"},
		{"entry outside", func(k *kernelARM64) { k.entry = k.bss + 0x1000 }, "entry point"},
		{"entry odd", func(k *kernelARM64) { k.entry++ }, "entry point"},
		{"larger than the first tables", func(k *kernelARM64) { k.bssSize = 1 << 30 }, "first page tables"},
	} {
		k := goodARM64()
		c.change(&k)
		if _, err := ARM64(k.build()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	good := goodARM64().build()
	for _, n := range []int{0, 63, 64, 0x1000, 0x5000} {
		if _, err := ARM64(good[:n]); err == nil {
			t.Errorf("file cut at %#x: no error", n)
		}
	}
}

// TestARM64Branch checks the range of B: +-128 MB.
func TestARM64Branch(t *testing.T) {
	const from = 0xffffffff80000000
	for _, c := range []struct {
		to   uint64
		want uint32
	}{
		{from + 4, 0x14000001},
		{from + 128<<20 - 4, 0x15ffffff},
		{from - 128<<20, 0x16000000},
	} {
		if got, err := arm64Branch(from, c.to); err != nil || got != c.want {
			t.Errorf("to %#x: %#x, %v, want %#x", c.to, got, err, c.want)
		}
	}
	for _, to := range []uint64{from + 128<<20, from - 128<<20 - 4} {
		if b, err := arm64Branch(from, to); err == nil {
			t.Errorf("to %#x: %#x, want an error", to, b)
		}
	}
}
