package amd64

import "strings"

// Features are the features of the CPU that this package uses.
type Features struct {
	Name     string // brand string, or vendor
	SMEP     bool   // the kernel cannot execute user pages
	SMAP     bool   // the kernel cannot access user pages either
	UMIP     bool   // user code cannot read descriptor-table registers
	PCID     bool   // PCID and INVPCID; neither is used without the other
	FSGSBase bool
	XSAVE    bool
	XCR0     uint64 // state components to enable: those that fit into a u-area
	FPUBytes int    // bytes of UArea.FPU that FXSAVE or XSAVE fills
	Page1GB  bool
	Deadline bool // LAPIC timer with TSC deadline
	RDRAND   bool
	RDSEED   bool
	TSCHz    uint64 // from CPUID; 0 if the CPU does not tell
	LAPICHz  uint64 // timer input clock, from CPUID; 0 if the CPU does not tell
}

// State components, SDM volume 1, 13.1. AVX-512's three are enabled together or not at all,
// and need AVX.
const (
	xcr0SSE    = 1 << 1
	xcr0Base   = 1<<0 | xcr0SSE // x87 and SSE
	xcr0AVX    = 1 << 2
	xcr0AVX512 = 7 << 5
)

// fpuSpace is the room for the XSAVE image in a u-area.
const fpuSpace = 4096 - offFPU

// decodeFeatures reads CPUID through query (SDM volume 2, CPUID).
func decodeFeatures(query func(leaf, sub uint32) (a, b, c, d uint32)) Features {
	var f Features
	bit := func(v uint32, n uint) bool { return v>>n&1 != 0 }
	max, vb, vc, vd := query(0, 0)
	f.Name = words(vb, vd, vc)

	_, _, c1, _ := query(1, 0)
	f.Deadline = bit(c1, 24)
	f.XSAVE = bit(c1, 26)
	f.RDRAND = bit(c1, 30)
	pcid := bit(c1, 17)
	hypervisor := bit(c1, 31)

	if max >= 7 {
		_, b, c, _ := query(7, 0)
		f.FSGSBase = bit(b, 0)
		f.SMEP = bit(b, 7)
		f.PCID = pcid && bit(b, 10)
		f.RDSEED = bit(b, 18)
		f.SMAP = bit(b, 20)
		f.UMIP = bit(c, 2)
	}
	if f.XSAVE && max >= 0xd {
		f.XCR0, f.FPUBytes = xstate(query)
	} else {
		f.XSAVE, f.FPUBytes = false, legacyFPU
	}
	if max >= 0x15 {
		// TSC Hz = crystal * b / a; the LAPIC timer counts the crystal's clock.
		if a, b, c, _ := query(0x15, 0); a != 0 && b != 0 && c != 0 {
			f.TSCHz = uint64(c) * uint64(b) / uint64(a)
			f.LAPICHz = uint64(c)
		}
	}
	if hypervisor && f.TSCHz == 0 {
		// The timing leaf of VMware, which KVM and QEMU offer too: kHz.
		if top, _, _, _ := query(0x40000000, 0); top >= 0x40000010 {
			a, b, _, _ := query(0x40000010, 0)
			f.TSCHz, f.LAPICHz = uint64(a)*1000, uint64(b)*1000
		}
	}
	ext, _, _, _ := query(0x80000000, 0)
	if ext >= 0x80000001 {
		_, _, _, d := query(0x80000001, 0)
		f.Page1GB = bit(d, 26)
	}
	if ext >= 0x80000004 {
		name := ""
		for i := uint32(0x80000002); i <= 0x80000004; i++ {
			name += words(query(i, 0))
		}
		if name = strings.TrimSpace(name); name != "" {
			f.Name = name
		}
	}
	return f
}

// xstate picks the state components to enable: those whose image, in the standard format,
// ends inside a u-area. size is where the last image ends.
func xstate(query func(leaf, sub uint32) (a, b, c, d uint32)) (xcr0 uint64, size int) {
	supported, _, _, _ := query(0xd, 0)
	end := func(n uint32) int {
		size, offset, _, _ := query(0xd, n)
		return int(offset + size)
	}
	fits := func(n uint32) bool { return supported>>n&1 != 0 && end(n) <= fpuSpace }
	xcr0, size = xcr0Base, legacyFPU+fpuHeader
	if !fits(2) {
		return xcr0, size
	}
	xcr0, size = xcr0|xcr0AVX, max(size, end(2))
	if fits(5) && fits(6) && fits(7) {
		xcr0, size = xcr0|xcr0AVX512, max(size, end(5), end(6), end(7))
	}
	return xcr0, size
}

// words returns the text that registers hold, up to a NUL.
func words(regs ...uint32) string {
	var b []byte
	for _, r := range regs {
		b = append(b, byte(r), byte(r>>8), byte(r>>16), byte(r>>24))
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
