//go:build wrongroot

package pmap

// purgeWrongly frees the root, which is uvmspace_free's to do.
func (p *Pmap) purgeWrongly() { p.Destroy() }
