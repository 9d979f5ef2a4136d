package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"grim/arch"
)

// file builds an executable: an ELF header, after it program headers, and body from offset
// 4096 on.
func file(h elf.Header64, progs []elf.Prog64, body []byte) []byte {
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	h.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	h.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	h.Version = uint32(elf.EV_CURRENT)
	h.Ehsize, h.Phoff, h.Phentsize, h.Phnum = ehdrSize, ehdrSize, phdrSize, uint16(len(progs))
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, progs)
	return append(append(b.Bytes(), make([]byte, 4096-b.Len())...), body...)
}

const rx, rw = uint32(elf.PF_R | elf.PF_X), uint32(elf.PF_R | elf.PF_W)

// small returns a valid program: text with the headers, and data with a bss.
func small(typ elf.Type) (elf.Header64, []elf.Prog64) {
	base := uint64(0x400000)
	if typ == elf.ET_DYN {
		base = 0
	}
	h := elf.Header64{Type: uint16(typ), Machine: uint16(elf.EM_X86_64), Entry: base + 4096}
	return h, []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: rx, Vaddr: base, Filesz: 4096 + 100, Memsz: 4096 + 100, Align: 4096},
		{Type: uint32(elf.PT_LOAD), Flags: rw, Off: 4096 + 0x70, Vaddr: base + 0x3070, Filesz: 0x80, Memsz: 0x5000, Align: 4096},
		{Type: uint32(elf.PT_GNU_STACK), Flags: rw},
	}
}

func parse(b []byte) (*Image, error) {
	return Parse(bytes.NewReader(b), int64(len(b)), elf.EM_X86_64)
}

func TestParse(t *testing.T) {
	for _, typ := range []elf.Type{elf.ET_EXEC, elf.ET_DYN} {
		h, progs := small(typ)
		im, err := parse(file(h, progs, make([]byte, 512)))
		if err != nil {
			t.Fatalf("%v: %v", typ, err)
		}
		base := arch.VA(progs[0].Vaddr)
		if im.PIE != (typ == elf.ET_DYN) || im.Entry != base+4096 || im.Phdr != base+64 || im.PhNum != 3 || im.ExecStack {
			t.Errorf("%v: %+v", typ, im)
		}
		want := []Segment{
			{VA: base, MemSize: 4196, FileSize: 4196, Prot: arch.Read | arch.Exec},
			{VA: base + 0x3070, MemSize: 0x5000, Off: 0x1070, FileSize: 0x80, Prot: arch.Read | arch.Write},
		}
		if len(im.Segments) != 2 || im.Segments[0] != want[0] || im.Segments[1] != want[1] {
			t.Errorf("%v: segments %+v, want %+v", typ, im.Segments, want)
		}
		if im.Low() != base || im.High() != base+0x9000 {
			t.Errorf("%v: %#x..%#x", typ, im.Low(), im.High())
		}
	}
}

// A segment that is all zeroes may have any offset. Linkers align the offset past the
// file's end, on arm64 to 64 KB.
func TestParseBSS(t *testing.T) {
	h, progs := small(elf.ET_EXEC)
	progs[1].Filesz, progs[1].Off = 0, 0xfff0
	im, err := parse(file(h, progs, make([]byte, 512)))
	if err != nil {
		t.Fatal(err)
	}
	if s := im.Segments[1]; s.FileSize != 0 || s.MemSize != 0x5000 {
		t.Errorf("segment %+v", s)
	}
}

