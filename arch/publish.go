//go:build !arm64

package arch

// Publish stores a page-table entry that other CPUs may walk from now on: publish_arm64.go
// tells more. On x86 all CPUs see the stores of one in their order (SDM volume 3, 8.2.2).
func (p *PTE) Publish(e PTE) { *p = e }
