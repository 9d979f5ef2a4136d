package arm64

import "slices"

// The decisions about the attacks that a core's speculation allows. This is plain Go over
// identification registers and answers of the firmware, because most of it cannot be
// observed in an emulator. arch/SPECULATION.md has a table of attacks, layouts and costs.
// The lists of vulnerable cores are those of Linux 6.1 (arch/arm64/kernel/cpufeature.c,
// cpu_errata.c, proton-pack.c).

// coreFacts has the facts that decideSpeculation uses.
type coreFacts struct {
	midr, pfr0, pfr1, mmfr1, mmfr2, isar2 uint64

	// firmware asks for an SMCCC function (DEN 0028, SMCCC_ARCH_FEATURES). -1: it does not
	// exist. 0: it exists and is needed. 1: it exists and this core does not need it. -2:
	// it does not exist and is not needed.
	firmware func(function uint32) int32
}

// SMCCC functions (DEN 0028, section 7).
const (
	smcccFeatures    = 0x80000001
	smcccWorkaround1 = 0x80008000 // flush branch predictors
	smcccWorkaround2 = 0x80007fff // no speculative store bypass; on from reset
	smcccWorkaround3 = 0x80003fff // flush branch predictors and clear the branch history
)

// Implementer and part number of MIDR_EL1, as impl<<16 | part.
const (
	implArm, implBroadcom, implCavium, implHiSilicon = 0x41 << 16, 0x42 << 16, 0x43 << 16, 0x48 << 16
	implNVIDIA, implQualcomm, implAmpere             = 0x4e << 16, 0x51 << 16, 0xc0 << 16

	cortexA35, cortexA53, cortexA55 = implArm | 0xd04, implArm | 0xd03, implArm | 0xd05
	cortexA57, cortexA72            = implArm | 0xd07, implArm | 0xd08
	cortexA73, cortexA75            = implArm | 0xd09, implArm | 0xd0a
	cortexA76, cortexA76AE          = implArm | 0xd0b, implArm | 0xd0e
	cortexA77, cortexA78            = implArm | 0xd0d, implArm | 0xd41
	cortexA78AE, cortexA78C         = implArm | 0xd42, implArm | 0xd4b
	cortexA710, cortexA715          = implArm | 0xd47, implArm | 0xd4d
	cortexA720, cortexA510          = implArm | 0xd81, implArm | 0xd46
	cortexA520                      = implArm | 0xd80
	cortexX1, cortexX1C             = implArm | 0xd44, implArm | 0xd4c
	cortexX2, cortexX3              = implArm | 0xd48, implArm | 0xd4e
	neoverseN1, neoverseN2          = implArm | 0xd0c, implArm | 0xd49
	neoverseV1, neoverseV2          = implArm | 0xd40, implArm | 0xd4f
	cortexX4, cortexX925            = implArm | 0xd82, implArm | 0xd85
	neoverseV3, neoverseV3AE        = implArm | 0xd84, implArm | 0xd83
	brahmaB53, vulcan               = implBroadcom | 0x100, implBroadcom | 0x516
	thunderX2, tsv110               = implCavium | 0x0af, implHiSilicon | 0xd01
	carmel, ampere1                 = implNVIDIA | 0x004, implAmpere | 0xac3
	kryo2Gold, kryo2Silver          = implQualcomm | 0x800, implQualcomm | 0x801
	kryo3Gold, kryo3Silver          = implQualcomm | 0x802, implQualcomm | 0x803
	kryo4Gold, kryo4Silver          = implQualcomm | 0x804, implQualcomm | 0x805
)

var (
	// safeFromMeltdown are safe cores that have no CSV3, or may not have it.
	safeFromMeltdown = []uint64{vulcan, thunderX2, brahmaB53, cortexA35, cortexA53, cortexA55, cortexA57, cortexA72, cortexA73,
		tsv110, carmel, kryo2Gold, kryo2Silver, kryo3Silver, kryo4Silver}
	// inOrder are cores whose predictors need no measures.
	inOrder = []uint64{cortexA35, cortexA53, cortexA55, brahmaB53, kryo2Silver, kryo3Silver, kryo4Silver}
	// safeFromV2 and safeFromBHB are safe in addition to inOrder.
	safeFromV2  = []uint64{tsv110}
	safeFromBHB = []uint64{cortexA510, cortexA520}
	// firmwareBHB are cores whose branch history only firmware can clear.
	firmwareBHB = []uint64{cortexA73, cortexA75, kryo2Gold, kryo3Gold}
)

