package amd64

import "slices"

// This file decides what the kernel does about speculative execution. The decision is plain
// Go over CPUID and one register, because most of it cannot be seen in an emulator.
// arch/SPECULATION.md is the table of attacks, layouts and costs. Which CPU is open to
// which attack is taken from Linux 6.1 (arch/x86/kernel/cpu/common.c).

// Bits of CPUID leaf 7, EDX; leaf 7.2, EDX; and leaf 0x80000008, EBX (SDM volume 2,
// CPUID; APM volume 3, E.4).
const (
	cpuidMDClear  = 1 << 10
	cpuidSpecCtrl = 1 << 26 // IBRS and IBPB
	cpuidArchCaps = 1 << 29
	cpuidSSBD     = 1 << 31

	cpuidBHICtrl = 1 << 4

	cpuidAMDIBPB   = 1 << 12
	cpuidAMDIBRS   = 1 << 14
	cpuidAMDSSBD   = 1 << 24
	cpuidAMDSSBNo  = 1 << 26
	cpuidAMDBTCNo  = 1 << 29
	cpuidAutoIBRS  = 1 << 8 // leaf 0x80000021, EAX
	leafAMDSizes   = 0x80000008
	leafAMDFeature = 0x80000021
)

// IA32_ARCH_CAPABILITIES (SDM volume 4, table 2-2, register 10AH).
const (
	capRDCLNo  = 1 << 0
	capIBRSAll = 1 << 1
	capRSBA    = 1 << 2
	capSSBNo   = 1 << 4
	capMDSNo   = 1 << 5
	capBHINo   = 1 << 20
)

// IA32_SPEC_CTRL, IA32_PRED_CMD and EFER.
const (
	msrSpecCtrl = 0x48
	msrPredCmd  = 0x49
	msrArchCaps = 0x10a

	specIBRS    = 1 << 0
	specSSBD    = 1 << 2
	specBHIDisS = 1 << 10

	predIBPB = 1 << 0

	eferAutoIBRS = 1 << 21
)

// cpuFacts are the facts about a CPU that decideSpeculation uses.
type cpuFacts struct {
	vendor        string
	family, model uint32

	d7, d72    uint32 // CPUID 7.0 and 7.2, EDX
	bAMD, aAMD uint32 // CPUID 0x80000008 EBX, 0x80000021 EAX
	caps       uint64 // IA32_ARCH_CAPABILITIES, 0 if there is no such register
}

// readFacts reads CPUID through query, and IA32_ARCH_CAPABILITIES through msr if it is
// there.
func readFacts(query func(leaf, sub uint32) (a, b, c, d uint32), msr func(uint32) uint64) (f cpuFacts) {
	top, vb, vc, vd := query(0, 0)
	f.vendor = words(vb, vd, vc)
	a, _, _, _ := query(1, 0)
	// SDM volume 2, CPUID, figure 3-6.
	f.family, f.model = a>>8&15, a>>4&15
	if f.family == 6 || f.family == 15 {
		f.model |= a >> 12 & 0xf0
	}
	if f.family == 15 {
		f.family += a >> 20 & 0xff
	}
	if top >= 7 {
		var subs uint32
		if subs, _, _, f.d7 = query(7, 0); subs >= 2 {
			_, _, _, f.d72 = query(7, 2)
		}
	}
	ext, _, _, _ := query(0x80000000, 0)
	if ext >= leafAMDSizes {
		_, f.bAMD, _, _ = query(leafAMDSizes, 0)
	}
	if ext >= leafAMDFeature {
		f.aAMD, _, _, _ = query(leafAMDFeature, 0)
	}
	if f.d7&cpuidArchCaps != 0 {
		f.caps = msr(msrArchCaps)
	}
	return f
}

// openTo are the attacks that a CPU is open to if nothing is done.
type openTo struct {
	Meltdown, SpectreV2, SSB, MDS, L1TF, BHI, Retbleed bool
}

// Models of family 6 that differ from other Intel CPUs.
var (
	inOrder    = []uint32{0x1c, 0x26, 0x27, 0x35, 0x36} // Bonnell, Saltwell: no speculation
	silvermont = []uint32{0x37, 0x4a, 0x4d, 0x4c}       // Silvermont and Airmont
	airmont    = []uint32{0x5a, 0x75}                   // Airmont of phones and network devices
	goldmont   = []uint32{0x5c, 0x5f, 0x7a}
	xeonPhi    = []uint32{0x57, 0x85}
	yonah      = []uint32{0x0e}
	// Skylake to Rocket Lake. They predict returns as indirect jumps when the return stack
	// is empty.
	skylakes = []uint32{0x4e, 0x5e, 0x55, 0x8e, 0x9e, 0x66, 0x7e, 0xa5, 0xa6, 0x8a, 0xa7}
)

