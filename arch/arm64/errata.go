package arm64

// needsCIVAC reports whether the CPU with this MIDR_EL1 needs DC CIVAC in place of DC CVAU.
// A Cortex-A53 up to r0p4 may lose a store of another CPU or device to a line that is
// cleaned but not invalidated, unless firmware has set a bit that EL1 cannot read (errata
// 819472, 824069, 827319 of r0p0 to r0p2 and 855873 of r0p3 and r0p4; Software Developers
// Errata Notice ARM-EPM-048406).
func needsCIVAC(midr uint64) bool {
	const (
		part  = 0xff<<24 | 0xfff<<4
		a53   = 0x41<<24 | 0xd03<<4
		fixed = 0<<4 | 5 // variant, revision
	)
	return midr&part == a53 && midr>>20&15<<4|midr&15 < fixed
}
