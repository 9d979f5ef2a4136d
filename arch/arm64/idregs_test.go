package arm64

import (
	"testing"

	"grim/arch"
)

// Instruction words as GNU as encodes them.
const (
	mrsX0MIDR    = 0xd5380000
	mrsX3MPIDR   = 0xd53800a3
	mrsX1ISAR0   = 0xd5380601
	mrsXzrISAR0  = 0xd538061f
	mrsX2PFR0    = 0xd5380402
	mrsX3MMFR1   = 0xd5380723 // op2 1: no row in idRegs, reads as zero
	mrsX0TTBR0   = 0xd5382000
	mrsX0AA32    = 0xd5380100 // ID_PFR0_EL1
	mrsX0Counter = 0xd53be020 // CNTPCT_EL0
	msrDaif      = 0xd5034fdf
	svc          = 0xd4000001
)

// ones is a CPU on which all bits of every register are set.
func ones(int) uint64 { return ^uint64(0) }

func TestEmulateMRS(t *testing.T) {
	for _, c := range []struct {
		name        string
		instruction uint32
		reg         int // the register written; -1: none
		want        uint64
		ok          bool
	}{
		{"MIDR", mrsX0MIDR, 0, ^uint64(0), true},
		{"MPIDR", mrsX3MPIDR, 3, 1 << 31, true},
		{"ISAR0 without TME, TLB and the RES0 field", mrsX1ISAR0, 1, 0xf0fffffff0fffff0 &^ (0xf << 56), true},
		{"to the zero register", mrsXzrISAR0, -1, 0, true},
		{"PFR0: FP, AdvSIMD, DIT, EL1 and EL0", mrsX2PFR0, 2, 0x000f_0000_00ff_0011, true},
		{"MMFR1 is zero", mrsX3MMFR1, 3, 0, true},
		{"a register that is not for identification", mrsX0TTBR0, -1, 0, false},
		{"one of AArch32", mrsX0AA32, -1, 0, false},
		{"the physical counter", mrsX0Counter, -1, 0, false},
		{"msr", msrDaif, -1, 0, false},
		{"svc", svc, -1, 0, false},
	} {
		var f arch.Frame
		for i := range f {
			f[i] = 0x1111
		}
		want := f
		iss, ok := mrsSyndrome(c.instruction)
		ok = ok && emulateMRS(&f, iss, ones)
		if c.ok {
			want[slotPC] += 4
		}
		if c.reg >= 0 {
			want[c.reg] = c.want
		}
		if ok != c.ok || f != want {
			t.Errorf("%s: %v, r0-r3 %#x, pc %#x; want %v, %#x, %#x", c.name, ok, f[:4], f[slotPC], c.ok, want[:4], want[slotPC])
		}
	}
	// A write (direction 0) must not be taken for a read.
	iss, _ := mrsSyndrome(mrsX0MIDR)
	if emulateMRS(new(arch.Frame), iss&^issRead, ones) {
		t.Error("msr to MIDR_EL1 was emulated")
	}
}

// TestHWCap compares with what Linux reports on two CPUs, without EVTSTRM: there is no
// event stream here.
func TestHWCap(t *testing.T) {
	a53 := map[int]uint64{idPFR0: 0x2222, idISAR0: 0x11120}
	n1 := map[int]uint64{ // Neoverse N1
		idPFR0: 0x1100000010111112, idPFR1: 0x20, idISAR0: 0x100010211120, idISAR1: 0x100001,
	}
	for _, c := range []struct {
		name string
		regs map[int]uint64
		want uint64
	}{
		{"cortex-a53", a53, 0x8fb},
		{"neoverse-n1", n1, 0x10119ffb},
	} {
		caps, caps2 := hwcap(func(i int) uint64 { return c.regs[i] })
		if caps != c.want || caps2 != 0 {
			t.Errorf("%s: %#x, %#x; want %#x, 0", c.name, caps, caps2, c.want)
		}
	}
	// Without FP and SIMD: 15 means absent in these fields, not a late version.
	if caps, _ := hwcap(func(i int) uint64 { return map[int]uint64{idPFR0: 0xff0011}[i] }); caps != 1<<11 {
		t.Errorf("without FP: %#x, want CPUID only", caps)
	}
}
