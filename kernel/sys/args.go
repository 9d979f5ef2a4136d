package sys

import (
	"math"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc"
)

// ctx is one system call: the calling thread and its registers. It is passed by value, so
// that a call allocates nothing.
type ctx struct {
	s *System
	t *proc.Thread
	f *arch.Frame
}

// arg returns the register of argument i.
func (c ctx) arg(i int) uint64 { return c.f[c.s.abi.Arg[i]] }

// int returns argument i as a C int. The ABI allows anything in the upper half of the
// register.
func (c ctx) int(i int) int       { return int(int32(c.arg(i))) }
func (c ctx) uint32(i int) uint32 { return uint32(c.arg(i)) }
func (c ctx) va(i int) arch.VA    { return arch.VA(c.arg(i)) }

// mem returns the caller's address space.
func (c ctx) mem() *vm.VMSpace { return c.t.VM() }

// get copies a value of fixed size in. T must not contain Go pointers.
func get[T any](c ctx, va arch.VA) (v T, err error) {
	err = c.mem().CopyIn(bytesOf(&v), va)
	return v, err
}

// put copies a value of fixed size out. T must not contain Go pointers.
func put[T any](c ctx, va arch.VA, v *T) error {
	return c.mem().CopyOut(va, bytesOf(v))
}

// bytesOf returns the memory of a value. T must not contain Go pointers. Safety: then any
// bytes are a value of T.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// pauseEvery lets other threads run after each 64 short steps of a loop; i is the number of
// the step. An error means that the process is to end.
func (c ctx) pauseEvery(i int) error {
	if i&63 == 63 {
		return c.t.Pause()
	}
	return nil
}

// copyOut copies p to user memory. At an address without memory it stops and returns
// EFAULT, together with the number of bytes copied before.
func (c ctx) copyOut(va arch.VA, p []byte) (n int, err error) {
	for {
		if n += c.mem().CopyOutPresent(va+arch.VA(n), p[n:]); n == len(p) {
			return n, nil
		}
		if err := c.mem().EnsureWritable(va+arch.VA(n), 1); err != nil {
			return n, err
		}
	}
}

// path returns a path argument. Errors: EFAULT, ENAMETOOLONG.
func (c ctx) path(i int) (string, error) {
	return c.mem().CopyInString(c.va(i), unix.PathMax-1)
}

// file returns the open file of descriptor argument i, with a reference, which the caller
// must release.
func (c ctx) file(i int) (*fs.File, error) { return c.files().fds.Get(c.int(i)) }

// at returns the start of a relative path: the directory of descriptor argument i, or the
// working directory for AT_FDCWD. The caller must call releaseAt. A number that is no open
// file is EBADF only if the path needs the directory, so an absolute path works with any
// number (openat(2)).
func (c ctx) at(i int, path string) (a fs.At, err error) {
	a = c.cwd()
	fd := c.int(i)
	if fd == unix.AT_FDCWD || (len(path) > 0 && path[0] == '/') {
		return a, nil
	}
	a.Dir, err = c.files().fds.Get(fd)
	return a, err
}

// pathAt returns path argument p and its start, descriptor argument dir. Most calls named
// ...at begin with it. The caller must call releaseAt.
func (c ctx) pathAt(dir, p int) (a fs.At, path string, err error) {
	if path, err = c.path(p); err != nil {
		return a, "", err
	}
	a, err = c.at(dir, path)
	return a, path, err
}

// cwd returns the start of the paths of a call without a dirfd.
func (c ctx) cwd() fs.At { return fs.At{Task: c.task(), Place: c.files().place} }

// releaseAt drops the reference that at took.
func releaseAt(a fs.At) {
	if a.Dir != nil {
		a.Dir.Release()
	}
}

// task returns the caller as package fs needs it.
func (c ctx) task() fs.Task { return task{c.t} }

// task implements fs.Task with a thread.
type task struct{ *proc.Thread }

// FileLimit implements fs.Task.
func (t task) FileLimit() int64 {
	l, _ := t.Process().Limit(unix.RLIMIT_FSIZE)
	return int64(min(l.Cur, math.MaxInt64))
}

// OpenLimit implements fs.Task.
func (t task) OpenLimit() int {
	l, _ := t.Process().Limit(unix.RLIMIT_NOFILE)
	return int(min(l.Cur, fs.MaxFDs))
}

// TooLarge implements fs.Task.
func (t task) TooLarge() {
	// The only error is a full queue of real-time signals.
	_ = t.Tgkill(0, t.TID(), &proc.Siginfo{Signo: syscall.SIGXFSZ, Code: proc.SI_KERNEL})
}

// IDs implements fs.Task.
func (t task) IDs() (pid, tid int) { return t.Process().PID(), t.TID() }

// Payer implements fs.Task: the user of the thread's process.
func (t task) Payer() *charge.User { return t.Process().Account().User() }

// userRange checks that [va, va+n) is in the user half: EFAULT. It does not check whether
// memory is mapped there; the copy does.
func userRange(va arch.VA, n uint64) error {
	if va > arch.UserMax || n > uint64(arch.UserMax-va) {
		return syscall.EFAULT
	}
	return nil
}

// onlyFlags returns EINVAL if flags has bits outside of known.
func onlyFlags[T ~int | ~uint32 | ~uint64](flags, known T) error {
	if flags&^known != 0 {
		return syscall.EINVAL
	}
	return nil
}
