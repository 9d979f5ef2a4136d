package selftest

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/proc"
)

var fileTests = []test{
	{name: "files/gives-way", run: filesGiveWay, timed: true, slow: true},
	{name: "calls/gives-way", run: callsGiveWay, timed: true, slow: true},
	{name: "files/killed-in-a-copy", run: filesKilled},
	{name: "calls/killed", run: callsKilled, timed: true},
}

// Addresses of the paths and buffers of filesGiveWay's programs.
const (
	wayPaths = dataVA
	wayData  = dataVA + 64*page
	wayBytes = 4 << 20
	// wayInterval is how long the other task sleeps.
	wayInterval = 50 * time.Microsecond
)

// filesGiveWay: no system call on files keeps others waiting for long, whatever a program
// asks of it.
// Broken by: a loop that does not let others run.
func filesGiveWay(t *T) {
	at := fs.At{Place: t.FS.NewPlace()}
	const dir = "/tmp/way"
	t.check("mkdir", t.FS.Mkdir(at, dir, 0o755))
	const names = 600
	for i := range names {
		t.check("symlink", t.FS.Symlink("x", at, fmt.Sprint(dir, "/", i)))
	}
	defer func() {
		for i := range names {
			t.check("unlink", t.FS.Unlink(at, fmt.Sprint(dir, "/", i), 0))
		}
		t.check("rmdir", t.FS.Unlink(at, dir, unix.AT_REMOVEDIR))
	}()
	paths := []string{"/dev/zero", "/dev/null", dir, "/" + strings.Repeat("./", 2000) + "dev/null", "/dev/urandom"}
	const zero, null, list, long, random = 0, 1, 2, 3, 4
	open := func(p *program, path int, flags uint64) {
		p.call(unix.SYS_OPENAT, ^uint64(99), uint64(wayPaths)+uint64(path)*4096, flags, 0)
	}
	const n = uint64(wayBytes)
	data := uint64(wayData)
	for _, c := range []struct {
		name string
		emit func(p *program)
	}{
		{"read of /dev/zero", func(p *program) { open(p, zero, 0); p.call(unix.SYS_READ, 0, data, n) }},
		{"write to /dev/null", func(p *program) { open(p, null, 1); p.call(unix.SYS_WRITE, 0, data, n) }},
		{"read of /dev/urandom", func(p *program) { open(p, random, 0); p.call(unix.SYS_READ, 0, data, n/4) }},
		{"getrandom", func(p *program) { p.call(unix.SYS_GETRANDOM, data, n/4, 0) }},
		{"sendfile", func(p *program) {
			open(p, zero, 0)
			open(p, null, 1)
			p.call(unix.SYS_SENDFILE, 1, 0, 0, n)
		}},
		{"a file written, copied, truncated and closed", func(p *program) {
			p.call(unix.SYS_MEMFD_CREATE, uint64(wayPaths), 0)
			p.call(unix.SYS_WRITE, 0, data, n)
			p.call(unix.SYS_MEMFD_CREATE, uint64(wayPaths), 0)
			p.call(unix.SYS_LSEEK, 0, 0, 0)
			p.call(unix.SYS_COPY_FILE_RANGE, 0, 0, 1, 0, n, 0)
			p.call(unix.SYS_FTRUNCATE, 0, 0)
			p.call(unix.SYS_CLOSE, 1)
		}},
		{"a pipe of 1 MB", func(p *program) {
			p.call(unix.SYS_PIPE2, data, 0)
			p.call(unix.SYS_FCNTL, 1, unix.F_SETPIPE_SZ, 1<<20)
			p.call(unix.SYS_WRITE, 1, data, 1<<20)
			p.call(unix.SYS_READ, 0, data, 1<<20)
		}},
		{"poll", func(p *program) {
			p.call(unix.SYS_EVENTFD2, 0, 0)
			p.call(unix.SYS_PPOLL, data, 1000, uint64(wayPaths)+4096*8, 0, 8)
		}},
		{"getdents", func(p *program) {
			open(p, list, 0)
			p.repeat(6, func() { p.call(unix.SYS_GETDENTS64, 0, data, 65536) })
		}},
		{"a long path", func(p *program) { open(p, long, 0) }},
		{"close_range", func(p *program) {
			open(p, null, 0)
			p.repeat(900, func() { p.call(unix.SYS_DUP, 0) })
			p.call(unix.SYS_CLOSE_RANGE, 0, ^uint64(0)>>32, 0)
		}},
	} {
		var p program
		c.emit(&p)
		p.exitFailed()
		t.givesWay(c.name, longestWait, func() time.Duration {
			vs := t.space(&p)
			t.mapped(vs, dataVA, uint64(wayData-dataVA)+wayBytes)
			for i, path := range paths {
				t.check("copy", vs.CopyOut(wayPaths+arch.VA(i)*4096, append([]byte(path), 0)))
			}
			t.check("touch", vs.EnsureWritable(wayData, wayBytes))
			runtime.GC()
			var st proc.Status
			worst := waitsEvery(wayInterval, func() { st = t.run(vs) }) - wayInterval
			if st != 0 {
				t.Errorf("%s: %s", c.name, statusText(st))
			}
			return worst
		})
	}
}

// filesKilled: a process in the middle of a long copy ends when it is killed, or by a
// signal whose default action ends it.
// Broken by: pump that ignores the error of Pause.
func filesKilled(t *T) {
	for _, sig := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM} {
		var p program
		for i, flags := range []uint64{0, 1} {
			p.call(unix.SYS_OPENAT, ^uint64(99), uint64(wayPaths)+uint64(i)*4096, flags, 0)
		}
		p.store(wayPaths+2*4096, 1)
		p.call(unix.SYS_SENDFILE, 1, 0, 0, 0x7ffff000) // some seconds
		p.exit(0)
		vs := t.space(&p)
		t.mapped(vs, dataVA, 4*page)
		t.check("copy", vs.CopyOut(wayPaths, []byte("/dev/zero\x00")))
		t.check("copy", vs.CopyOut(wayPaths+4096, []byte("/dev/null\x00")))
		proc := t.start(vs)
		for begun := false; !begun; {
			runtime.Gosched()
			var b [1]byte
			t.check("look", vs.CopyIn(b[:], wayPaths+2*4096))
			begun = b[0] == 1
		}
		runtime.Gosched()
		t.check("kill", proc.Signal(siginfo(sig)))
		if st := proc.Wait().Status; !st.Signaled() || st.Signal() != sig {
			t.Errorf("%v in a copy: %s", sig, statusText(st))
		}
	}
}

func siginfo(s syscall.Signal) *proc.Siginfo { return &proc.Siginfo{Signo: s} }
