//go:build grim_overlay

package runtime

import (
	"internal/runtime/sys"
	"runtime/goos"
)

// readRandom seeds the runtime's own generator (map hashes, math/rand).
func readRandom(r []byte) int {
	if goos.RandomData != nil {
		goos.RandomData(r)
		return len(r)
	}
	// A CPU without a generator has only the jitter of its counter. Each call is mixed with
	// all earlier ones.
	x := uint64(0x9e3779b97f4a7c15)
	for i := range r {
		if i%8 == 0 {
			x ^= hwseed()
			x = sys.Bswap64(x*0xd6e8feb86659fd93) ^ counter()
			x *= 0xff51afd7ed558ccd
			x ^= x >> 32
		}
		r[i] = byte(x >> (8 * (i % 8)))
	}
	return len(r)
}

// reseedBuf is the buffer of Reseed, because the argument of a hook must not be on the
// stack of runtime code.
var reseedBuf [32]byte

// Reseed mixes goos.RandomData into the runtime's generator, once the kernel has a better
// source than at start-up.
func Reseed() {
	lock(&globalRand.lock)
	readRandom(reseedBuf[:])
	for i := 0; i < len(reseedBuf); i += 8 {
		x, ok := globalRand.state.Next()
		for !ok {
			globalRand.state.Refill()
			x, ok = globalRand.state.Next()
		}
		for j := 0; j < 8; j++ {
			reseedBuf[i+j] ^= byte(x >> (8 * j))
		}
	}
	globalRand.state.Init(reseedBuf)
	clear(reseedBuf[:])
	unlock(&globalRand.lock)
	mp := acquirem()
	mrandinit(mp)
	releasem(mp)
}
