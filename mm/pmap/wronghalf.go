//go:build wronghalf

package pmap

import "grim/arch"

// purgeWrongly takes one root entry too many out of the root: the first of the kernel
// half.
func (p *Pmap) purgeWrongly() {
	root := p.s.mem.Table(p.root)
	for i := arch.KernelHalf; i < arch.Entries; i++ {
		if root[i] != 0 {
			root[i] = 0
			return
		}
	}
}
