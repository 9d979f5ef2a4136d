package kernel

import (
	"bytes"
	"sync"
	"testing"
)

// TestMemoryPages: pages are zeros until they are written, and then what was written last,
// whatever becomes of the buffer that they came in.
// Broken by: PageOut without the copy.
func TestMemoryPages(t *testing.T) {
	var m MemoryPages
	page := bytes.Repeat([]byte{7}, 4096)
	if err := m.PageIn(3, page); err != nil || !bytes.Equal(page, make([]byte, 4096)) {
		t.Errorf("a new page: %v, %d", err, page[0])
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			p := bytes.Repeat([]byte{byte(i)}, 4096)
			if err := m.PageOut(int64(i), p); err != nil {
				t.Error(err)
			}
			clear(p)
		})
	}
	all.Wait()
	for i := range 8 {
		if err := m.PageIn(int64(i), page); err != nil || !bytes.Equal(page, bytes.Repeat([]byte{byte(i)}, 4096)) {
			t.Errorf("page %d: %v, %d", i, err, page[0])
		}
	}
}
