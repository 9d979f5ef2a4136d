package kernel

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// generator is the kernel's source of random bytes, for getrandom(2), /dev/random,
// AT_RANDOM, random addresses and the Go runtime. It is ChaCha8, as the Go runtime's
// own, keyed with everything there is: the boot loader's seed, the CPU's generator,
// and the jitter of a counter. So an output is as unpredictable as the best of the
// three, and none of them is ever handed out as it came. ChaCha8 replaces its key
// after each kilobyte, so that the state tells nothing about what was given out
// before. (crypto/rand is no way out: it would ask the kernel, and its DRBG takes
// 32 MB of memory.)
type generator struct {
	hardware func(p []byte) bool // the CPU's generator; false: none, or it failed
	jitter   func() uint64

	mu   sync.Mutex // held for mixEvery bytes at the longest; inside all other locks
	key  [32]byte   // scratch of mix
	c    *rand.ChaCha8
	left int // bytes until hardware and jitter are mixed in again
}

const (
	// jitterSamples is how often the counter is read at start: each sample is good
	// for a few bits.
	jitterSamples = 64
	// mixEvery is after how many bytes new randomness is mixed in: whoever has seen
	// the state loses track of it then, for a small part of a byte's cost.
	mixEvery = 4096
)

func newGenerator(seed []byte, hardware func(p []byte) bool, jitter func() uint64) *generator {
	b := append([]byte(nil), seed...)
	for range jitterSamples {
		b = binary.LittleEndian.AppendUint64(b, jitter())
	}
	// Absorb a block into the key, then make the next key of the generator's
	// output, so that every bit of input has a say in all of the last key.
	g := &generator{hardware: hardware, jitter: jitter, c: new(rand.ChaCha8)}
	for len(b) > 0 {
		b = b[g.absorb(b):]
	}
	g.mix()
	return g
}

// absorb takes up to 32 bytes into the key, and returns how many.
func (g *generator) absorb(b []byte) int {
	g.c.Read(g.key[:])
	n := min(len(b), len(g.key))
	for i, x := range b[:n] {
		g.key[i] ^= x
	}
	g.c.Seed(g.key)
	clear(g.key[:])
	return n
}

// mix absorbs what the machine has to offer now. Preconditions: mu held, or nobody
// else has g.
func (g *generator) mix() {
	var b [40]byte
	if !g.hardware(b[:32]) {
		clear(b[:32])
	}
	binary.LittleEndian.PutUint64(b[32:], g.jitter())
	g.absorb(b[8:])
	g.absorb(b[:8])
	g.left = mixEvery
}

// fill fills p.
func (g *generator) fill(p []byte) {
	for len(p) > 0 {
		g.mu.Lock()
		if g.left == 0 {
			g.mix()
		}
		n, _ := g.c.Read(p[:min(len(p), g.left)]) // it never fails
		g.left -= n
		g.mu.Unlock()
		p = p[n:]
	}
}
