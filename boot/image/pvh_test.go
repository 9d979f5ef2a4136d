package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// testSeg is one loadable segment of a made-up kernel.
type testSeg struct {
	vaddr, memsz uint64
	flags        elf.ProgFlag
	data         []byte
}

// testELF returns a minimal ELF file, laid out as by the Go linker.
func testELF(machine elf.Machine, entry uint64, segs ...testSeg) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Entry: entry,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segs))}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	binary.Write(&b, binary.LittleEndian, &h)
	off := uint64(4096)
	for _, s := range segs {
		binary.Write(&b, binary.LittleEndian, &elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(s.flags),
			Off: off, Vaddr: s.vaddr, Paddr: s.vaddr, Filesz: uint64(len(s.data)), Memsz: s.memsz, Align: 4096})
		off += uint64(len(s.data))
	}
	b.Write(make([]byte, 4096-b.Len()))
	for _, s := range segs {
		b.Write(s.data)
	}
	return b.Bytes()
}

func testKernel() []byte {
	return testELF(elf.EM_X86_64, KernelBase+0x201040,
		testSeg{KernelBase + 0x1ff000, 0x3000, elf.PF_R | elf.PF_X, bytes.Repeat([]byte{0xc3}, 0x3000)},
		testSeg{KernelBase + 0x202000, 0x9123, elf.PF_R | elf.PF_W, []byte("data")})
}

func TestPVHSegments(t *testing.T) {
	img, err := PVH(testKernel())
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC || f.Class != elf.ELFCLASS64 {
		t.Errorf("header: %v %v %v", f.Machine, f.Type, f.Class)
	}
	want := []struct {
		typ                  elf.ProgType
		vaddr, paddr         uint64
		filesz, memsz, align uint64
		flags                elf.ProgFlag
	}{
		{elf.PT_LOAD, 0x100000, 0x100000, 0x8000, 0x8000, 4096, 7},
		{elf.PT_LOAD, KernelBase + 0x1ff000, 0x1ff000, 0x3000, 0x3000, 4096, 5},
		// Memory goes to the end of BSS's page and 16 MB further: the rest of 0x9123 rounds
		// to 0xa000.
		{elf.PT_LOAD, KernelBase + 0x202000, 0x202000, 4, 0xa000 + 16<<20, 4096, 6},
		{elf.PT_NOTE, 0, 0, 24, 24, 4, 4},
	}
	if len(f.Progs) != len(want) {
		t.Fatalf("%d program headers, want %d", len(f.Progs), len(want))
	}
	for i, w := range want {
		p := f.Progs[i]
		if p.Type != w.typ || p.Vaddr != w.vaddr || p.Paddr != w.paddr || p.Filesz != w.filesz ||
			p.Memsz != w.memsz || p.Align != w.align || p.Flags != w.flags {
			t.Errorf("program header %d: %+v, want %+v", i, p.ProgHeader, w)
		}
		if p.Off%pageSize != p.Vaddr%pageSize && p.Type == elf.PT_LOAD {
			t.Errorf("program header %d: offset %#x does not match address %#x in its page", i, p.Off, p.Vaddr)
		}
	}
	data, err := io.ReadAll(f.Progs[2].Open())
	if err != nil || string(data) != "data" {
		t.Errorf("last segment holds %q, %v", data, err)
	}
}

func TestPVHNote(t *testing.T) {
	img, err := PVH(testKernel())
	if err != nil {
		t.Fatal(err)
	}
	f, _ := elf.NewFile(bytes.NewReader(img))
	n, _ := io.ReadAll(f.Progs[3].Open())
	le := binary.LittleEndian
	if le.Uint32(n) != 4 || le.Uint32(n[4:]) != 8 || le.Uint32(n[8:]) != 18 || string(n[12:16]) != "Xen\x00" {
		t.Errorf("note header % x", n[:16])
	}
	if e := le.Uint64(n[16:]); e != f.Entry || e != BootBase {
		t.Errorf("note's entry %#x, file's entry %#x, want both %#x", e, f.Entry, BootBase)
	}
}

