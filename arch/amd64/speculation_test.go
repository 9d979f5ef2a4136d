package amd64

import (
	"strings"
	"testing"
)

func TestDecideSpeculation(t *testing.T) {
	intel := func(model uint32, d7, d72 uint32, caps uint64) cpuFacts {
		return cpuFacts{vendor: "GenuineIntel", family: 6, model: model, d7: d7, d72: d72, caps: caps}
	}
	amd := func(family, b, a uint32) cpuFacts {
		return cpuFacts{vendor: "AuthenticAMD", family: family, bAMD: b, aAMD: a}
	}
	const micro = cpuidSpecCtrl | cpuidMDClear | cpuidSSBD // a microcode of 2019 and later
	for _, c := range []struct {
		name  string
		f     cpuFacts
		force string
		spec  uint64 // SPEC_CTRL
		on    string
		open  string
	}{
		{"QEMU's default under TCG (K8)", amd(15, 0, 0), "", 0, "", "Spectre v2 (kernel), Spectre v2 (users)"},
		{"Haswell as made", intel(0x3c, 0, 0, 0), "", 0, "separate layout (Meltdown)",
			"Spectre v2 (kernel), Spectre v2 (users), MDS, SSB"},
		{"Haswell with microcode", intel(0x3c, micro, 0, 0), "", specIBRS,
			"separate layout (Meltdown), IBRS at entry, IBPB between users, VERW", "SSB"},
		{"the same, off", intel(0x3c, micro, 0, 0), "off", 0, "",
			"Meltdown, Spectre v2 (kernel), Spectre v2 (users), MDS, SSB"},
		{"Skylake with microcode", intel(0x5e, micro, 0, 0), "ssbd", specIBRS | specSSBD,
			"separate layout (Meltdown), IBRS at entry, IBPB between users, VERW, SSBD", ""},
		{"Skylake as made", intel(0x5e, 0, 0, 0), "ssbd", 0, "separate layout (Meltdown)",
			"Spectre v2 (kernel), Retbleed, Spectre v2 (users), MDS, SSB"},
		{"Cascade Lake", intel(0x55, micro|cpuidArchCaps, 0, capRDCLNo|capIBRSAll|capMDSNo), "", specIBRS,
			"enhanced IBRS, IBPB between users", "BHI, SSB"},
		{"Sapphire Rapids", intel(0x8f, micro|cpuidArchCaps, cpuidBHICtrl, capRDCLNo|capIBRSAll|capMDSNo), "", specIBRS | specBHIDisS,
			"enhanced IBRS, BHI_DIS_S, IBPB between users", "SSB"},
		{"with BHI_NO and SSB_NO", intel(0xad, micro|cpuidArchCaps, cpuidBHICtrl, capRDCLNo|capIBRSAll|capMDSNo|capBHINo|capSSBNo), "", specIBRS,
			"enhanced IBRS, IBPB between users", ""},
		{"Goldmont", intel(0x5c, cpuidSpecCtrl, 0, 0), "", specIBRS,
			"separate layout (Meltdown), IBRS at entry, IBPB between users", "SSB"},
		{"Bonnell", intel(0x1c, 0, 0, 0), "", 0, "", ""},
		{"Zen 2", amd(0x17, cpuidAMDIBPB|cpuidAMDIBRS|cpuidAMDSSBD, 0), "", specIBRS,
			"IBRS at entry, IBPB between users", "Retbleed, SSB"},
		{"Zen 4", amd(0x19, cpuidAMDIBPB|cpuidAMDIBRS|cpuidAMDSSBD|cpuidAMDBTCNo, cpuidAutoIBRS), "ssbd", specSSBD,
			"automatic IBRS, IBPB between users, SSBD", ""},
		{"Zhaoxin", cpuFacts{vendor: "CentaurHauls", family: 7}, "", 0, "separate layout (Meltdown)", "MDS, SSB"},
		{"forced", amd(15, 0, 0), "ibpb,ibrs,verw", specIBRS, "IBRS at entry, IBPB between users, VERW", ""},
		// The CPU is unknown, so the worst is assumed.
		{"unknown vendor", cpuFacts{vendor: "SomebodyElse"}, "", 0, "separate layout (Meltdown)",
			"Spectre v2 (kernel), Spectre v2 (users), MDS, SSB"},
	} {
		s := decideSpeculation(&c.f, strings.Split(c.force, ","))
		if s.separate {
			s.on = append([]string{"separate layout (Meltdown)"}, s.on...)
		}
		if on, open := strings.Join(s.on, ", "), strings.Join(s.open, ", "); on != c.on || open != c.open || s.specCtrl != c.spec {
			t.Errorf("%s: SPEC_CTRL %#x, on %q, open to %q;\nwant %#x, %q, %q", c.name, s.specCtrl, on, open, c.spec, c.on, c.open)
		}
		if got := s.separate || s.autoIBRS || s.entry || s.ibpb || s.verw || s.specCtrl != 0; got != (len(s.on) != 0) {
			t.Errorf("%s: %+v says that %q is on", c.name, s, s.on)
		}
	}
}

// Families and models of signatures that the manuals print.
func TestReadFacts(t *testing.T) {
	for _, c := range []struct {
		eax, family, model uint32
	}{
		{0x306c3, 6, 0x3c}, {0x906ed, 6, 0x9e}, {0x60fb1, 15, 0x6b}, {0x870f10, 0x17, 0x71}, {0x513, 5, 1},
	} {
		asked := false
		f := readFacts(func(leaf, sub uint32) (a, b, c2, d uint32) {
			switch leaf {
			case 0:
				return 7, 0x756e6547, 0x6c65746e, 0x49656e69
			case 1:
				return c.eax, 0, 0, 0
			case 7:
				if sub == 2 {
					t.Error("leaf 7.2 is read and is not there")
				}
				return 1, 0, 0, cpuidArchCaps
			case 0x80000000:
				return leafAMDSizes, 0, 0, 0
			case leafAMDSizes:
				return 0, cpuidAMDIBPB, 0, 0
			}
			t.Errorf("leaf %#x is read and is not there", leaf)
			return
		}, func(msr uint32) uint64 { asked = msr == msrArchCaps; return capRDCLNo })
		want := cpuFacts{vendor: "GenuineIntel", family: c.family, model: c.model, d7: cpuidArchCaps, bAMD: cpuidAMDIBPB, caps: capRDCLNo}
		if f != want || !asked {
			t.Errorf("%#x: %+v", c.eax, f)
		}
	}
}
