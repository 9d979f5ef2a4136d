package main

import (
	"os"
	"reflect"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var procMemTests = []test{
	{name: "proc-mem", run: procMem},
	{name: "proc-mem-rights", run: procMemRights},
	{name: "proc-exec", run: procExec},
}

// inChild runs fn while a child waits, which has a copy of the memory. Then the child
// continues and runs check.
func inChild(fn func(pid int), check func() int) {
	var hold [2]int
	if err := unix.Pipe(hold[:]); err != nil {
		fail("pipe: %v", err)
	}
	pid := fork(func() int {
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(hold[1]), 0, 0)
		var b [1]byte
		syscall.RawSyscall(unix.SYS_READ, uintptr(hold[0]), ptr(&b), 1)
		return check()
	})
	unix.Close(hold[0])
	fn(pid)
	unix.Close(hold[1])
	if ws := wait(pid); ws != 0 {
		fail("what the child sees: status %#x", uint32(ws))
	}
}

// procMem: another process's memory can be read and written, whatever the page's
// protection, and no other process's memory changes.
func procMem() {
	quiet()
	b := anon(4 * 4096)
	b[0], b[4096], b[8192] = 1, 2, 3
	check("mprotect", unix.Mprotect(b[4096:8192], unix.PROT_READ))
	check("mprotect", unix.Mprotect(b[8192:12288], unix.PROT_NONE))
	check("munmap", munmap(b[12288:]))
	p := int64(addr(b))
	inChild(func(pid int) {
		f, err := os.OpenFile("/proc/"+itoa(pid)+"/mem", os.O_RDWR, 0)
		check("open", err)
		defer f.Close()
		var c [1]byte
		for i := range int64(3) {
			_, err := f.ReadAt(c[:], p+i*4096)
			check("read", err)
			equal("byte", c[0], byte(i+1))
			_, err = f.WriteAt([]byte{byte(i + 11)}, p+i*4096)
			check("write", err)
			_, err = f.ReadAt(c[:], p+i*4096)
			check("read again", err)
			equal("byte written", c[0], byte(i+11))
		}
		long := make([]byte, 8192)
		n, err := unix.Pread(int(f.Fd()), long, p+3*4096-100)
		if n != 100 || err != nil {
			fail("read over the end of a mapping: %d, %v", n, err)
		}
		for _, off := range []int64{p + 3*4096, 0, 1 << 47, 1 << 62} {
			if n, err := unix.Pread(int(f.Fd()), long, off); err != unix.EIO {
				fail("read at %#x: %d, %v, want EIO", off, n, err)
			}
			if n, err := unix.Pwrite(int(f.Fd()), long, off); err != unix.EIO {
				fail("write at %#x: %d, %v, want EIO", off, n, err)
			}
		}
		// The program text, which all its processes share.
		text := int64(funcAddr())
		was := make([]byte, 1)
		_, err = f.ReadAt(was, text)
		check("read of text", err)
		_, err = f.WriteAt([]byte{^was[0]}, text)
		check("write of text", err)
		equal("own text", at(uintptr(text), 1)[0], was[0])
	}, func() int {
		if b[0] != 11 || b[4096] != 12 {
			return 1
		}
		if raw(unix.SYS_MPROTECT, addr(b)+8192, 4096, unix.PROT_READ) != 0 || b[8192] != 13 {
			return 2
		}
		return 0
	})
	equal("own memory", [2]byte{b[0], b[4096]}, [2]byte{1, 2})
	killedBy("store to a read-only page", touch(b, 4096, true), unix.SIGSEGV)
}

// funcAddr returns an address in the program's text, of code that does not run here.
func funcAddr() uintptr { return reflect.ValueOf(grind).Pointer() }

