package kernel

import (
	"bytes"
	"sync"
)

// MemoryPages is a Pager that keeps pages in the kernel's memory. Pages that have not been
// written are zeros. The zero value is ready for use. A pager of one's own may have one
// inside, as kernel/lab's does.
type MemoryPages struct {
	mu    sync.Mutex
	pages map[int64][]byte // [mu]
}

// PageIn implements Pager.
func (m *MemoryPages) PageIn(index int64, page []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(page[copy(page, m.pages[index]):])
	return nil
}

// PageOut implements Pager.
func (m *MemoryPages) PageOut(index int64, page []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pages == nil {
		m.pages = map[int64][]byte{}
	}
	m.pages[index] = bytes.Clone(page)
	return nil
}