// Each case breaks one thing in a program that is otherwise accepted.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(h *elf.Header64, p []elf.Prog64)
	}{
		{"other machine", func(h *elf.Header64, p []elf.Prog64) { h.Machine = uint16(elf.EM_AARCH64) }},
		{"relocatable", func(h *elf.Header64, p []elf.Prog64) { h.Type = uint16(elf.ET_REL) }},
		{"nothing to load", func(h *elf.Header64, p []elf.Prog64) { p[0].Type, p[1].Type = 0, 0 }},
		{"truncated", func(h *elf.Header64, p []elf.Prog64) { p[1].Filesz = 0x1000 }},
		{"offset past the end", func(h *elf.Header64, p []elf.Prog64) { p[1].Off = 1 << 40 }},
		{"offset wraps", func(h *elf.Header64, p []elf.Prog64) { p[1].Off = ^uint64(0xf8f) }},
		{"file larger than memory", func(h *elf.Header64, p []elf.Prog64) { p[1].Memsz = 0x10 }},
		{"not congruent", func(h *elf.Header64, p []elf.Prog64) { p[1].Off = 4096 }},
		{"kernel address", func(h *elf.Header64, p []elf.Prog64) { p[1].Vaddr = 0xffffffff80200070 }},
		{"past the user half", func(h *elf.Header64, p []elf.Prog64) { p[1].Memsz = 1 << 47 }},
		{"memory wraps", func(h *elf.Header64, p []elf.Prog64) { p[1].Memsz = ^uint64(0) }},
		{"over the stack", func(h *elf.Header64, p []elf.Prog64) { p[1].Vaddr = uint64(stackTop) - 0x6000 + 0x70 }},
		{"page 0", func(h *elf.Header64, p []elf.Prog64) {
			p[0].Vaddr, p[1].Vaddr, h.Entry = 0, 0x3070, 4096
		}},
	} {
		h, progs := small(elf.ET_EXEC)
		c.spoil(&h, progs)
		if im, err := parse(file(h, progs, make([]byte, 512))); err != syscall.ENOEXEC {
			t.Errorf("%s: %+v, %v; want ENOEXEC", c.name, im, err)
		}
	}
}

// Linux starts these programs. Segments come in any order, and a later one may replace an
// earlier one. If nothing is mapped at the entry, the program fails when it runs. Each case
// was refused before Parse took segments in any order.
func TestParseTakes(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(h *elf.Header64, p []elf.Prog64)
		high  arch.VA
	}{
		{"entry outside", func(h *elf.Header64, p []elf.Prog64) { h.Entry = 0x500000 }, 0x409000},
		{"overlap", func(h *elf.Header64, p []elf.Prog64) { p[0].Memsz = 0xa000 }, 0x40a000},
		{"bss shares the next page", func(h *elf.Header64, p []elf.Prog64) { p[0].Memsz = 0x3010 }, 0x409000},
		{"descending", func(h *elf.Header64, p []elf.Prog64) { p[0], p[1] = p[1], p[0] }, 0x409000},
	} {
		h, progs := small(elf.ET_EXEC)
		c.spoil(&h, progs)
		im, err := parse(file(h, progs, make([]byte, 512)))
		if err != nil || im.Low() != 0x400000 || im.High() != c.high {
			t.Errorf("%s: %+v, %v", c.name, im, err)
		}
	}
}

func TestParseHeader(t *testing.T) {
	h, progs := small(elf.ET_EXEC)
	good := file(h, progs, make([]byte, 512))
	for _, c := range []struct {
		name string
		off  int
		val  byte
	}{
		{"magic", 0, 'x'},
		{"class", elf.EI_CLASS, byte(elf.ELFCLASS32)},
		{"byte order", elf.EI_DATA, byte(elf.ELFDATA2MSB)},
		{"version", 20, 7},
		{"phentsize", 54, 55},
		{"no program headers", 56, 0},
		{"too many program headers", 57, 1},
		{"phoff", 38, 1},
	} {
		b := bytes.Clone(good)
		b[c.off] = c.val
		if _, err := parse(b); err != syscall.ENOEXEC {
			t.Errorf("%s: %v, want ENOEXEC", c.name, err)
		}
	}
	for n := range len(good) {
		if _, err := parse(good[:n]); n < 0x1070+0x80 && err != syscall.ENOEXEC {
			t.Fatalf("cut to %d bytes: %v, want ENOEXEC", n, err)
		}
	}
	// The loader ignores section headers.
	b := bytes.Clone(good)
	binary.LittleEndian.PutUint64(b[40:], 1<<60)
	binary.LittleEndian.PutUint16(b[60:], 60000)
	if _, err := parse(b); err != nil {
		t.Errorf("wild section headers: %v", err)
	}
}

