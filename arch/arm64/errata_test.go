package arm64

import "testing"

// TestNeedsCIVAC uses values of MIDR_EL1 from technical reference manuals.
func TestNeedsCIVAC(t *testing.T) {
	for midr, want := range map[uint64]bool{
		0x410fd030: true,  // Cortex-A53 r0p0
		0x410fd034: true,  // r0p4: Raspberry Pi 3, i.MX 8M Plus, ZCU102
		0x410fd035: false, // later
		0x411fd030: false, // r1p0
		0x410fd083: false, // Cortex-A72 r0p3
		0x420fd034: false, // another implementer's part with that number
		0x414fd0b1: false, // Cortex-A76 r4p1
	} {
		if got := needsCIVAC(midr); got != want {
			t.Errorf("MIDR %#x: %v", midr, got)
		}
	}
}
