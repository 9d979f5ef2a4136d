//go:build tamago && arm64

package arm64

import "encoding/binary"

// rndr returns a number from the CPU's generator (FEAT_RNG, RNDR). ok is false if the
// generator had no number in ten tries. Defined in random.s. It must not be called without
// FEAT_RNG.
func rndr() (v uint64, ok bool)

// Random fills b from the CPU's generator. It returns false if there is no generator, or if
// it fails. Then the kernel only has the seed in the device tree (rng-seed) and Jitter.
func (m *Machine) Random(b []byte) bool {
	if readISAR0()>>60 == 0 {
		return false
	}
	for len(b) > 0 {
		v, ok := rndr()
		if !ok {
			return false
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], v)
		b = b[copy(b, word[:]):]
	}
	return true
}

// Jitter returns a number whose low bits depend on the duration of some device reads. It
// has little entropy, so it must be mixed with more.
func (m *Machine) Jitter() uint64 {
	v := readCNTVCT()
	for range 16 {
		v = v<<7 | v>>57
		v ^= readCNTVCT()
		if m.uart != nil {
			v += uint64(m.uart.port.status())
		}
	}
	return v
}
