package kernel

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// generator is the kernel's source of random bytes, for getrandom(2), /dev/random,
// AT_RANDOM, random addresses and the Go runtime. It is ChaCha8, like the Go runtime's own.
// Its key is made from all sources: the boot loader's seed, the CPU's generator, and the
// jitter of a counter. So its output is as unpredictable as the best of the three, and none
// of them is ever given out directly. ChaCha8 replaces its key after each kilobyte, so the
// state does not reveal earlier output. (crypto/rand cannot be used: it would ask the
// kernel, and its DRBG takes 32 MB of memory.)
type generator struct {
	hardware func(p []byte) bool // the CPU's generator; false: none, or it failed
	jitter   func() uint64

	mu   sync.Mutex // held for at most mixEvery bytes; inside all other locks
	key  [32]byte   // scratch of mix
	c    *rand.ChaCha8
	left int // remaining bytes until hardware and jitter are mixed in again
}

const (
	// jitterSamples is how often the counter is read at start. Each sample has a few random
	// bits.
	jitterSamples = 64
	// mixEvery is after how many bytes new randomness is mixed in. After that, an attacker
	// who has seen the state does not know it any more. The cost is a small part of a
	// byte's.
	mixEvery = 4096
)

func newGenerator(seed []byte, hardware func(p []byte) bool, jitter func() uint64) *generator {
	b := append([]byte(nil), seed...)
	for range jitterSamples {
		b = binary.LittleEndian.AppendUint64(b, jitter())
	}
	// Absorb a block into the key, then make the next key from the generator's output. So
	// every bit of input affects the whole final key.
	g := &generator{hardware: hardware, jitter: jitter, c: new(rand.ChaCha8)}
	for len(b) > 0 {
		b = b[g.absorb(b):]
	}
	g.mix()
	return g
}

// absorb mixes up to 32 bytes into the key, and returns how many.
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

// mix absorbs the machine's present randomness. Precondition: mu held, or g is not shared
// yet.
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
		n, _ := g.c.Read(p[:min(len(p), g.left)]) // Read never fails
		g.left -= n
		g.mu.Unlock()
		p = p[n:]
	}
}
