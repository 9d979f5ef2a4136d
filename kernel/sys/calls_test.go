package sys

import (
	"bytes"
	"math/rand"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/charge"
	"grim/proc"
)

const cwd = 1<<64 - 100 // AT_FDCWD

func TestFiles(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			fd := u.ok("openat", cwd, u.str("/tmp/a"), unix.O_CREAT|unix.O_RDWR, 0o644)
			data := bytes.Repeat([]byte("0123456789abcde\n"), 5000) // more than a chunk
			u.store(0x20_0000, data)
			if n := u.ok("write", fd, 0x20_0000, uint64(len(data))); n != uint64(len(data)) {
				m.t.Errorf("wrote %d", n)
			}
			if n := u.ok("pread64", fd, 0x28_0000, 1<<20-0x8_0000, 16); n != uint64(len(data)-16) {
				m.t.Errorf("read %d", n)
			}
			if !bytes.Equal(u.load(0x28_0000, len(data)-16), data[16:]) {
				m.t.Error("other bytes came back")
			}
			// readv into pieces. The last piece is longer than the rest of the file.
			u.ok("lseek", fd, uint64(len(data)-10), 0)
			le.PutUint64(data[0:], dataVA+100)
			le.PutUint64(data[8:], 4)
			le.PutUint64(data[16:], 0)
			le.PutUint64(data[24:], 0)
			le.PutUint64(data[32:], dataVA+200)
			le.PutUint64(data[40:], 100)
			u.store(dataVA, data[:48])
			if n := u.ok("readv", fd, dataVA, 3); n != 10 {
				m.t.Errorf("readv %d", n)
			}
			if string(u.load(dataVA+100, 4)) != "6789" || string(u.load(dataVA+200, 6)) != "abcde\n" {
				m.t.Errorf("readv %q %q", u.load(dataVA+100, 4), u.load(dataVA+200, 6))
			}
			u.ok("newfstatat", cwd, u.str("/tmp/a"), dataVA, 0)
			if size := u.word(dataVA + 48); size != uint64(len(data)) {
				m.t.Errorf("size %d", size)
			}
			u.ok("mkdirat", cwd, u.str("/tmp/d"), 0o755)
			u.ok("chdir", u.str("/tmp/d"))
			if n := u.ok("getcwd", dataVA, 100); n != 7 || string(u.load(dataVA, 7)) != "/tmp/d\x00" {
				m.t.Errorf("getcwd %d %q", n, u.load(dataVA, 7))
			}
			u.want(syscall.ERANGE, "getcwd", dataVA, 6)
			u.ok("unlinkat", cwd, u.str("../a"), 0)
			u.want(syscall.ENOENT, "openat", cwd, u.str("/tmp/a"), 0, 0)
			u.want(syscall.ENOTDIR, "openat", fd, u.str("x"), 0, 0)
			u.ok("close", fd)
			u.want(syscall.EBADF, "close", fd)
			u.ok("unlinkat", cwd, u.str("/tmp/d"), unix.AT_REMOVEDIR)
		})
	})
}

