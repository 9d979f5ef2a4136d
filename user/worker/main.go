// Command worker is a process that is worth ending: it touches memory, has threads, and
// writes to a file through a mapping. Then it ends, which is what the kernel of kernel/lab
// shows. It is linked with package bare, so that it holds nothing else.
//
//	worker MEGABYTES THREADS FILE PAGES
package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

const (
	page = 4096
	mb   = 1 << 20
)

// number returns argument i, a decimal number.
func number(i int) (n int) {
	for _, c := range []byte(bare.String(bare.Arg(i))) {
		if c < '0' || c > '9' {
			bare.Fail("not a number: ", bare.String(bare.Arg(i)))
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func main() {
	if bare.NumArgs() != 5 {
		bare.Fail("worker MEGABYTES THREADS FILE PAGES", "")
	}
	size, threads, pages := uintptr(number(1))*mb, number(2), uintptr(number(4))
	if size > 0 {
		p := bare.Anon(size)
		if p == nil {
			bare.Fail("mmap of memory", "")
		}
		bare.Touch(p, size, page)
	}
	if pages > 0 {
		fd := bare.Call(syscall.SYS_OPENAT, 0, uintptr(unsafe.Pointer(bare.Arg(3))), syscall.O_RDWR)
		if fd < 0 {
			bare.Fail("open ", bare.String(bare.Arg(3)))
		}
		p := bare.Map(nil, pages*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED, fd)
		if p == nil {
			bare.Fail("mmap of ", bare.String(bare.Arg(3)))
		}
		bare.Touch(p, pages*page, page)
	}
	for range threads {
		if bare.Sleeper() < 0 {
			bare.Fail("a thread", "")
		}
	}
	bare.Put("ready")
	bare.Flush()
}