// TestPVHListing disassembles the entry code and compares it with the listing.
func TestPVHListing(t *testing.T) {
	const kernel = KernelBase + 0x201040
	page, entry, err := pvhEntry(kernel)
	if err != nil {
		t.Fatal(err)
	}
	if entry != BootBase {
		t.Fatalf("entry at %#x", entry)
	}
	at := 0
	check := func(list []instr, mode int) {
		for _, want := range list {
			ins, err := x86asm.Decode(page[at:], mode)
			if err != nil {
				t.Fatalf("%d-bit code at %d: %v", mode, at, err)
			}
			if ins.Len != len(want.code) {
				t.Errorf("at %d: %q is %d bytes, the listing has %d", at, want.asm, ins.Len, len(want.code))
			}
			got := x86asm.IntelSyntax(ins, BootBase+uint64(at), nil)
			// In a line that refers to a label, only the operation is compared. The label's
			// value is checked by the machine and below.
			if want.ref != "" {
				got, _, _ = strings.Cut(got, " ")
				want.asm, _, _ = strings.Cut(want.asm, " ")
			}
			if norm(got) != norm(want.asm) {
				t.Errorf("at %d: disassembles to %q, the listing says %q", at, got, want.asm)
			}
			at += len(want.code)
		}
	}
	check(pvhListing, 32)
	at = (at + 7) &^ 7
	long := at
	check(pvhListing64, 64)

	le := binary.LittleEndian
	if !bytes.Contains(page, le.AppendUint64(nil, kernel)) {
		t.Error("the kernel's entry address is missing")
	}
	far := append(le.AppendUint32(nil, BootBase+uint32(long)), 8, 0)
	if !bytes.Contains(page, far) {
		t.Errorf("no far pointer 8:%#x", BootBase+long)
	}
	for _, msg := range []string{msgLong, msgNX} {
		if !bytes.Contains(page, []byte(msg)) || !strings.HasSuffix(msg, "\x00") {
			t.Errorf("message %q missing or not terminated", msg)
		}
	}
}

// norm removes the differences between ways to write the same instruction.
func norm(s string) string {
	s = strings.Join(strings.Fields(strings.ToLower(s)), " ")
	s = strings.NewReplacer("jmp far", "jmp", "lodsb byte ptr [rsi]", "lodsb", "lodsb byte ptr [esi]", "lodsb").Replace(s)
	return s
}

// translate walks page tables made by pvhTables as the CPU would.
func translate(t []byte, va uint64) (uint64, error) {
	base := uint64(bootPML4)
	for level := 3; ; level-- {
		i := va >> (12 + 9*level) & 511
		e := binary.LittleEndian.Uint64(t[base-bootPML4+i*8:])
		if e&3 != 3 {
			return 0, fmt.Errorf("%#x: level %d entry is %#x", va, level, e)
		}
		if level == 1 && e&pteLarge != 0 {
			return e&^(1<<21-1) | va&(1<<21-1), nil
		}
		if level == 1 {
			return 0, fmt.Errorf("%#x: no large page", va)
		}
		base = e &^ 0xfff
	}
}

func TestPVHTables(t *testing.T) {
	tab := pvhTables()
	if len(tab)+pageSize != bootSize {
		t.Errorf("tables take %d bytes, the boot area leaves %d", len(tab), bootSize-pageSize)
	}
	for _, c := range []struct{ va, pa uint64 }{
		{BootBase, BootBase},
		{0xfedc1234, 0xfedc1234},
		{0xffff800000000000, 0},
		{0xffff8000fee00020, 0xfee00020},
		{KernelBase + 0x201040, 0x201040},
		{KernelBase + 0x3fffffff, 0x3fffffff},
		{0xffffffffffffffff, 0x7fffffff},
	} {
		pa, err := translate(tab, c.va)
		if err != nil || pa != c.pa {
			t.Errorf("%#x -> %#x, %v; want %#x", c.va, pa, err, c.pa)
		}
	}
	for _, va := range []uint64{1 << 32, 0xffff800100000000, 0xffffffff7fffffff, 0x00007fffffffffff} {
		if pa, err := translate(tab, va); err == nil {
			t.Errorf("%#x is mapped to %#x", va, pa)
		}
	}
}

func TestPVHRefuses(t *testing.T) {
	text := testSeg{KernelBase + 0x200000, 0x1000, elf.PF_R | elf.PF_X, make([]byte, 0x1000)}
	for _, c := range []struct {
		name, want string
		kernel     []byte
	}{
		{"not ELF", "bad magic", []byte(strings.Repeat("x", 100))},
		{"other machine", "EM_AARCH64", testELF(elf.EM_AARCH64, text.vaddr, text)},
		{"low address", "kernel window", testELF(elf.EM_X86_64, 0x400000, testSeg{0x400000, 0x1000, 5, make([]byte, 16)})},
		{"in the boot area", "boot area", testELF(elf.EM_X86_64, KernelBase+0x107000, testSeg{KernelBase + 0x107000, 0x1000, 5, make([]byte, 16)})},
		{"entry outside", "entry", testELF(elf.EM_X86_64, KernelBase+0x300000, text)},
		{"overlap", "overlaps", testELF(elf.EM_X86_64, text.vaddr, text, testSeg{text.vaddr + 0x800, 0x1000, 6, nil})},
		{"too large", "above 1 GB", testELF(elf.EM_X86_64, text.vaddr, text, testSeg{text.vaddr + 0x1000, 1 << 30, 6, nil})},
		{"no segment", "no loadable segment", testELF(elf.EM_X86_64, text.vaddr)},
	} {
		_, err := PVH(c.kernel)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}