// Bad pointers and numbers return their errno and have no other effect.
func TestBadArguments(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			fd := u.ok("openat", cwd, u.str("/tmp/b"), unix.O_CREAT|unix.O_RDWR, 0o600)
			u.ok("write", fd, dataVA, 100)
			const unmapped, kernel, end = 0x9000_0000, 0xffff_8000_0000_0000, dataVA + dataLen
			for _, va := range []uint64{unmapped, kernel, ^uint64(0) - 7, uint64(arch.UserMax) - 1, 8} {
				u.want(syscall.EFAULT, "pread64", fd, va, 50, 0)
				u.want(syscall.EFAULT, "write", fd, va, 50)
				u.want(syscall.EFAULT, "openat", cwd, va, 0, 0)
				u.want(syscall.EFAULT, "fstat", fd, va)
				u.want(syscall.EFAULT, "clock_gettime", 1, va)
				u.want(syscall.EFAULT, "nanosleep", va, 0)
				u.want(syscall.EFAULT, "pipe2", va, 0)
				u.want(syscall.EFAULT, "uname", va)
				u.want(syscall.EFAULT, "getrandom", va, 10, 0)
				u.want(syscall.EFAULT, "rt_sigaction", 10, va, 0, 8)
				u.want(syscall.EFAULT, "ppoll", va, 1, 0, 0, 0)
				u.want(syscall.EFAULT, "execve", va, 0, 0)
				u.want(syscall.EFAULT, "readv", fd, va, 2)
				u.want(syscall.EFAULT, "sigaltstack", va, 0)
			}
			// Half valid: the accessible part does not count.
			u.want(syscall.EFAULT, "clock_gettime", 1, end-8)
			u.want(syscall.EFAULT, "fstat", fd, end-32)
			u.want(syscall.EFAULT, "openat", cwd, uint64(u.store(end-3, []byte("abc"))), 0, 0)
			if n := u.call("write", fd, end-10, 20); n != 10 && errno(n) != syscall.EFAULT {
				m.t.Errorf("half a write: %d", int64(n))
			}
			u.want(syscall.EINVAL, "read", fd, dataVA, 1<<63)
			u.want(syscall.EFAULT, "pread64", fd, uint64(arch.UserMax)-4096, 8192, 0)
			u.want(syscall.EINVAL, "pread64", fd, dataVA, 5, 1<<63)
			u.want(syscall.EBADF, "read", 63, dataVA, 1)
			u.want(syscall.EBADF, "read", ^uint64(0), dataVA, 1)
			u.want(syscall.EINVAL, "readv", fd, dataVA, 1025)
			u.want(syscall.EINVAL, "lseek", fd, 0, 77)
			u.want(syscall.EINVAL, "mmap", 0, 0, 3, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 0, 0)
			u.want(syscall.EINVAL, "mmap", 0, 4096, 3, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 0, 5)
			u.want(syscall.EINVAL, "mmap", 0, 4096, 3, unix.MAP_ANONYMOUS, 0, 0)
			u.want(syscall.EINVAL, "mprotect", dataVA, 4096, 0x80)
			u.want(syscall.EINVAL, "rt_sigaction", 9, dataVA, 0, 8)
			u.want(syscall.EINVAL, "rt_sigaction", 65, 0, 0, 8)
			u.want(syscall.EINVAL, "rt_sigprocmask", 7, dataVA, 0, 8)
			u.want(syscall.EINVAL, "rt_sigprocmask", 0, dataVA, 0, 4)
			u.want(syscall.EINVAL, "pipe2", dataVA, 0x10)
			u.want(syscall.EINVAL, "futex", dataVA+2, futexWake, 1)
			u.want(syscall.ENOSYS, "futex", dataVA, 6, 1)
			u.want(syscall.EINVAL, "clone", proc64(proc.CloneThread))
			u.want(syscall.EINVAL, "clone3", dataVA, 8)
			u.want(syscall.ECHILD, "wait4", ^uint64(0), 0, 0, 0)
			u.want(syscall.EINVAL, "wait4", ^uint64(0), 0, 0x4000_0000>>3, 0)
			u.want(syscall.ESRCH, "kill", 30000, 0)
			u.want(syscall.EINVAL, "kill", u.ok("getpid"), 65)
			u.want(syscall.EINVAL, "set_robust_list", dataVA, 23)
			u.want(syscall.EINVAL, "clock_gettime", 99, dataVA)
			u.want(syscall.EAFNOSUPPORT, "socket", 200, 1, 0)
			u.want(syscall.EINVAL, "reboot", 1, 2, 3, 0)
			u.want(syscall.EINVAL, "sched_getaffinity", 0, 3, dataVA)
			u.want(syscall.EINVAL, "clock_settime", 0, dataVA)
			u.store(dataVA, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0xca, 0x9a, 0x3b, 0, 0, 0, 0}) // 1e9 ns
			u.want(syscall.EINVAL, "nanosleep", dataVA, 0)
			u.ok("unlinkat", cwd, u.str("/tmp/b"), 0)
		})
	})
}

func proc64(f proc.CloneFlags) uint64 { return uint64(f) }