// historyLoops is how many branches fill the branch history of a core.
var historyLoops = map[uint64]int{
	cortexX3: 132, neoverseV2: 132,
	cortexA715: 38, cortexA720: 38,
	cortexA78: 32, cortexA78AE: 32, cortexA78C: 32, cortexX1: 32, cortexX1C: 32, cortexA710: 32, cortexX2: 32, neoverseN2: 32, neoverseV1: 32,
	cortexA76: 24, cortexA76AE: 24, cortexA77: 24, neoverseN1: 24, kryo4Gold: 24,
	ampere1:   11,
	cortexA57: 8, cortexA72: 8,
}

// clearing is the way in which the branch history is cleared at each entry from user mode.
type clearing int

const (
	clearNothing     clearing = iota
	clearLoop                 // by branches
	clearInstruction          // by CLRBHB
	clearFirmware             // by workaround 3
)

// speculation has the measures on a core.
type speculation struct {
	history clearing
	loops   int    // number of branches for clearLoop
	between uint32 // SMCCC function that is called between users; 0: none

	on   []string // the measures, for the banner
	open []string // the attacks that are possible on the core
}

// decideSpeculation decides on the measures. force has the words of the kernel argument
// mitigations=. off turns all measures off, except those whose own words are given too.
func decideSpeculation(f *coreFacts, force []string) (s speculation) {
	core := core(f.midr)
	at := func(reg uint64, shift uint) uint64 { return reg >> shift & 15 }
	is := func(lists ...[]uint64) bool { return slices.Contains(slices.Concat(lists...), core) }
	off := slices.Contains(force, "off")
	forced := func(what string) bool { return slices.Contains(force, what) }
	available := func(function uint32) bool { return f.firmware(function) >= 0 }
	needed := func(function uint32) bool { return f.firmware(function) == 0 }

	// Meltdown. E0PD makes all EL0 accesses to addresses of TTBR1's half fail before the
	// look-up, with both layouts. Without it no layout helps: TTBR1 has the kernel's tables
	// while user code runs, and its entries are global.
	if at(f.pfr0, 60) == 0 && !is(safeFromMeltdown) {
		if at(f.mmfr2, 60) != 0 {
			s.on = append(s.on, "E0PD (Meltdown)")
		} else {
			s.open = append(s.open, "Meltdown")
		}
	}

	// Spectre v2. If CSV2 says so, predictions are tagged with the context in which they
	// were made. Otherwise firmware can flush them; it answers 1 for a core that does not
	// need that.
	csv2 := at(f.pfr0, 56)
	switch v2 := csv2 == 0 && !is(inOrder, safeFromV2) && f.firmware(smcccWorkaround1) != 1; {
	case v2 && !off && needed(smcccWorkaround1), forced("ibpb") && available(smcccWorkaround1):
		s.between = smcccWorkaround1
		s.on = append(s.on, "workaround 1 between users")
	case forced("ibpb"):
		s.between = smcccFeatures // to measure the cost of a call of the firmware
		s.on = append(s.on, "a firmware call between users")
	case v2:
		s.open = append(s.open, "Spectre v2")
	}

	// Speculative store bypass. PSTATE.SSBS is 0 in the kernel, because SCTLR_EL1.DSSBS is
	// 0. It is 0 in a program too until the program sets it. Without SSBS, firmware that
	// knows the attack has prevented it since reset.
	switch {
	case is(inOrder):
	case at(f.pfr1, 4) != 0:
		s.on = append(s.on, "SSBS")
	case f.firmware(smcccWorkaround2) == -1:
		s.open = append(s.open, "SSB")
	}

	// Spectre-BHB. Before CSV2_3, the branch history of user mode selects among the
	// kernel's own predictions, whatever CSV2 says.
	if clear, loops := f.history(core); csv2 < 3 && at(f.mmfr1, 60) == 0 && !is(inOrder, safeFromBHB) && f.firmware(smcccWorkaround3) != 1 {
		switch {
		case off && !forced("bhb"), clear == clearNothing:
			s.open = append(s.open, "Spectre-BHB")
		default:
			s.history, s.loops = clear, loops
		}
	}
	if forced("bhb") && s.history == clearNothing {
		s.history, s.loops = clearLoop, 32
	}
	switch s.history {
	case clearLoop:
		s.on = append(s.on, "branch history loop at entry")
	case clearInstruction:
		s.on = append(s.on, "CLRBHB at entry")
	case clearFirmware:
		s.on = append(s.on, "workaround 3 at entry")
	}
	return s
}

// history returns how the core's branch history can be cleared.
func (f *coreFacts) history(core uint64) (c clearing, loops int) {
	switch loops := historyLoops[core]; {
	case f.isar2>>28&15 != 0:
		return clearInstruction, 0
	case loops != 0:
		return clearLoop, loops
	case f.firmware(smcccWorkaround3) == 0 && slices.Contains(firmwareBHB, core):
		return clearFirmware, 0
	}
	return clearNothing, 0
}
