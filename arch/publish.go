//go:build !arm64

package arch

// Publish stores a page-table entry that other CPUs may walk from now on; see
// publish_arm64.go. On x86 every CPU sees the stores of another in their order (SDM volume
// 3, 8.2.2), so a plain store does.
func (p *PTE) Publish(e PTE) { *p = e }