func TestForkWaitPipe(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			u.ok("pipe2", dataVA, 0)
			fds := u.load(dataVA, 8)
			r, w := uint64(le.Uint32(fds)), uint64(le.Uint32(fds[4:]))
			pid := u.fork(func(c *user) {
				c.ok("close", r)
				c.store(dataVA, []byte("hello"))
				c.ok("write", w, dataVA, 5)
				c.exit(42)
			})
			u.ok("close", w)
			if n := u.ok("read", r, dataVA+64, 100); n != 5 || string(u.load(dataVA+64, 5)) != "hello" {
				m.t.Errorf("read %d %q", n, u.load(dataVA+64, 5))
			}
			if n := u.ok("read", r, dataVA+64, 100); n != 0 {
				m.t.Errorf("no end of file: %d", n)
			}
			if got := u.ok("wait4", ^uint64(0), dataVA+128, 0, dataVA+256); got != pid {
				m.t.Errorf("waited for %d, want %d", got, pid)
			}
			if st := le.Uint32(u.load(dataVA+128, 4)); st != 42<<8 {
				m.t.Errorf("status %#x", st)
			}
			if string(u.load(dataVA, 5)) == "hello" {
				m.t.Error("the child's memory is the parent's")
			}
			// Without a reader: EPIPE and SIGPIPE, here ignored.
			u.store(dataVA, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			u.ok("rt_sigaction", uint64(unix.SIGPIPE), dataVA, 0, 8)
			u.ok("pipe2", dataVA, 0)
			fds = u.load(dataVA, 8)
			u.ok("close", uint64(le.Uint32(fds)))
			u.want(syscall.EPIPE, "write", uint64(le.Uint32(fds[4:])), dataVA, 5)
		})
	})
}

// action stores a struct sigaction whose handler is fn.
func (u *user) action(sig int, flags uint64, fn func(u *user, sig int)) {
	u.m.mu.Lock()
	u.m.nextMark++
	pc := handlerBase + u.m.nextMark
	u.m.mu.Unlock()
	u.m.programs.Store(pc, fn)
	var b [32]byte
	le.PutUint64(b[0:], pc)
	le.PutUint64(b[8:], flags|saRestorer)
	le.PutUint64(b[16:], 0x6000_0000)
	u.store(dataVA+1024, b[:])
	u.ok("rt_sigaction", uint64(sig), dataVA+1024, 0, 8)
}

