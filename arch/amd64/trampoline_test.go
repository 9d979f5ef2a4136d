package amd64

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// TestTrampoline disassembles the trampoline and compares it with the listing, with the
// operands resolved. Broken by: trampEntry where trampArg belongs, a GDT base without the
// page's address, a far jump to one byte further.
func TestTrampoline(t *testing.T) {
	const page = 0x9e000
	p := trampoline(page, trampolineRegs{cr0: 0x80010033, cr3: 0x1234000, cr4: 0x620, efer: 0x901, entry: 0xffffffff80201040})
	binary.LittleEndian.PutUint64(p[trampArg:], 0xffffffffffe25000)
	names := map[string]int{"gdtr": trampGDTR, "cr4": trampCR4, "cr3": trampCR3, "efer": trampEFER, "cr0": trampCR0,
		"target": trampTarget, "arg": trampArg, "entry": trampEntry}
	at, long := 0, 0
	for _, want := range trampolineListing {
		if want.mode == 64 && long == 0 {
			long = at
		}
		ins, err := x86asm.Decode(p[at:], want.mode)
		if err != nil || ins.Len != len(want.code) {
			t.Fatalf("at %#x: %d bytes, %v; want %q", at, ins.Len, err, want.asm)
		}
		text := x86asm.IntelSyntax(ins, page+uint64(at), nil)
		// The operand in brackets is compared by value.
		asm := want.asm
		if i := strings.IndexByte(asm, '['); i >= 0 {
			name := asm[i+1 : strings.IndexByte(asm, ']')]
			if got := operand(ins, at); got != names[name] {
				t.Errorf("at %#x: %s has its operand at %#x, want %s at %#x", at, text, got, name, names[name])
			}
			asm, _, _ = strings.Cut(asm, "[")
			text, _, _ = strings.Cut(text, "[")
			asm, text = strings.TrimSuffix(asm, "dword ptr "), strings.TrimSuffix(text, "dword ptr ")
			asm, text = strings.TrimSuffix(asm, "qword ptr "), strings.TrimSuffix(text, "qword ptr ")
			asm, text = strings.TrimPrefix(asm, "data32 "), strings.TrimPrefix(text, "data32 ")
			asm, text = strings.ReplaceAll(asm, "far ", ""), strings.ReplaceAll(text, "far ", "")
			asm, text = strings.TrimSuffix(asm, " "), strings.TrimSuffix(text, " ")
			text = strings.TrimSuffix(strings.TrimSuffix(text, "ptr"), " ")
		}
		if text != asm {
			t.Errorf("at %#x: %q, want %q", at, text, asm)
		}
		at += ins.Len
	}
	le := binary.LittleEndian
	if base := le.Uint32(p[trampGDTR+2:]); base != page+trampGDT || le.Uint16(p[trampGDTR:]) != 15 {
		t.Errorf("GDT at %#x, limit %d", base, le.Uint16(p[trampGDTR:]))
	}
	if to, sel := le.Uint32(p[trampTarget:]), le.Uint16(p[trampTarget+4:]); int(to) != page+long || sel != 8 {
		t.Errorf("the far jump goes to %#x:%#x, want 8:%#x", sel, to, page+long)
	}
	if le.Uint64(p[trampGDT+8:]) != descKernelCode || le.Uint64(p[trampEntry:]) != 0xffffffff80201040 || le.Uint32(p[trampCR3:]) != 0x1234000 {
		t.Error("the data are not where the code looks for them")
	}
}

// operand returns the offset in the page that the instruction at offset at refers to.
func operand(ins x86asm.Inst, at int) int {
	for _, a := range ins.Args {
		if m, ok := a.(x86asm.Mem); ok {
			if m.Base == x86asm.RIP {
				return at + ins.Len + int(m.Disp)
			}
			return int(m.Disp)
		}
	}
	return -1
}

// TestICR compares the fields of the command register with figure 10-12 of the manual.
// Broken by: the identifier in the low half.
func TestICR(t *testing.T) {
	for _, c := range []struct{ got, want uint64 }{
		{icrInit, 0x4500}, {icrStartup | 0x9e, 0x469e}, {icrFixed | vecWake, 0x4000 | 61}, {icrNMI, 0x4400},
		{icrX2(0x1ff, icrFixed|vecShoot), 0x1ff_0000_403e},
	} {
		if c.got != c.want {
			t.Errorf("%#x, want %#x", c.got, c.want)
		}
	}
}

// TestOutside. Broken by: values compared as unsigned numbers, which wrap.
func TestOutside(t *testing.T) {
	const top = ^uint64(0)
	for _, c := range []struct {
		v, before, after uint64
		want             int64
	}{{5, 5, 9, 0}, {9, 5, 9, 0}, {4, 5, 9, -1}, {12, 5, 9, 3}, {1, top, 3, 0}, {top, 1, 3, -2}} {
		if got := outside(c.v, c.before, c.after); got != c.want {
			t.Errorf("%d between %d and %d: %d, want %d", c.v, c.before, c.after, got, c.want)
		}
	}
}
