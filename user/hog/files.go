package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// The hog's files have numbers as names, in a folder of their own. So the parent can remove
// them without reading the folder.

const folder = "/tmp/hog\x00"

// created is how many names may exist.
var created *int64

// makeFolder makes the folder, open to all users. The count is behind the report.
func makeFolder() {
	created = (*int64)(unsafe.Add(unsafe.Pointer(shared), unsafe.Sizeof(report{})))
	bare.Call(syscall.SYS_MKDIRAT, 0, uintptr(unsafe.Pointer(bare.CString(folder))), 0o777)
	bare.Call(syscall.SYS_FCHMODAT, 0, uintptr(unsafe.Pointer(bare.CString(folder))), 0o777)
}

// name returns the path of file number i. It is valid until the next call.
func name(i int) *byte {
	n := copy(path[:], folder[:len(folder)-1])
	path[n] = '/'
	n++
	var digits [20]byte
	n += copy(path[n:], bare.Decimal(&digits, i))
	path[n] = 0
	return &path[0]
}

var path [64]byte

func nextName() *byte {
	*created++
	return name(int(*created))
}

func takeFile() int {
	fd := bare.Call(syscall.SYS_OPENAT, 0, uintptr(unsafe.Pointer(nextName())), syscall.O_RDWR|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if fd >= 0 {
		bare.Close(fd)
	}
	return fd
}

func takeFolder() int {
	return bare.Call(syscall.SYS_MKDIRAT, 0, uintptr(unsafe.Pointer(nextName())), 0o700)
}

func takeLink() int {
	return bare.Call(syscall.SYS_SYMLINKAT, uintptr(unsafe.Pointer(bare.CString(hogPath))), 0, uintptr(unsafe.Pointer(nextName())))
}

// big is the single file of takeSparse and takeData, and the next offset.
var big struct {
	fd  int
	off int64
}

func takeAt(step int64, n int) int {
	if big.fd == 0 {
		if big.fd = bare.Call(syscall.SYS_OPENAT, 0, uintptr(unsafe.Pointer(nextName())), syscall.O_RDWR|syscall.O_CREAT|syscall.O_EXCL, 0o600); big.fd < 0 {
			return big.fd
		}
	}
	r := bare.Call(syscall.SYS_PWRITE64, uintptr(big.fd), uintptr(unsafe.Pointer(&buffer)), uintptr(n), uintptr(big.off))
	big.off += step
	return r
}

func takeSparse() int { return takeAt(1<<30, 1) }
func takeData() int   { return takeAt(int64(len(buffer)), len(buffer)) }

// removeFiles removes everything that the hog has made, files and folders.
func removeFiles() {
	created = (*int64)(unsafe.Add(unsafe.Pointer(shared), unsafe.Sizeof(report{})))
	for i := 1; i <= int(*created); i++ {
		p := uintptr(unsafe.Pointer(name(i)))
		if bare.Call(syscall.SYS_UNLINKAT, 0, p, 0) < 0 {
			bare.Call(syscall.SYS_UNLINKAT, 0, p, removeDir)
		}
	}
	bare.Call(syscall.SYS_UNLINKAT, 0, uintptr(unsafe.Pointer(bare.CString(folder))), removeDir)
}