func TestParseInterp(t *testing.T) {
	h, progs := small(elf.ET_DYN)
	body := make([]byte, 512)
	copy(body, "/lib/ld.so\x00")
	progs[2] = elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 4096, Filesz: 11}
	if im, err := parse(file(h, progs, body)); err != nil || im.Interp != "/lib/ld.so" {
		t.Errorf("%+v, %v", im, err)
	}
	progs[1] = elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 4096 + 4, Filesz: 7} // only the first PT_INTERP counts
	if im, err := parse(file(h, progs, body)); err != nil || !im.Dynamic || im.Interp != "/ld.so" {
		t.Errorf("%+v, %v", im, err)
	}
	progs[1].Type = 0
	progs[2].Off = 1 << 30
	if _, err := parse(file(h, progs, body)); err != syscall.EIO {
		t.Errorf("not in the file: %v", err)
	}
	progs[2].Off = 4096
	body[10] = 'x'
	if _, err := parse(file(h, progs, body)); err != syscall.ENOEXEC {
		t.Errorf("unterminated: %v", err)
	}
}

// The test binary is a program that another linker made.
func TestParseSelf(t *testing.T) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	ref, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := f.Stat()
	im, err := Parse(f, st.Size(), ref.Machine)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range ref.Progs {
		if p.Type == elf.PT_LOAD {
			if n >= len(im.Segments) || uint64(im.Segments[n].VA) != p.Vaddr || im.Segments[n].MemSize != p.Memsz {
				t.Fatalf("segment %d of %+v", n, im.Segments)
			}
			n++
		}
	}
	if n != len(im.Segments) || uint64(im.Entry) != ref.Entry || im.Phdr == 0 {
		t.Errorf("%+v", im)
	}
}

func TestParseScript(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, c := range []struct {
		in   string
		want Script
		ok   bool
		err  error
	}{
		{"#!/bin/sh\n", Script{"/bin/sh", "", false}, true, nil},
		{"#! \t/bin/sh  -e -x \t\necho", Script{"/bin/sh", "-e -x", true}, true, nil},
		{"#!/bin/sh", Script{"/bin/sh", "", false}, true, nil},
		{"#!\n", Script{}, true, syscall.ENOEXEC},
		{"#!   \t\n", Script{}, true, syscall.ENOEXEC},
		{"#!/" + long, Script{}, true, syscall.ENOEXEC},
		{"#!/x " + long, Script{"/x", long[:scriptLine-5], true}, true, nil},
		{"#/bin/sh\n", Script{}, false, nil},
		{"", Script{}, false, nil},
		{"#!/a\x00b\n", Script{"/a", "", false}, true, nil},
	} {
		s, ok, err := ParseScript(strings.NewReader(c.in), int64(len(c.in)))
		if s != c.want || ok != c.ok || err != c.err {
			t.Errorf("%.20q: %+v %v %v, want %+v %v %v", c.in, s, ok, err, c.want, c.ok, c.err)
		}
	}
}

type failing struct{ err error }

func (f failing) ReadAt(p []byte, off int64) (int, error) { return 0, f.err }

// An error while reading the file is passed on, and is not ENOEXEC.
func TestReadError(t *testing.T) {
	if _, err := Parse(failing{syscall.EIO}, 1<<20, elf.EM_X86_64); err != syscall.EIO {
		t.Errorf("%v, want EIO", err)
	}
	if _, err := Parse(failing{io.EOF}, 1<<20, elf.EM_X86_64); err != syscall.ENOEXEC {
		t.Errorf("%v, want ENOEXEC", err)
	}
}

// An Image that Parse returns keeps every promise of Segment and Image.
func FuzzParse(f *testing.F) {
	for _, typ := range []elf.Type{elf.ET_EXEC, elf.ET_DYN} {
		h, progs := small(typ)
		f.Add(file(h, progs, make([]byte, 512)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseScript(bytes.NewReader(b), int64(len(b)))
		im, err := parse(b)
		if err != nil {
			if err != syscall.ENOEXEC && err != syscall.EIO {
				t.Fatalf("error %v", err)
			}
			return
		}
		bias := im.biasAt(pieBase)
		if uint64(bias)%im.Align != 0 && im.Align <= arch.BlockSize {
			t.Fatalf("bias %#x, align %#x", bias, im.Align)
		}
		for _, s := range im.Segments {
			va := s.VA + bias
			if s.MemSize == 0 || s.FileSize > s.MemSize || s.Off+s.FileSize > uint64(len(b)) || s.Off > uint64(len(b)) ||
				va < arch.UserMin || s.VA < im.Low() || s.End() > im.High() || va+arch.VA(s.MemSize) > mmapTop || (s.FileSize > 0 && (uint64(s.VA)-s.Off)%arch.PageSize != 0) {
				t.Fatalf("segment %+v", s)
			}
		}
	})
}
