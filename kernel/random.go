package kernel

import (
	"encoding/binary"
	"math/rand/v2"
)

// seedRandom is the generator of machines whose CPU has none: ChaCha8, which the
// Go runtime uses too, keyed with the boot loader's seed and the jitter of the
// counter at start. It is as unpredictable as those two. (crypto/rand is no way
// out: it would ask the kernel, and its DRBG takes 32 MB of memory.)
type seedRandom struct{ c *rand.ChaCha8 }

// jitterSamples is how often the counter is read: 16 bytes of key a block, each
// sample good for a few bits.
const jitterSamples = 64

func newSeedRandom(seed []byte, jitter func() uint64) *seedRandom {
	b := append([]byte(nil), seed...)
	for range jitterSamples {
		b = binary.LittleEndian.AppendUint64(b, jitter())
	}
	// Absorb a block into the key, then make the next key of the generator's
	// output, so that every bit of input has a say in all of the last key.
	var key [32]byte
	for len(b) > 0 {
		n := min(len(b), len(key))
		for i, x := range b[:n] {
			key[i] ^= x
		}
		b = b[n:]
		rand.NewChaCha8(key).Read(key[:])
	}
	return &seedRandom{rand.NewChaCha8(key)}
}

// fill fills p. It does not allocate.
func (r *seedRandom) fill(p []byte) { r.c.Read(p) }