// A handler runs on the right stack, the interrupted registers are restored, the mask holds
// during the handler, and an interrupted system call ends as SA_RESTART requires.
func TestSignals(t *testing.T) {

	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			ran := 0
			alt := false
			u.action(int(unix.SIGUSR1), 0, func(h *user, sig int) {
				ran++
				if sig != int(unix.SIGUSR1) {
					m.t.Errorf("signal %d", sig)
				}
				sp := h.u.Frame[m.abi.SP]
				alt = sp >= 0x28_0000 && sp < 0x28_0000+16384
				h.u.Frame[m.mark()] = 0xbad // sigreturn must restore it
			})
			u.u.Frame[m.mark()] = 77
			self := u.ok("getpid")
			u.ok("kill", self, uint64(unix.SIGUSR1))
			if ran != 1 || alt || u.u.Frame[m.mark()] != 77 {
				m.t.Errorf("ran %d, alt %v, register %#x", ran, alt, u.u.Frame[m.mark()])
			}
			// Blocked, pending, unblocked.
			u.store(dataVA, []byte{1 << 1, 2, 0, 0, 0, 0, 0, 0}) // signals 2 and 10
			u.ok("rt_sigprocmask", 0, dataVA, dataVA+8, 8)
			u.ok("tgkill", self, u.ok("gettid"), uint64(unix.SIGUSR1))
			if u.ok("rt_sigpending", dataVA+16, 8); ran != 1 || u.word(dataVA+16) != 1<<9 {
				m.t.Errorf("ran %d, pending %#x", ran, u.word(dataVA+16))
			}
			u.ok("rt_sigprocmask", 2, dataVA+8, 0, 8)
			if ran != 2 {
				m.t.Errorf("ran %d after unblocking", ran)
			}
			// On the alternate stack.
			var st [24]byte
			le.PutUint64(st[:], 0x28_0000)
			le.PutUint64(st[16:], 16384)
			u.store(dataVA, st[:])
			u.ok("sigaltstack", dataVA, 0)
			u.action(int(unix.SIGUSR1), proc.SA_ONSTACK, func(h *user, sig int) {
				sp := h.u.Frame[m.abi.SP]
				alt = sp >= 0x28_0000 && sp < 0x28_0000+16384
				h.want(syscall.EPERM, "sigaltstack", dataVA, 0)
			})
			u.ok("kill", self, uint64(unix.SIGUSR1))
			if !alt {
				m.t.Error("not on the alternate stack")
			}
			// A sleep returns EINTR with the remaining time, also without handler flags.
			u.action(int(unix.SIGALRM), 0, func(h *user, sig int) { ran++ })
			// The timer has an interval: on a slow host its first signal may come before the
			// sleep.
			u.store(dataVA, make([]byte, 32))
			u.store(dataVA+8, []byte{0x10, 0x27, 0, 0, 0, 0, 0, 0}) // 10 ms
			u.store(dataVA+24, []byte{0x10, 0x27, 0, 0, 0, 0, 0, 0})
			u.ok("setitimer", 0, dataVA, 0)
			u.store(dataVA, []byte{50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			u.want(syscall.EINTR, "nanosleep", dataVA, dataVA+64)
			if left := u.word(dataVA + 64); left == 0 || left > 49 {
				m.t.Errorf("%d s left", left)
			}
			u.store(dataVA, make([]byte, 32))
			u.ok("setitimer", 0, dataVA, 0)
			// SA_RESTART restarts a read; the handler writes the data for it.
			u.ok("pipe2", dataVA+512, 0)
			fds := u.load(dataVA+512, 8)
			u.action(int(unix.SIGALRM), proc.SA_RESTART, func(h *user, sig int) {
				h.ok("write", uint64(le.Uint32(fds[4:])), dataVA, 3)
			})
			u.store(dataVA, make([]byte, 32))
			u.store(dataVA+24, []byte{0x10, 0x27, 0, 0, 0, 0, 0, 0})
			u.ok("setitimer", 0, dataVA, 0)
			if n := u.ok("read", uint64(le.Uint32(fds)), dataVA+600, 10); n != 3 {
				m.t.Errorf("read %d", n)
			}
			// sigsuspend with a mask that lets the signal in; afterwards the old mask is
			// back.
			u.store(dataVA, []byte{0, 2, 0, 0, 0, 0, 0, 0})
			u.ok("rt_sigprocmask", 0, dataVA, 0, 8)
			u.ok("kill", self, uint64(unix.SIGUSR1))
			u.store(dataVA, make([]byte, 8))
			alt = false
			u.want(syscall.EINTR, "rt_sigsuspend", dataVA, 8)
			if u.ok("rt_sigprocmask", 0, 0, dataVA, 8); !alt || u.word(dataVA) != 1<<9 {
				m.t.Errorf("after sigsuspend: ran %v, mask %#x", alt, u.word(dataVA))
			}
			u.store(dataVA, []byte{0, 2, 0, 0, 0, 0, 0, 0})
			u.ok("kill", self, uint64(unix.SIGUSR1))
			if n := u.ok("rt_sigtimedwait", dataVA, dataVA+128, 0, 8); n != 10 || le.Uint32(u.load(dataVA+144, 4)) != uint32(self) {
				m.t.Errorf("sigtimedwait %d", n)
			}
		})
		// A bad frame ends the process with SIGSEGV.
		st := m.run(func(u *user) {
			u.u.Frame[m.abi.SP] = 0x9000_0000
			u.call("rt_sigreturn")
			m.t.Error("sigreturn came back")
		})
		if !st.Signaled() || st.Signal() != syscall.SIGSEGV {
			m.t.Errorf("status %#x", st)
		}
	})
}

