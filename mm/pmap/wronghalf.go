//go:build wronghalf

package pmap

import "grim/arch"

// purgeWrongly also takes an entry of the kernel half out of the root: the first that is in
// use.
func (p *Pmap) purgeWrongly() {
	root := p.s.mem.Table(p.root)
	for i := arch.KernelHalf; i < arch.Entries; i++ {
		if root[i] != 0 {
			root[i] = 0
			return
		}
	}
}
