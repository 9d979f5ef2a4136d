//go:build !wronghalf && !wrongroot

package pmap

// purgeWrongly is where a kernel that is built to be broken (qemu/debate, claims 6 and 7)
// does too much at the end of a purge.
func (p *Pmap) purgeWrongly() {}