func TestPollSelectEpoll(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			u.ok("pipe2", dataVA, 0)
			fds := u.load(dataVA, 8)
			r, w := uint64(le.Uint32(fds)), uint64(le.Uint32(fds[4:]))
			pfd := make([]byte, 24) // r for in, w for out, a bad one
			le.PutUint32(pfd[0:], uint32(r))
			le.PutUint16(pfd[4:], unix.POLLIN)
			le.PutUint32(pfd[8:], uint32(w))
			le.PutUint16(pfd[12:], unix.POLLOUT)
			le.PutUint32(pfd[16:], ^uint32(0))
			u.store(dataVA+64, pfd)
			if n := u.ok("ppoll", dataVA+64, 3, 0, 0, 0); n != 1 {
				m.t.Errorf("ppoll %d", n)
			}
			if got := u.load(dataVA+64, 24); le.Uint16(got[6:]) != 0 || le.Uint16(got[14:]) != unix.POLLOUT || le.Uint16(got[22:]) != 0 {
				m.t.Errorf("revents % x", got)
			}
			le.PutUint32(pfd[16:], 55)
			u.store(dataVA+64, pfd)
			if n := u.ok("ppoll", dataVA+64, 3, 0, 0, 0); n != 2 || le.Uint16(u.load(dataVA+64+22, 2)) != unix.POLLNVAL {
				m.t.Errorf("ppoll %d", n)
			}
			u.ok("write", w, dataVA, 1)
			sets := make([]byte, 16)
			sets[0] = 1<<r | 1<<w
			u.store(dataVA+256, sets)
			u.store(dataVA+512, make([]byte, 16)) // no time
			if n := u.ok("pselect6", 8, dataVA+256, 0, 0, dataVA+512, 0); n != 1 || u.word(dataVA+256) != 1<<r {
				m.t.Errorf("select %d, %#x", n, u.word(dataVA+256))
			}
			sets[0] = 1 << 50 % 255
			u.store(dataVA+256, []byte{0, 0, 0, 0, 1, 0, 0, 0})
			u.want(syscall.EBADF, "pselect6", 64, dataVA+256, 0, 0, dataVA+512, 0)

			size := uint64(m.s.tab.epollSize)
			ep := u.ok("epoll_create1", unix.EPOLL_CLOEXEC)
			ev := make([]byte, size)
			le.PutUint32(ev, unix.EPOLLIN)
			le.PutUint64(ev[size-8:], 0xfeed)
			u.store(dataVA+64, ev)
			u.ok("epoll_ctl", ep, unix.EPOLL_CTL_ADD, r, dataVA+64)
			u.want(syscall.EEXIST, "epoll_ctl", ep, unix.EPOLL_CTL_ADD, r, dataVA+64)
			u.want(syscall.EINVAL, "epoll_ctl", ep, unix.EPOLL_CTL_ADD, ep, dataVA+64)
			if n := u.ok("epoll_pwait", ep, dataVA+128, 8, ^uint64(0), 0, 8); n != 1 || u.word(arch.VA(dataVA+128+size-8)) != 0xfeed {
				m.t.Errorf("epoll %d", n)
			}
			u.want(syscall.EINVAL, "epoll_pwait", ep, dataVA+128, 0, 0, 0, 8)
			u.ok("read", r, dataVA, 1)
			if n := u.ok("epoll_pwait", ep, dataVA+128, 8, 1, 0, 8); n != 0 {
				m.t.Errorf("epoll %d", n)
			}
			for _, fd := range []uint64{ep, r, w} {
				u.ok("close", fd)
			}
		})
	})
}

// Threads, futexes, clear_child_tid.
func TestThreads(t *testing.T) {
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
		unix.CLONE_SYSVSEM | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			const ptid, ctid, word = dataVA, dataVA + 8, dataVA + 16
			u.store(dataVA, []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			u.child(func(c *user) {
				if c.u.Frame[m.abi.TLS] != 0x1234000 || c.u.Frame[m.abi.SP] != 0x2f_0000 {
					m.t.Errorf("TLS %#x, SP %#x", c.u.Frame[m.abi.TLS], c.u.Frame[m.abi.SP])
				}
				if c.ok("getpid") == c.ok("gettid") {
					m.t.Error("the thread is a process")
				}
				c.store(word, []byte{1})
				c.ok("futex", word, futexWake|futexPrivate, 1)
			})
			args := []uint64{flags, 0x2f_0000, ptid, 0x1234000, ctid}
			if m.abi.Name == "amd64" {
				args[3], args[4] = args[4], args[3]
			}
			tid := u.ok("clone", args...)
			u.u.Frame[m.mark()] = 0
			for u.load(word, 1)[0] == 0 {
				if e := errno(u.call("futex", word, futexWait|futexPrivate, 0, 0)); e != 0 && e != syscall.EAGAIN {
					m.t.Errorf("futex: %v", e)
				}
			}
			for u.load(ctid, 1)[0] != 0 { // join, as pthread_join does it
				u.call("futex", ctid, futexWait, 1, 0)
			}
			if got := le.Uint32(u.load(ptid, 4)); uint64(got) != tid {
				m.t.Errorf("parent tid %d, want %d", got, tid)
			}
			var ts [16]byte
			ts[8] = 100 // ns
			u.store(dataVA+64, ts[:])
			u.want(syscall.ETIMEDOUT, "futex", word, futexWait|futexPrivate, 1, dataVA+64)
			u.want(syscall.EAGAIN, "futex", word, futexWait|futexPrivate, 0, dataVA+64)
			u.want(syscall.ETIMEDOUT, "futex", word, futexWaitBitset|futexPrivate, 1, dataVA+64, 0, ^uint64(0))
		})
	})
}

