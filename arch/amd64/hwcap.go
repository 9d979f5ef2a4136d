//go:build tamago && amd64

package amd64

// HWCap is AT_HWCAP for user programs: CPUID leaf 1, EDX, as on
// Linux.
func (m *Machine) HWCap() uint64 {
	_, _, _, d := cpuid(1, 0)
	return uint64(d)
}
