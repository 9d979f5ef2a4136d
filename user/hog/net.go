package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// What the network keeps: sockets, connections that are closed or not accepted, datagrams.

// loopback is 127.0.0.1 with a port.
type loopback struct {
	family, port uint16
	addr         [4]byte
	_            [8]byte
}

// inet makes a socket with an address on this machine.
func inet(kind int) (fd int, at loopback) {
	fd = bare.Call(syscall.SYS_SOCKET, syscall.AF_INET, uintptr(kind), 0)
	if fd < 0 {
		return fd, at
	}
	at = loopback{family: syscall.AF_INET, addr: [4]byte{127, 0, 0, 1}}
	if e := bare.Call(syscall.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&at)), unsafe.Sizeof(at)); e < 0 {
		return e, at
	}
	length := uint32(unsafe.Sizeof(at))
	if e := bare.Call(syscall.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&length))); e < 0 {
		return e, at
	}
	return fd, at
}

// server is a listener, left the number of connections that it still takes.
var server struct {
	fd   int
	at   loopback
	left int
}

// connect connects to a listener, fills the connection, and closes its own end.
func connect(backlog int) int {
	if server.left == 0 {
		fd, at := inet(syscall.SOCK_STREAM)
		if fd < 0 {
			return fd
		}
		if e := bare.Call(syscall.SYS_LISTEN, uintptr(fd), uintptr(backlog)); e < 0 {
			return e
		}
		limit := syscall.Timeval{Sec: 1}
		if e := bare.Call(syscall.SYS_SETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, uintptr(unsafe.Pointer(&limit)), unsafe.Sizeof(limit)); e < 0 {
			return e
		}
		server.fd, server.at, server.left = fd, at, backlog
	}
	c := bare.Call(syscall.SYS_SOCKET, syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if c < 0 {
		return c
	}
	e := bare.Call(syscall.SYS_CONNECT, uintptr(c), uintptr(unsafe.Pointer(&server.at)), unsafe.Sizeof(server.at))
	if e == 0 {
		server.left--
		const dontWait = 0x40
		for bare.Call(syscall.SYS_SENDTO, uintptr(c), uintptr(unsafe.Pointer(&buffer[0])), page, dontWait, 0, 0) > 0 {
		}
	}
	bare.Close(c)
	return e
}

// takeConnection keeps one end of a connection, which it does not read. The other end is
// closed and has not sent everything. The kernel resets a connection that it has no room for,
// also after connect has returned, so accept waits for a second at most.
func takeConnection() int {
	if e := connect(1); e < 0 {
		return e
	}
	server.left++
	fd := bare.Call(syscall.SYS_ACCEPT4, uintptr(server.fd), 0, 0, 0)
	if fd == -int(syscall.EAGAIN) {
		return -int(syscall.ENOBUFS) // there was no room for it in the listener's queue, so it was reset
	}
	return fd
}

// takePending makes a connection that is never accepted.
func takePending() int { return connect(16) }

// takeDatagrams sends a socket more than it has room for: many empty datagrams, and large
// ones.
func takeDatagrams() int {
	fd, at := inet(syscall.SOCK_DGRAM)
	if fd < 0 {
		return fd
	}
	for i := range 200 {
		n := uintptr(0)
		if i >= 190 {
			n = page
		}
		if e := bare.Call(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), n, 0, uintptr(unsafe.Pointer(&at)), unsafe.Sizeof(at)); e < 0 {
			return e
		}
	}
	return 0
}

// takeInotify watches the root.
func takeInotify() int {
	fd := bare.Call(syscall.SYS_INOTIFY_INIT1, 0)
	if fd < 0 {
		return fd
	}
	return min(bare.Call(syscall.SYS_INOTIFY_ADD_WATCH, uintptr(fd), uintptr(unsafe.Pointer(bare.CString("/\x00"))), syscall.IN_ALL_EVENTS), 0)
}