func TestMemoryCalls(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			fd := u.ok("openat", cwd, u.str("/tmp/m"), unix.O_CREAT|unix.O_RDWR, 0o600)
			u.ok("ftruncate", fd, 8192)
			va := u.ok("mmap", 0, 8192, 3, unix.MAP_SHARED, fd, 0)
			u.store(arch.VA(va)+5000, []byte("shared"))
			u.ok("msync", va, 8192, unix.MS_SYNC)
			u.ok("pread64", fd, dataVA, 6, 5000)
			if string(u.load(dataVA, 6)) != "shared" {
				m.t.Errorf("read %q", u.load(dataVA, 6))
			}
			u.ok("mincore", va, 8192, dataVA)
			u.want(syscall.EINVAL, "mincore", va+1, 8192, dataVA)
			ro := u.ok("openat", cwd, u.str("/tmp/m"), unix.O_RDONLY, 0)
			u.want(syscall.EACCES, "mmap", 0, 4096, 3, unix.MAP_SHARED, ro, 0)
			r := u.ok("mmap", 0, 4096, 1, unix.MAP_SHARED, ro, 0)
			u.want(syscall.EACCES, "mprotect", r, 4096, 3)
			wo := u.ok("openat", cwd, u.str("/tmp/m"), unix.O_WRONLY, 0)
			u.want(syscall.EACCES, "mmap", 0, 4096, 1, unix.MAP_PRIVATE, wo, 0)
			u.want(syscall.EBADF, "mmap", 0, 4096, 1, unix.MAP_PRIVATE, 60, 0)
			b := u.ok("brk", 0)
			if u.ok("brk", b+10000) != b+10000 {
				m.t.Error("brk")
			}
			z := u.ok("openat", cwd, u.str("/dev/zero"), unix.O_RDWR, 0)
			a := u.ok("mmap", 0, 4096, 3, unix.MAP_SHARED, z, 0)
			u.store(arch.VA(a), []byte{7})
			pid := u.fork(func(c *user) { c.store(arch.VA(a), []byte{9}) })
			u.ok("wait4", pid, 0, 0, 0)
			if u.load(arch.VA(a), 1)[0] != 9 {
				m.t.Error("shared memory is not shared with the child")
			}
			u.ok("unlinkat", cwd, u.str("/tmp/m"), 0)
		})
	})
}

// The user who has set supplementary groups pays for the list until no thread and no
// process holds it any more. Children share it. Broken by: a child whose thread does not
// hold the list (it is dropped more often than held); a thread that is freed without
// dropping it.
func TestGroupsArePaidFor(t *testing.T) {
	onBoth(t, func(m *machine) {
		paid := func() int64 { return m.vm.Charges().Totals()[charge.Process] }
		m.passes(func(u *user) {
			const n = 1000
			for i := range n {
				u.store(arch.VA(dataVA+4*i), []byte{byte(i), byte(i >> 8), 0, 0})
			}
			start := paid()
			grown := func(what string, want int64) {
				t.Helper()
				if got := paid() - start; got < want || got > want+200 {
					t.Errorf("%s: %d bytes more, want %d", what, got, want)
				}
			}
			m.vm.Charges().Refuse(func(k charge.Kind, size int64) bool { return k == charge.Process })
			u.want(syscall.ENOMEM, "setgroups", n, dataVA)
			m.vm.Charges().Refuse(nil)
			u.ok("setgroups", 0, 0)
			grown("none", 0)
			u.ok("setgroups", n, dataVA)
			grown("first", 4*n)
			u.ok("setgroups", n/2, dataVA)
			grown("second", 2*n)
			if got := u.ok("getgroups", n, dataVA+8192); got != n/2 || u.word(dataVA+8192+8) != 3<<32|2 {
				t.Errorf("getgroups: %d, %#x", got, u.word(dataVA+8192+8))
			}
			child := u.fork(func(u *user) {
				start = paid()
				u.ok("setgroups", 0, 0)
				u.fork(func(u *user) {
					u.ok("setgroups", n, dataVA)
					u.exit(0)
				})
				u.ok("wait4", ^uint64(0), 0, 0, 0)
				grown("children are gone", 0)
			})
			u.ok("wait4", child, 0, 0, 0)
			u.exit(0)
		})
	})
}

