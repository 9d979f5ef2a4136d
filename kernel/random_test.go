package kernel

import (
	"bytes"
	"testing"
)

// Another seed or another jitter gives other bytes, and no two calls the same.
func TestSeedRandom(t *testing.T) {
	jitter := func(n uint64) func() uint64 { return func() uint64 { n++; return n } }
	get := func(r *seedRandom) []byte { b := make([]byte, 50); r.fill(b); return b }
	a := newSeedRandom([]byte("s"), jitter(1))
	first, second := get(a), get(a)
	for name, other := range map[string][]byte{
		"second call":    second,
		"another seed":   get(newSeedRandom([]byte("t"), jitter(1))),
		"another jitter": get(newSeedRandom([]byte("s"), jitter(2))),
	} {
		if bytes.Equal(first, other) || bytes.Equal(first[:32], other[:32]) {
			t.Errorf("%s: the same bytes", name)
		}
	}
	if !bytes.Equal(first, get(newSeedRandom([]byte("s"), jitter(1)))) {
		t.Error("the same seed and jitter give other bytes")
	}
}
