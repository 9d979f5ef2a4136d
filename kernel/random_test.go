package kernel

import (
	"bytes"
	"sync"
	"testing"
)

func counter(n uint64) func() uint64 { return func() uint64 { n++; return n } }

func noHardware([]byte) bool { return false }

// constant is a generator of a CPU that gives the same byte for ever.
func constant(b byte) func([]byte) bool {
	return func(p []byte) bool {
		for i := range p {
			p[i] = b
		}
		return true
	}
}

// Each source alone makes other bytes; no two calls give the same; and what the
// hardware says is never seen in the output. It failed while RDRAND's numbers were
// handed out as they came.
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

// After mixEvery bytes new randomness comes in: two generators with the same state
// part ways there, and not before.
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

// Two callers at once never get the same bytes (for the race detector too).
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
