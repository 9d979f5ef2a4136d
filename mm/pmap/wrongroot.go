//go:build wrongroot

package pmap

// purgeWrongly frees the root, which must be left to uvmspace_free.
func (p *Pmap) purgeWrongly() { p.Destroy() }