// procMemRights: a process may access its own memory and the memory of a dumpable process
// of the same user. The superuser may access the memory of any process.
func procMemRights() {
	if os.Getuid() != 0 {
		return
	}
	quiet()
	const open = unix.O_RDWR
	mem := func(pid int) uintptr { return ptr(unsafe.SliceData(append([]byte("/proc/"+itoa(pid)+"/mem"), 0))) }
	self := append([]byte("/proc/self/mem"), 0)
	mine := mem(os.Getpid())
	at := ^uintptr(99) // AT_FDCWD
	steps("own memory", func(want func(got, want syscall.Errno)) {
		want(raw(unix.SYS_SETUID, 1000), 0)
		want(raw(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE), 0)
		want(raw(unix.SYS_OPENAT, at, mine, open), unix.EACCES) // of the superuser
		want(raw(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1), 0)
		want(raw(unix.SYS_OPENAT, at, ptr(&self[0]), open), 0) // step 5
	})
	var up, hold [2]int
	check("pipe", unix.Pipe(up[:]))
	check("pipe", unix.Pipe(hold[:]))
	for _, dumpable := range []uintptr{0, 1} {
		pid := fork(func() int {
			raw(unix.SYS_SETUID, 1000)
			raw(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, dumpable)
			var b [1]byte
			syscall.RawSyscall(unix.SYS_WRITE, uintptr(up[1]), ptr(&b), 1)
			syscall.RawSyscall(unix.SYS_READ, uintptr(hold[0]), ptr(&b), 1)
			return 0
		})
		_, err := unix.Read(up[0], make([]byte, 1))
		check("read", err)
		his := mem(pid)
		steps("the same user", func(want func(got, want syscall.Errno)) {
			want(raw(unix.SYS_SETUID, 1000), 0)
			if dumpable == 1 {
				want(raw(unix.SYS_OPENAT, at, his, open), 0)
			} else {
				want(raw(unix.SYS_OPENAT, at, his, open), unix.EACCES)
			}
		})
		steps("another user", func(want func(got, want syscall.Errno)) {
			want(raw(unix.SYS_SETUID, 1001), 0)
			want(raw(unix.SYS_OPENAT, at, his, open), unix.EACCES)
		})
		fd, err := unix.Open("/proc/"+itoa(pid)+"/mem", open, 0)
		check("open as superuser", err)
		_, err = unix.Write(hold[1], make([]byte, 1))
		check("write", err)
		equal("status", wait(pid), 0)
		// The process has ended, so there is nothing to read.
		if n, err := unix.Pread(fd, make([]byte, 1), int64(funcAddr())); n != 0 || err != nil {
			fail("read of a process that has ended: %d, %v", n, err)
		}
		unix.Close(fd)
	}
}

// procExec: what was opened of a process's memory shows nothing of a program that the process
// executes afterwards.
func procExec() {
	quiet()
	path, err := syscall.BytePtrFromString("/proc/self/exe")
	check("path", err)
	argv, err := syscall.SlicePtrFromStrings([]string{"utest", "helper-until-eof"})
	check("arguments", err)
	envp, err := syscall.SlicePtrFromStrings([]string{"SECRET=1"})
	check("environment", err)
	var hold, up [2]int
	check("pipe", unix.Pipe(hold[:]))
	check("pipe", unix.Pipe(up[:]))
	pid := fork(func() int {
		raw(unix.SYS_DUP3, uintptr(hold[0]), 0, 0)
		raw(unix.SYS_DUP3, uintptr(up[1]), 1, 0)
		for _, p := range []int{hold[0], hold[1], up[0], up[1]} {
			raw(unix.SYS_CLOSE, uintptr(p))
		}
		var b [1]byte
		syscall.RawSyscall(unix.SYS_READ, 0, ptr(&b), 1)
		raw(unix.SYS_EXECVE, ptr(path), ptr(&argv[0]), ptr(&envp[0]))
		return 99
	})
	unix.Close(hold[0])
	unix.Close(up[1])
	files := map[string]*os.File{}
	for _, name := range []string{"environ", "maps", "mem", "cmdline"} {
		f, err := os.Open("/proc/" + itoa(pid) + "/" + name)
		check("open "+name, err)
		defer f.Close()
		files[name] = f
	}
	_, err = unix.Write(hold[1], []byte{0})
	check("write", err)
	b := make([]byte, 4096)
	if n, err := unix.Read(up[0], b); n != 3 || err != nil { // the new program runs
		fail("read: %d, %v", n, err)
	}
	for _, name := range []string{"environ", "maps"} {
		if n, err := unix.Pread(int(files[name].Fd()), b, 0); n != 0 || err != nil {
			fail("%s after an exec: %d, %v: %q", name, n, err, b[:max(n, 0)])
		}
	}
	n, err := unix.Pread(int(files["mem"].Fd()), b[:1], int64(addr(b)))
	if n > 0 {
		fail("mem after an exec: %d, %v", n, err)
	}
	n, err = unix.Pread(int(files["cmdline"].Fd()), b, 0) // open to all
	check("cmdline", err)
	equal("cmdline", string(b[:n]), "utest\x00helper-until-eof\x00")
	unix.Close(hold[1])
	equal("status", wait(pid).ExitStatus(), 0)
}
