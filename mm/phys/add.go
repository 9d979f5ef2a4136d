package phys

import (
	"fmt"

	"grim/arch"
)

// Add gives the allocator more RAM, such as the memory of the initramfs when start-up is
// done with it. The range must be page aligned, lie between the first and the last address
// that New was given, and hold no frame that the allocator has already. Add is called
// before user processes exist, because Total is read without a lock.
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
