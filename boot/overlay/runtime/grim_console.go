//go:build grim_overlay

package runtime

import (
	"runtime/goos"
	"unsafe"
)

// earlyRing keeps the last bytes that were printed before there was a console.
var earlyRing struct {
	buf [8 << 10]byte
	n   uint // bytes ever added
}

// write1 is called by print, throw and the traceback, when anything may be broken. So it
// must work on every stack. The descriptor is ignored.
//
//go:nosplit
func write1(fd uintptr, p unsafe.Pointer, n int32) int32 {
	gp := getg()
	if gp == gp.m.g0 || gp == gp.m.gsignal {
		console(p, n)
	} else {
		systemstack(func() { console(p, n) })
	}
	return n
}

// console passes bytes to goos.Printk, or keeps them while that is not set.
func console(p unsafe.Pointer, n int32) {
	put := goos.Printk
	if put != nil && earlyRing.n != 0 {
		replayEarly(put)
	}
	for i := int32(0); i < n; i++ {
		c := *(*byte)(add(p, uintptr(i)))
		if put != nil {
			put(c)
		} else {
			earlyRing.buf[earlyRing.n%uint(len(earlyRing.buf))] = c
			earlyRing.n++
		}
	}
}

// replayEarly passes the ring's bytes to put. It marks the ring as empty first, in case put
// prints or faults.
func replayEarly(put func(byte)) {
	size := uint(len(earlyRing.buf))
	end := earlyRing.n
	earlyRing.n = 0
	i := uint(0)
	if end > size {
		i = end - size
	}
	for ; i < end; i++ {
		put(earlyRing.buf[i%size])
	}
}

// flushEarly prints the kept output if a kernel dies without a console.
func flushEarly() {
	replayEarly(earlyPutc)
}

// EarlyConsole may be used as goos.Printk until the kernel has found its console. It is
// COM1 on amd64. On arm64 it is the serial port that the device tree names, as far as the
// tree can be read, or else a debugger's semihosting console. It must not be used for the
// first time after grim/arch/arm64 has made its own page tables.
func EarlyConsole(c byte) { earlyPutc(c) }
