package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// The work of a child before it exits, with a size or a count. The result is 0, or an exit
// status that tells what failed.

func setNothing(uintptr) int { return 0 }

func setAnon(size uintptr) int {
	p := bare.Anon(size)
	if p == nil {
		return 11
	}
	bare.Touch(p, size, page)
	return 0
}

func setShmem(size uintptr) int {
	p := bare.SharedMemory(size)
	if p == nil {
		return 12
	}
	bare.Touch(p, size, page)
	return 0
}

const tmpName = "/exitbench.tmp\x00"

// setFile maps a file shared and writes to it. The file keeps its name: the parent removes
// it after the measurement. So the exit removes the mapping, but not the file's pages.
func setFile(size uintptr) int {
	fd := bare.Open(tmpName, syscall.O_RDWR|syscall.O_CREAT|syscall.O_TRUNC, 0o600)
	if fd < 0 {
		return 13
	}
	if bare.Call(syscall.SYS_FTRUNCATE, uintptr(fd), size) < 0 {
		return 14
	}
	p := bare.Map(nil, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED, fd)
	if p == nil {
		return 15
	}
	bare.Close(fd)
	bare.Touch(p, size, page)
	return 0
}

// sparse touches n pages, spread evenly over size bytes.
func sparse(size, n uintptr) int {
	p := bare.Map(nil, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE, -1)
	if p == nil {
		return 16
	}
	step := size / n &^ (page - 1)
	bare.Touch(p, n*step, step)
	return 0
}

// setSparse touches one page in each of n different 2 MB regions of 4 GB.
func setSparse(n uintptr) int { return sparse(4096*mb, n) }

// setTerabyte touches n pages of 1 TB.
func setTerabyte(n uintptr) int { return sparse(1<<40, n) }

// setMaps makes n adjacent mappings of one page, alternately read-write (and
// written) and read-only (and read).
func setMaps(n uintptr) int {
	for i := range n {
		prot := syscall.PROT_READ
		if i&1 == 0 {
			prot |= syscall.PROT_WRITE
		}
		p := bare.Map(nil, page, prot, syscall.MAP_PRIVATE|syscall.MAP_ANON, -1)
		if p == nil {
			return 17
		}
		if i&1 == 0 {
			*(*byte)(p) = 1
		} else {
			seen += *(*byte)(p)
		}
	}
	return 0
}

// seen keeps the compiler from omitting a read.
//
//lint:ignore U1000 it is written only
var seen byte

// setMapsGap makes n mappings of one page, which it writes to, each followed by a hole of
// one page.
func setMapsGap(n uintptr) int {
	size := 2 * n * page
	base := bare.Map(nil, size, syscall.PROT_READ, syscall.MAP_PRIVATE|syscall.MAP_ANON, -1)
	if base == nil {
		return 18
	}
	bare.Unmap(base, size)
	for i := range n {
		p := bare.Map(unsafe.Add(base, 2*i*page), page, syscall.PROT_READ|syscall.PROT_WRITE,
			syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_FIXED, -1)
		if p == nil {
			return 19
		}
		*(*byte)(p) = 1
	}
	return 0
}
