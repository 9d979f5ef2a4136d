//go:build tamago && arm64

package arm64

// rndr returns a number from the CPU's generator (FEAT_RNG, RNDR); ok is false
// when it had none in ten tries. Defined in random.s; undefined without FEAT_RNG.
func rndr() (v uint64, ok bool)

// HasRandom reports whether Random can ever work.
func HasRandom() bool { return readISAR0()>>60 != 0 }

// Random fills b from the CPU's generator, and reports whether all of it came
// from there. What seed the loader left is in the device tree (rng-seed).
func Random(b []byte) bool {
	if !HasRandom() {
		return false
	}
	for i := 0; i < len(b); i += 8 {
		v, ok := rndr()
		if !ok {
			return false
		}
		for j := i; j < i+8 && j < len(b); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return true
}
