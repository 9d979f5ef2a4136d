package phys

import (
	"fmt"

	"grim/arch"
)

// Add gives the allocator more RAM: page aligned and within the ranges' first
// and last address that New was told. For memory that start-up was done with,
// such as the initramfs. Never for what is in it already, and only
// before user processes exist: Total is read without a lock.
func (m *Memory) Add(r Range) error {
	from, to := int(FrameOf(r.Start))-int(m.base), int(FrameOf(r.End-1))-int(m.base)+1
	if (r.Start|r.End)&(arch.PageSize-1) != 0 || r.Start >= r.End || from < 0 || to > len(m.info) {
		return fmt.Errorf("phys: Add: range [%#x, %#x) is not page aligned, or outside of memory", r.Start, r.End)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.nfree
	m.addRange(from, to)
	m.total += m.nfree - before
	return nil
}
