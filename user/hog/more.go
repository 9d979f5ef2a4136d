package main

import (
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// What the kernel keeps beside files, memory and processes: System V objects, record locks,
// timers, signal descriptors, terminals, files without a name.

const (
	ipcCreate = 0o1000
	ipcRemove = 0
	ipcMode   = 0o600
)

// keepIPC notes the number of an object in shared memory, so that the first process can
// remove it.
func keepIPC(id int) int {
	if id >= 0 && shared.ipc < int64(len(shared.ipcs)) {
		shared.ipcs[shared.ipc] = int32(id)
		shared.ipc++
	}
	return id
}

func takeSemaphores() int {
	return keepIPC(bare.Call(sysSemget, 0, 1000, ipcCreate|ipcMode))
}

// takeMessages fills queues with messages of a byte.
func takeMessages() int {
	const nowait = 0o4000
	if queue >= 0 {
		var m struct {
			kind int64
			text [8]byte
		}
		m.kind = 1
		r := bare.Call(sysMsgsnd, uintptr(queue), uintptr(unsafe.Pointer(&m)), 1, nowait)
		if r != -int(syscall.EAGAIN) {
			return r
		}
	}
	if queue = keepIPC(bare.Call(sysMsgget, 0, ipcCreate|ipcMode)); queue < 0 {
		return queue
	}
	return 0
}

var queue = -1 // none

func takeSegments() int {
	return keepIPC(bare.Call(sysShmget, 0, page, ipcCreate|ipcMode))
}

// removeIPC removes what the hog's user has left.
func removeIPC() {
	for _, id := range shared.ipcs[:shared.ipc] {
		bare.Call(sysSemctl, uintptr(id), 0, ipcRemove)
		bare.Call(sysMsgctl, uintptr(id), ipcRemove, 0)
		bare.Call(sysShmctl, uintptr(id), ipcRemove, 0)
	}
}

// takeRecordLock locks every second byte of a file.
func takeRecordLock() int {
	if lockFile == 0 {
		lockFile = bare.Call(sysMemfdCreate, uintptr(unsafe.Pointer(bare.CString("hog\x00"))), 0)
		if lockFile < 0 {
			return lockFile
		}
	}
	l := syscall.Flock_t{Type: syscall.F_WRLCK, Start: lockAt, Len: 1}
	lockAt += 2
	return bare.Call(syscall.SYS_FCNTL, uintptr(lockFile), syscall.F_SETLK, uintptr(unsafe.Pointer(&l)))
}

var (
	lockFile int
	lockAt   int64
)

func takeTimer() int {
	var id int32
	return bare.Call(sysTimerCreate, 1, 0, uintptr(unsafe.Pointer(&id)))
}

func takeSignalfd() int {
	mask := uint64(1)
	return bare.Call(sysSignalfd4, ^uintptr(0), uintptr(unsafe.Pointer(&mask)), 8, 0)
}

// takePty opens terminals, with some input in each.
func takePty() int {
	fd := bare.Open("/dev/ptmx\x00", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if fd < 0 {
		return fd
	}
	return min(bare.Write(fd, buffer[:page]), 0)
}

// takeNameless makes a file without a name and keeps it open.
func takeNameless() int {
	const tmpfile = 0o20000000 | syscall.O_DIRECTORY
	return bare.Open("/tmp\x00", syscall.O_RDWR|tmpfile, 0o600)
}

// takeDeep goes down a chain of folders.
func takeDeep() int {
	if deep == 0 {
		deep = 1
		if r := bare.Call(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(bare.CString(folder)))); r < 0 {
			return r
		}
	}
	if r := bare.Call(syscall.SYS_MKDIRAT, currentFolder, uintptr(unsafe.Pointer(bare.CString("d\x00"))), 0o700); r < 0 {
		return r
	}
	shared.chain++
	return bare.Call(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(bare.CString("d\x00"))))
}

var deep int

// removeChain removes the folders that takeDeep has made.
func removeChain() {
	d := uintptr(unsafe.Pointer(bare.CString("d\x00")))
	bare.Call(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(bare.CString(folder))))
	for range shared.chain {
		bare.Call(syscall.SYS_CHDIR, d)
	}
	for range shared.chain {
		bare.Call(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(bare.CString("..\x00"))))
		bare.Call(syscall.SYS_UNLINKAT, currentFolder, d, removeDir)
	}
	bare.Call(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(bare.CString("/\x00"))))
}

const (
	currentFolder = ^uintptr(99) // AT_FDCWD
	removeDir     = 0x200        // AT_REMOVEDIR
)

// takeLongLink makes symbolic links as long as there may be.
func takeLongLink() int {
	for i := range buffer[:page] {
		buffer[i] = 'x'
	}
	buffer[page-1] = 0
	return bare.Call(syscall.SYS_SYMLINKAT, uintptr(unsafe.Pointer(&buffer)), 0, uintptr(unsafe.Pointer(nextName())))
}
