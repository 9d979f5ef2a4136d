package arm64

import "testing"

// TestCounterFrequency: firmware's frequency counts, and the device tree's where firmware has
// set none. Broken by: the tree's frequency first; a runtime that is not told of it.
func TestCounterFrequency(t *testing.T) {
	for _, c := range []struct {
		register, tree, hz uint64
		tell, refused      bool
	}{
		{19_200_000, 0, 19_200_000, false, false},
		{54_000_000, 19_200_000, 54_000_000, false, false},
		{0, 8_000_000, 8_000_000, true, false},
		{0, 0, 0, false, true},
	} {
		hz, tell, err := counterFrequency(c.register, c.tree)
		if hz != c.hz || tell != c.tell || (err != nil) != c.refused {
			t.Errorf("register %d, tree %d: %d Hz, tell %v, %v", c.register, c.tree, hz, tell, err)
		}
	}
}
