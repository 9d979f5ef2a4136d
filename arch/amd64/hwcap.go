//go:build tamago && amd64

package amd64

// HWCap returns AT_HWCAP for user programs: EDX of CPUID leaf 1, as on Linux.
func (m *Machine) HWCap() uint64 {
	_, _, _, d := cpuid(1, 0)
	return uint64(d)
}