// openTo returns the attacks that the CPU is open to.
func (f *cpuFacts) openTo() (o openTo) {
	is := func(lists ...[]uint32) bool {
		return f.vendor == "GenuineIntel" && f.family == 6 && slices.Contains(slices.Concat(lists...), f.model)
	}
	amd := f.vendor == "AuthenticAMD" || f.vendor == "HygonGenuine"
	zhaoxin := (f.vendor == "CentaurHauls" || f.vendor == "  Shanghai  ") && f.family == 7
	if is(inOrder) || f.vendor == "GenuineIntel" && f.family == 5 || f.vendor == "CentaurHauls" && f.family == 5 {
		return o
	}
	// Families 0xf to 0x12: from K8 to Llano.
	early := amd && f.family >= 0xf && f.family <= 0x12
	o.SpectreV2 = !zhaoxin
	o.SSB = f.caps&capSSBNo == 0 && f.bAMD&cpuidAMDSSBNo == 0 && !early && !is(silvermont, xeonPhi, yonah) && !is([]uint32{0x75})
	o.MDS = !amd && f.caps&capMDSNo == 0 && !is(goldmont)
	o.Meltdown = !amd && f.caps&capRDCLNo == 0
	o.L1TF = o.Meltdown && !is(silvermont, airmont, goldmont, xeonPhi)
	o.BHI = f.vendor == "GenuineIntel" && f.caps&capIBRSAll != 0 && f.caps&capBHINo == 0
	o.Retbleed = is(skylakes) || f.caps&capRSBA != 0 ||
		amd && f.family >= 0x15 && f.family <= 0x18 && f.bAMD&cpuidAMDBTCNo == 0
	return o
}

// speculation says what the kernel does on a CPU.
type speculation struct {
	separate bool   // use the separate layout only, because of Meltdown
	specCtrl uint64 // value for IA32_SPEC_CTRL at start-up; 0: not written
	autoIBRS bool   // set EFER.AIBRSE at start-up
	entry    bool   // write IBRS at each entry to the kernel
	ibpb     bool   // flush the branch predictors between users
	verw     bool   // clear the CPU's buffers at each return to user mode

	on   []string // mitigations that are on, for the banner; separate is not among them
	open []string // attacks that the CPU stays open to
}

// Words of the kernel argument mitigations= that turn a mitigation on for every CPU.
const (
	forceIBPB = "ibpb"
	forceIBRS = "ibrs"
	forceVERW = "verw"
	forceSSBD = "ssbd"
)

// decideSpeculation makes the decision. force are the words of the kernel argument
// mitigations=. The word "off" turns off all that is not forced by another word.
func decideSpeculation(f *cpuFacts, force []string) (s speculation) {
	o := f.openTo()
	off := slices.Contains(force, "off")
	forced := func(what string) bool { return slices.Contains(force, what) }
	do := func(yes bool, what string) bool {
		if yes {
			s.on = append(s.on, what)
		}
		return yes
	}
	stays := func(yes bool, what string) {
		if yes {
			s.open = append(s.open, what)
		}
	}
	may := func(yes bool) bool { return yes && !off }

	// Meltdown: no kernel address translates while user code runs. (L1TF needs no
	// mitigation: an entry that is not present is 0, or names a frame of the process
	// itself.)
	s.separate = may(o.Meltdown)
	stays(o.Meltdown && !s.separate, "Meltdown")

	// Spectre v2, user against kernel: the kernel must not use predictions made in user
	// mode. Enhanced or automatic IBRS is switched on once. Older CPUs need a write of IBRS
	// after each entry.
	hasIBRS := f.d7&cpuidSpecCtrl != 0 || f.bAMD&cpuidAMDIBRS != 0
	switch {
	case may(o.SpectreV2 && f.caps&capIBRSAll != 0):
		s.specCtrl |= specIBRS
		do(true, "enhanced IBRS")
	case may(o.SpectreV2 && f.aAMD&cpuidAutoIBRS != 0):
		s.autoIBRS = do(true, "automatic IBRS")
	case may(o.SpectreV2 && hasIBRS) || forced(forceIBRS):
		s.entry = do(true, "IBRS at entry")
	default:
		stays(o.SpectreV2, "Spectre v2 (kernel)")
	}
	intel := f.vendor == "GenuineIntel"
	stays(o.Retbleed && !(intel && (s.entry || s.specCtrl&specIBRS != 0)), "Retbleed")
	if may(o.BHI && f.d72&cpuidBHICtrl != 0) {
		s.specCtrl |= specBHIDisS
		do(true, "BHI_DIS_S")
	} else {
		stays(o.BHI, "BHI")
	}

	// Spectre v2, user against user.
	hasIBPB := f.d7&cpuidSpecCtrl != 0 || f.bAMD&cpuidAMDIBPB != 0
	s.ibpb = do(may(o.SpectreV2 && hasIBPB) || forced(forceIBPB), "IBPB between users")
	stays(o.SpectreV2 && !s.ibpb, "Spectre v2 (users)")

	// MDS: VERW clears the buffers if the microcode supports that.
	s.verw = do(may(o.MDS && f.d7&cpuidMDClear != 0) || forced(forceVERW), "VERW")
	stays(o.MDS && !s.verw, "MDS")

	// Speculative store bypass lets code in a sandbox read the rest of its own process. The
	// mitigation costs every program, so it is on only if asked for.
	hasSSBD := f.d7&cpuidSSBD != 0 || f.bAMD&cpuidAMDSSBD != 0
	if forced(forceSSBD) && hasSSBD {
		s.specCtrl |= specSSBD
		do(true, "SSBD")
	} else {
		stays(o.SSB, "SSB")
	}
	if s.entry {
		s.specCtrl |= specIBRS // each entry writes the whole register
	}
	return s
}
