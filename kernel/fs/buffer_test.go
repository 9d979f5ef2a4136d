package fs

import "testing"

// However many transfers wait, only bigBuffers of them hold a big buffer.
func TestBuffers(t *testing.T) {
	var held []Buffer
	for i := range bigBuffers + 5 {
		b := NewBuffer(1 << 20)
		held = append(held, b)
		if want := i < bigBuffers; (len(b.B) == turnBytes) != want {
			t.Errorf("buffer %d has %d bytes", i, len(b.B))
		}
	}
	if b := NewBuffer(100); len(b.B) != smallBytes {
		t.Errorf("%d bytes for 100", len(b.B))
	} else {
		b.Put()
	}
	for i := range held {
		held[i].Put()
	}
	if b := NewBuffer(1 << 20); len(b.B) != turnBytes {
		t.Error("the big buffers are not given back")
	} else {
		b.Put()
	}
}
