//go:build !wronghalf && !wrongroot

package pmap

// purgeWrongly does too much at the end of a purge in kernels that are built to be broken
// (qemu/debate, claims 6 and 7). This is the right kernel: it does nothing.
func (p *Pmap) purgeWrongly() {}
