package selftest

import "testing"

func TestSelection(t *testing.T) {
	for _, c := range []struct {
		sel  selection
		name string
		slow bool
		want bool
	}{
		{"all", "hog/pipes", true, true},
		{"quick", "hog/pipes", true, false},
		{"quick", "exit/order", false, true},
		{"hog/", "hog/pipes", true, true},
		{"exit/,hog/", "hog/pipes", true, true},
		{"exit/,hog/", "cow/fork", false, false},
		{"all,-hog/", "hog/pipes", true, false},
		{"all,-hog/", "cow/fork", false, true},
		{"hog/,-pipes", "hog/pipes", true, false},
		{"hog/,-pipes", "hog/files", true, true},
		{"-hog/", "hog/files", true, false},
		{"-hog/", "threads/many", true, true},
		{"quick,threads/many", "threads/many", true, true},
		{"quick,-exit/", "exit/order", false, false},
	} {
		if got := c.sel.takes(c.name, c.slow); got != c.want {
			t.Errorf("selftest=%s takes %s (slow: %v): %v, want %v", c.sel, c.name, c.slow, got, c.want)
		}
	}
}