// kcmp(2) tells whether two objects are the same, in an order that is one but says nothing
// of their addresses. Broken by: compare that compares the addresses.
func TestKcmpHidesAddresses(t *testing.T) {
	r := rand.New(rand.NewSource(rand.Int63()))
	keys := newOrderKeys(func(p []byte) { r.Read(p) })
	const n = 200
	up := 0
	for i := range uintptr(n) {
		a, b, c := 0xffff_ffff_8123_4500+64*i, 0xffff_ffff_8123_4500+64*(i+1), 0xffff_ffff_8123_4500+64*(i+7)
		k := keys[int(i)%len(keys)]
		ab, ba := k.compare(a, b), k.compare(b, a)
		if k.compare(a, a) != 0 || ab+ba != 3 || ab*ba != 2 || ab != k.compare(a, b) {
			t.Errorf("%#x, %#x: %d, the other way %d", a, b, ab, ba)
		}
		if bc := k.compare(b, c); ab == bc && k.compare(a, c) != ab {
			t.Errorf("%#x, %#x, %#x are not in order", a, b, c)
		}
		up += int(ab & 1)
	}
	if up < n/10 || up > n-n/10 {
		t.Errorf("%d of %d are in the order of their addresses", up, n)
	}
}

func TestReboot(t *testing.T) {
	m := newMachine(t, 0, 512)
	m.passes(func(u *user) {
		u.ok("reboot", unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_POWER_OFF, 0)
		u.ok("reboot", unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_RESTART, 0)
		u.ok("setuid", 1000)
		u.want(syscall.EPERM, "reboot", unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_RESTART, 0)
		u.want(syscall.EPERM, "setuid", 0)
	})
	if len(m.reboots) != 2 || m.reboots[0] || !m.reboots[1] {
		t.Errorf("%v", m.reboots)
	}
}

// Whatever a process asks for, the kernel survives, and gets everything back that it gave.
// The seed is in the name of the subtest.
func TestRandomCalls(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		seed := rand.Int63()
		m.t.Logf("seed %d", seed)
		r := rand.New(rand.NewSource(seed))
		for round := 0; round < 30; round++ {
			m.run(func(u *user) { u.babble(r, 150) })
		}
	})
}

// endless are calls that wait for something that no process does here.
var endless = map[string]bool{"pause": true, "rt_sigsuspend": true, "exit": true, "exit_group": true, "reboot": true,
	"vfork": true, "fork": true, "clone": true, "clone3": true, "rt_sigtimedwait": true}

func (u *user) babble(r *rand.Rand, n int) {
	values := []uint64{0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 100, 4095, 4096, 4097, 1 << 31, 1<<31 - 1, 1 << 32, 1 << 46,
		uint64(arch.UserMax) - 1, uint64(arch.UserMax), 1 << 63, ^uint64(0), ^uint64(0) - 99, dataVA, dataVA + 1,
		dataVA + 4096, dataVA + dataLen - 1, dataVA + dataLen - 16, 0x20_0000, 0x9000_0000, 0xffff_8000_0000_0000}
	// A blocking call is interrupted soon.
	u.action(int(unix.SIGALRM), 0, func(*user, int) {})
	u.store(dataVA+2048, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x13})
	u.ok("setitimer", 0, dataVA+2048, 0)
	for range n {
		e := &sysents[r.Intn(len(sysents))]
		nr, ok := u.m.nums[e.name]
		if !ok || endless[e.name] || e.name == "setitimer" || e.name == "alarm" || e.name == "rt_sigaction" ||
			e.name == "rt_sigprocmask" || e.name == "rt_sigreturn" || e.name == "munmap" || e.name == "sigaltstack" ||
			e.name == "mremap" || e.name == "mprotect" || e.name == "execve" || e.name == "execveat" {
			continue
		}
		args := make([]uint64, 6)
		for i := range args {
			args[i] = values[r.Intn(len(values))]
			if r.Intn(4) == 0 {
				args[i] = r.Uint64() >> (8 * r.Intn(8))
			}
		}
		u.callNumber(uint64(nr), args...)
	}
}
