package kernel

import (
	"crypto/sha256"
	"encoding/binary"
)

// seedRandom is the generator of machines whose CPU has none: SHA-256 over the
// boot loader's seed, the counter's jitter at start and a running number. It is
// as unpredictable as those two.
type seedRandom struct {
	key [32]byte
	n   uint64
}

func newSeedRandom(seed []byte, jitter func() uint64) *seedRandom {
	b := append([]byte("grim"), seed...)
	for range 64 {
		b = binary.LittleEndian.AppendUint64(b, jitter())
	}
	return &seedRandom{key: sha256.Sum256(b)}
}

// fill fills p. The key moves on after each call, so that what is in memory
// later does not tell what was given out before.
func (r *seedRandom) fill(p []byte) {
	var b [40]byte
	for len(p) > 0 {
		copy(b[:], r.key[:])
		binary.LittleEndian.PutUint64(b[32:], r.n)
		r.n++
		out := sha256.Sum256(b[:])
		p = p[copy(p, out[:]):]
	}
	r.key = sha256.Sum256(r.key[:])
}
