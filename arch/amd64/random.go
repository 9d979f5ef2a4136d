//go:build tamago && amd64

package amd64

import (
	"encoding/binary"
	"math"
)

// Random fills b with random bytes from RDSEED or RDRAND. It returns false if the CPU has
// neither or they fail; the kernel then has the boot loader's seed and Jitter only.
// TamaGo's amd64 package has these instructions too, but it brings an entry point and page
// tables of its own.
func (m *Machine) Random(b []byte) bool {
	draw := rdrand
	switch {
	case m.Features.RDSEED:
		draw = func() (uint64, bool) {
			if v, ok := rdseed(); ok {
				return v, true
			}
			if !m.Features.RDRAND { // RDSEED may run dry, RDRAND does not
				return 0, false
			}
			return rdrand()
		}
	case !m.Features.RDRAND:
		return false
	}
	for len(b) > 0 {
		var word [8]byte
		v, ok := draw()
		// Some AMD CPUs fail after a resume: they return all ones, and success.
		for try := 0; !ok || v == math.MaxUint64; v, ok = draw() {
			if try++; try == 10 { // SDM volume 1, 7.3.17
				return false
			}
		}
		binary.LittleEndian.PutUint64(word[:], v)
		b = b[copy(b, word[:]):]
	}
	return true
}

// Jitter returns a number whose low bits depend on how long some loads took. Each call has
// little entropy, so it must be mixed with more.
func (m *Machine) Jitter() uint64 {
	v := rdtsc()
	for range 16 {
		v = v<<7 | v>>57
		v ^= rdtsc() + uint64(m.apicRead(lapicCurrent))
	}
	return v
}
