package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

const block = 2 * mb

// aligned returns an address at a multiple of 2 MB for size bytes, or nil if there is no
// room.
func aligned(size uintptr) unsafe.Pointer {
	p := bare.Anon(size + block)
	if p == nil {
		return nil
	}
	bare.Unmap(p, size+block)
	return unsafe.Add(p, -uintptr(p)&(block-1))
}

// anonAt maps anonymous memory at an address.
func anonAt(at unsafe.Pointer, size uintptr) unsafe.Pointer {
	return bare.Map(at, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_FIXED, -1)
}

// faultCase measures the first write to a page whose table page exists. The mapping is too
// small for a 2 MB page.
func faultCase(name string, n int) {
	if !selected(name) {
		return
	}
	n = reps(n)
	at := aligned(block)
	for i := -warmup; i < n; i++ {
		p := anonAt(at, mb)
		if p == nil {
			failed(name, "mmap", mb)
			return
		}
		*(*byte)(p) = 1
		t0, t1 := timedStore(unsafe.Add(p, mb/2))
		bare.Unmap(p, mb)
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	report(name, n, "", 0)
}

// order returns the number of the page to touch after page i of n.
type order func(i, n int) int

func inOrder(i, n int) int { return i + 1 }

// atRandom visits all pages of a power of two: a linear congruential sequence of
// full period (Knuth, TAOCP 2, 3.2.1.2, theorem A: 12345 is odd and 5-1 is a
// multiple of 4).
func atRandom(i, n int) int { return (5*i + 12345) & (n - 1) }

func eachBlock(i, n int) int { return i + block/page }

// touchCase measures the first touch of n pages of 64 MB in an order, without mapping and
// unmapping.
func touchCase(name string, times int, next order, n int) {
	if !selected(name) {
		return
	}
	times = reps(times)
	const size = 64 * mb
	at := aligned(size)
	for i := -1; i < times; i++ {
		p := anonAt(at, size)
		if p == nil {
			failed(name, "mmap", size)
			return
		}
		t0 := bare.Now()
		for k, at := 0, 0; k < n; k++ {
			*(*byte)(unsafe.Add(p, at*page)) = 1
			at = next(at, n)
		}
		t1 := bare.Now()
		bare.Unmap(p, size)
		if i >= 0 {
			sample[i] = t1 - t0
		}
	}
	report(name, times, "pages", n)
}
