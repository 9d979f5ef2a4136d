package kernel

import (
	"bytes"
	"sync"
	"testing"
)

func counter(n uint64) func() uint64 { return func() uint64 { n++; return n } }

func noHardware([]byte) bool { return false }

// constant returns a hardware generator that gives the same byte for ever.
func constant(b byte) func([]byte) bool {
	return func(p []byte) bool {
		for i := range p {
			p[i] = b
		}
		return true
	}
}

// TestGenerator checks that a change of any one source changes the output, that no two
// calls give the same bytes, and that the hardware's bytes never appear in the output. The
// test failed while RDRAND's numbers were returned as they came.
func TestGenerator(t *testing.T) {
	get := func(g *generator) []byte { b := make([]byte, 3*mixEvery+50); g.fill(b); return b }
	a := newGenerator([]byte("s"), noHardware, counter(1))
	first, second := get(a), get(a)
	stuck := get(newGenerator([]byte("s"), constant(0), counter(1)))
	for name, other := range map[string][]byte{
		"second call":    second,
		"another seed":   get(newGenerator([]byte("t"), noHardware, counter(1))),
		"another jitter": get(newGenerator([]byte("s"), noHardware, counter(2))),
		"hardware":       get(newGenerator([]byte("s"), constant(0xa5), counter(1))),
	} {
		if bytes.Equal(first[:32], other[:32]) || bytes.Contains(other, bytes.Repeat([]byte{0xa5}, 8)) {
			t.Errorf("%s: the same bytes, or the hardware's", name)
		}
	}
	if !bytes.Equal(first, stuck) {
		t.Error("a hardware generator that is stuck at 0 is not harmless")
	}
	if !bytes.Equal(first, get(newGenerator([]byte("s"), noHardware, counter(1)))) {
		t.Error("the same sources give other bytes")
	}
}

// TestGeneratorMixes checks that new randomness comes in after mixEvery bytes: the outputs
// of two generators with the same state are equal before, and differ afterwards.
func TestGeneratorMixes(t *testing.T) {
	n := uint64(0)
	a := newGenerator(nil, noHardware, counter(0))
	b := newGenerator(nil, noHardware, func() uint64 {
		if n++; n > jitterSamples+1 {
			return n + 1
		}
		return n
	})
	x, y := make([]byte, mixEvery+32), make([]byte, mixEvery+32)
	a.fill(x)
	b.fill(y)
	if !bytes.Equal(x[:mixEvery], y[:mixEvery]) || bytes.Equal(x[mixEvery:], y[mixEvery:]) {
		t.Error("new jitter is mixed in too early, or not at all")
	}
}

// TestGeneratorParallel checks that two callers at the same time never get the same bytes.
// It also gives the race detector work.
func TestGeneratorParallel(t *testing.T) {
	g := newGenerator([]byte("s"), constant(1), counter(0))
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[[16]byte]bool{}
	for range 4 {
		wg.Go(func() {
			for range 500 {
				var b [16]byte
				g.fill(b[:])
				mu.Lock()
				if seen[b] {
					t.Error("the same bytes twice")
				}
				seen[b] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
