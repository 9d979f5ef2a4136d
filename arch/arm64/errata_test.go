package arm64

import (
	"slices"
	"testing"

	"grim/arch"
)

// MIDR_EL1 of some cores, from technical reference manuals.
const (
	midrA53r0p4 = 0x410fd034 // Raspberry Pi 3, i.MX 8M Plus, ZCU102
	midrA72r0p3 = 0x410fd083 // Raspberry Pi 4
	midrA76r3p0 = 0x413fd0b0
	midrN1r3p1  = 0x413fd0c1
)

// CTR_EL0 of a Cortex-A53 and a Neoverse N1.
const (
	ctrA53 = 0x84448004
	ctrN1  = 0xb444c004 // IDC, DIC
)

// TestNeedsCIVAC uses values of MIDR_EL1 from technical reference manuals.
func TestNeedsCIVAC(t *testing.T) {
	for midr, want := range map[uint64]bool{
		0x410fd030:  true, // Cortex-A53 r0p0
		midrA53r0p4: true,
		0x410fd035:  false, // later
		0x411fd030:  false, // r1p0
		midrA72r0p3: false,
		0x420fd034:  false, // another implementer's part with that number
		0x414fd0b1:  false, // Cortex-A76 r4p1
	} {
		if got := needsCIVAC(midr); got != want {
			t.Errorf("MIDR %#x: %v", midr, got)
		}
	}
}

// TestNeedsTwice: errata 1286807 and its like, by core and revision.
func TestNeedsTwice(t *testing.T) {
	for midr, want := range map[uint64]bool{
		midrA53r0p4: false,
		midrA72r0p3: false,
		midrA76r3p0: true,
		0x414fd0b1:  true, // Cortex-A76 r4p1 has a later erratum of the kind
		midrN1r3p1:  true,
		0x411fd461:  true,  // Cortex-A510 r1p1
		0x411fd462:  false, // r1p2
		0x420fd0b0:  false, // somebody else's part of that number
	} {
		if got := needsTwice(midr); got != want {
			t.Errorf("MIDR %#x: %v", midr, got)
		}
	}
}

// TestCoreRules: what one CPU of the machine asks for is done on all, and programs are told
// of lines that are the smallest of any, wherever they run. Broken by: the boot CPU's CTR_EL0
// for all; the last one's.
func TestCoreRules(t *testing.T) {
	type cpu struct{ midr, ctr uint64 }
	const (
		smallD = ctrA53&^(15<<ctrDminAt) | 3<<ctrDminAt
		smallI = ctrA53&^15 | 3
		vipt   = ctrA53&^(3<<ctrL1IpAt) | 3<<ctrL1IpAt // PIPT, beside the A53's VIPT
		noCWG  = ctrA53 &^ (15 << ctrCWGAt)
	)
	a53 := cpu{midrA53r0p4, ctrA53}
	for _, c := range []struct {
		name string
		cpus []cpu
		want coreRules
	}{
		{"all alike", []cpu{a53, a53}, coreRules{ctr: ctrA53, civac: true}},
		{"smaller data lines", []cpu{{midrA72r0p3, ctrA53}, {midrA72r0p3, smallD}}, coreRules{ctr: smallD, differ: true}},
		{"smaller instruction lines", []cpu{{midrA72r0p3, smallI}, {midrA72r0p3, ctrA53}}, coreRules{ctr: smallI, differ: true}},
		{"both", []cpu{{midrA72r0p3, smallI}, {midrA72r0p3, smallD}}, coreRules{ctr: smallI&^(15<<ctrDminAt) | 3<<ctrDminAt, differ: true}},
		{"index", []cpu{{midrA72r0p3, vipt}, {midrA72r0p3, ctrA53}}, coreRules{ctr: ctrA53, differ: true}},
		{"granule unknown", []cpu{{midrA72r0p3, ctrA53}, {midrA72r0p3, noCWG}}, coreRules{ctr: noCWG, differ: true}},
		{"one is coherent", []cpu{{midrA72r0p3, ctrA53 | ctrIDC | ctrDIC}, a53}, coreRules{ctr: ctrA53, differ: true, civac: true}},
		{"one asks for TLB invalidations twice", []cpu{{midrA72r0p3, ctrA53}, {midrA76r3p0, ctrA53}}, coreRules{ctr: ctrA53, twice: true}},
		{"stale fetches", []cpu{{midrN1r3p1, ctrN1}}, coreRules{ctr: ctrN1, differ: true, twice: true, stale: true}},
		{"the same core, not said to be coherent", []cpu{{midrN1r3p1, ctrN1 &^ ctrDIC}}, coreRules{ctr: ctrN1 &^ ctrDIC, twice: true}},
	} {
		for range 2 {
			var r coreRules
			for _, p := range c.cpus {
				r.join(p.midr, p.ctr)
			}
			c.want.joined = true
			if r != c.want {
				t.Errorf("%s: %+v, want %+v", c.name, r, c.want)
			}
			slices.Reverse(c.cpus) // whichever is the boot CPU
		}
	}
	coherent, stale := coreRules{ctr: ctrA53 | ctrIDC | ctrDIC}, coreRules{ctr: ctrN1, stale: true}
	if !coherent.coherent() || stale.coherent() || (&coreRules{ctr: ctrA53 | ctrDIC}).coherent() {
		t.Error("who needs maintenance")
	}
	if got := stale.shown(); got != 0x9444c00a {
		t.Errorf("a Neoverse N1 shows %#x, want DIC hidden and lines of a page", got)
	}
	if got := coherent.line(); got != 64 {
		t.Errorf("line of %d bytes", got)
	}
}

// TestEmulateCTR: the read is answered, and nothing else is.
func TestEmulateCTR(t *testing.T) {
	for instruction, reg := range map[uint32]int{
		0xd53b0023: 3,  // mrs x3, ctr_el0
		0xd53b003f: 31, // mrs xzr, ctr_el0
		0xd53b00e0: -1, // mrs x0, dczid_el0
		0xd5380000: -1, // mrs x0, midr_el1
	} {
		var f, want arch.Frame
		iss, _ := mrsSyndrome(instruction)
		ok := emulateCTR(&f, iss, 0x1234)
		if reg >= 0 {
			want[slotPC] = 4
		}
		if reg == 3 {
			want[3] = 0x1234
		}
		if ok != (reg >= 0) || f != want {
			t.Errorf("%#x: %v, %v", instruction, ok, f)
		}
	}
}

// TestReleaseWindows: a word of a spin table outside of RAM is mapped by itself.
func TestReleaseWindows(t *testing.T) {
	cpus := []Processor{{0, "spin-table", 0xd8}, {1, "spin-table", 0x10e0}, {2, "psci", 0}, {3, "spin-table", 0x8000_0000}}
	ram := []Span{{0x1000, 0x1000}, {0x10000, 0x1000}}
	if got, want := releaseWindows(cpus, ram), []Span{{0xd8, 8}, {0x8000_0000, 8}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
