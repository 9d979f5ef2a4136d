//go:build tamago && arm64

package arm64

// Registers read at start-up or seldom; defined in sysreg.s.
func readCTR() uint64
func readMIDR() uint64
func readMPIDR() uint64
func readREVIDR() uint64
func readPFR0() uint64
func readPFR1() uint64
func readDFR0() uint64
func readISAR0() uint64
func readISAR1() uint64
func readMMFR0() uint64
func readMMFR1() uint64
func readMMFR2() uint64
func readTTBR1() uint64
func readISAR2() uint64

// yield is the hint YIELD.
func yield()

// barrier is DSB SY, ISB.
func barrier()

// readID reads the identification register with index i in idRegs.
func readID(i int) uint64 {
	switch i {
	case idMIDR:
		return readMIDR()
	case idREVIDR:
		return readREVIDR()
	case idPFR0:
		return readPFR0()
	case idPFR1:
		return readPFR1()
	case idISAR0:
		return readISAR0()
	case idISAR1:
		return readISAR1()
	case idMMFR0:
		return readMMFR0()
	case idMMFR2:
		return readMMFR2()
	}
	return 0
}
