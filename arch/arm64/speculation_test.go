package arm64

import (
	"strings"
	"testing"
)

func TestDecideSpeculation(t *testing.T) {
	midr := func(core uint64) uint64 { return core>>16<<24 | 15<<16 | core&0xfff<<4 | 1<<20 | 2 }
	const (
		csv2, csv3, csv23 = 1 << 56, 1 << 60, 3 << 56
		e0pd, ecbhb       = 1 << 60, 1 << 60
		clrbhb            = 1 << 28
	)
	none := map[uint32]int32{}
	new1 := map[uint32]int32{smcccWorkaround1: 0, smcccWorkaround2: 0, smcccWorkaround3: 0}
	old1 := map[uint32]int32{smcccWorkaround1: 0, smcccWorkaround2: -2}
	not1 := map[uint32]int32{smcccWorkaround1: 1, smcccWorkaround2: 1, smcccWorkaround3: 1}
	for _, c := range []struct {
		name     string
		f        coreFacts
		firmware map[uint32]int32
		force    string
		on, open string
		loops    int
	}{
		{"Cortex-A53", coreFacts{midr: midr(cortexA53)}, none, "", "", "", 0},
		{"Cortex-A72, QEMU's firmware", coreFacts{midr: midr(cortexA72)}, none, "", "branch history loop at entry", "Spectre v2, SSB", 8},
		{"Cortex-A72", coreFacts{midr: midr(cortexA72)}, new1, "", "workaround 1 between users, branch history loop at entry", "", 8},
		{"Cortex-A72 r1p0, CSV2", coreFacts{midr: midr(cortexA72), pfr0: csv2}, not1, "", "", "", 0},
		{"Cortex-A72, off", coreFacts{midr: midr(cortexA72)}, new1, "off", "", "Spectre v2, Spectre-BHB", 0},
		{"Cortex-A73", coreFacts{midr: midr(cortexA73)}, new1, "", "workaround 1 between users, workaround 3 at entry", "", 0},
		{"Cortex-A73, old firmware", coreFacts{midr: midr(cortexA73)}, old1, "", "workaround 1 between users", "Spectre-BHB", 0},
		{"Cortex-A75", coreFacts{midr: midr(cortexA75)}, new1, "", "workaround 1 between users, workaround 3 at entry", "Meltdown", 0},
		{"Cortex-A76", coreFacts{midr: midr(cortexA76), pfr0: csv2 | csv3, pfr1: 2 << 4}, none, "", "SSBS, branch history loop at entry", "", 24},
		{"Cortex-A55", coreFacts{midr: midr(cortexA55)}, none, "", "", "", 0},
		{"Cortex-A78C with CLRBHB", coreFacts{midr: midr(cortexA78C), pfr0: csv2 | csv3, pfr1: 2 << 4, isar2: clrbhb}, none, "", "SSBS, CLRBHB at entry", "", 0},
		{"ECBHB", coreFacts{midr: midr(cortexX2), pfr0: csv2 | csv3, mmfr1: ecbhb}, none, "", "", "SSB", 0},
		{"CSV2_3", coreFacts{midr: midr(implArm | 0xd85), pfr0: csv23 | csv3, pfr1: 1 << 4}, none, "", "SSBS", "", 0},
		{"QEMU's max", coreFacts{midr: midr(0x51), pfr0: csv2 | csv3, mmfr2: e0pd}, none, "", "", "SSB, Spectre-BHB", 0},
		{"unknown, with E0PD", coreFacts{midr: midr(0x47 << 16), mmfr2: e0pd}, none, "", "E0PD (Meltdown)", "Spectre v2, SSB, Spectre-BHB", 0},
		{"unknown", coreFacts{midr: midr(0x47 << 16)}, none, "", "", "Meltdown, Spectre v2, SSB, Spectre-BHB", 0},
		{"forced", coreFacts{midr: midr(cortexA53)}, none, "ibpb,bhb", "a firmware call between users, branch history loop at entry", "", 32},
		{"forced with firmware", coreFacts{midr: midr(cortexA53)}, not1, "off,ibpb", "workaround 1 between users", "", 0},
	} {
		c.f.firmware = func(function uint32) int32 {
			if v, ok := c.firmware[function]; ok {
				return v
			}
			return -1
		}
		s := decideSpeculation(&c.f, strings.Split(c.force, ","))
		if on, open := strings.Join(s.on, ", "), strings.Join(s.open, ", "); on != c.on || open != c.open || s.loops != c.loops {
			t.Errorf("%s: on %q, open to %q, %d loops;\nwant %q, %q, %d", c.name, on, open, s.loops, c.on, c.open, c.loops)
		}
		if (s.history == clearLoop) != (s.loops != 0) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}
