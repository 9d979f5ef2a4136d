package sys

import (
	"cmp"
	"reflect"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc"
)

// Calls of one process that act on another process.

// traced returns the memory of the process with a number, with a reference, if the caller
// may look into it. Errors: ESRCH, EPERM.
func (c ctx) traced(pid int) (*vm.VMSpace, error) {
	p := c.s.k.Holder(pid)
	if p == nil || p.Exited() {
		return nil, syscall.ESRCH
	}
	vs, may := guarded(task{c.t}, p)
	switch {
	case vs == nil:
		return nil, syscall.ESRCH
	case !may:
		vs.Release()
		return nil, syscall.EPERM
	}
	return vs, nil
}

func sysProcessVMReadv(c ctx) (uint64, error)  { return c.processVM(false) }
func sysProcessVMWritev(c ctx) (uint64, error) { return c.processVM(true) }

// processVM copies between the memory of the caller and of another process, one piece at a
// time. Bytes copied before a bad address count.
func (c ctx) processVM(out bool) (uint64, error) {
	if c.arg(5) != 0 {
		return 0, syscall.EINVAL
	}
	n := (max(c.int(2), 0) + max(c.int(4), 0)) * iovCost
	if n > 2*maxIov*iovCost {
		return 0, syscall.EINVAL
	}
	if !c.take(n) {
		return 0, syscall.ENOMEM
	}
	defer c.give(n)
	local, err := c.iovec(1)
	if err != nil {
		return 0, err
	}
	remote, err := c.iovec(3)
	if err != nil {
		return 0, err
	}
	if len(local) == 0 || len(remote) == 0 {
		return 0, nil
	}
	vs, err := c.traced(c.int(0))
	if err != nil {
		return 0, err
	}
	defer vs.Release()
	buf := fs.NewBuffer(min(total(local), total(remote)))
	defer buf.Put()
	done := uint64(0)
	for len(local) > 0 && len(remote) > 0 {
		l, r := &local[0], &remote[0]
		k := min(l.n, r.n, uint64(len(buf.B)), arch.PageSize-uint64(r.va)%arch.PageSize)
		if err := copyBetween(c.mem(), l.va, vs, r.va, buf.B[:k], out); err != nil {
			return partial(done, err)
		}
		done += k
		for _, s := range []*[]span{&local, &remote} {
			x := &(*s)[0]
			if x.va, x.n = x.va+arch.VA(k), x.n-k; x.n == 0 {
				*s = (*s)[1:]
			}
		}
		if err := c.t.Pause(); err != nil {
			return partial(done, err)
		}
	}
	return done, nil
}

// copyBetween moves len(b) bytes, through b.
func copyBetween(mine *vm.VMSpace, at arch.VA, theirs *vm.VMSpace, there arch.VA, b []byte, out bool) error {
	if out {
		if err := mine.CopyIn(b, at); err != nil {
			return err
		}
		return theirs.CopyOut(there, b)
	}
	if err := theirs.CopyIn(b, there); err != nil {
		return err
	}
	return mine.CopyOut(at, b)
}

// sysPidfdGetfd copies a descriptor of another process.
func sysPidfdGetfd(c ctx) (uint64, error) {
	if c.arg(2) != 0 {
		return 0, syscall.EINVAL
	}
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	target, err := f.Pid()
	f.Release()
	if err != nil {
		return 0, err
	}
	p := target.(pidTarget).Process
	if p.Exited() {
		return 0, syscall.ESRCH
	}
	fl, ok := p.Files().(*files)
	var g *fs.File
	if ok {
		g, err = fl.fds.Get(c.int(1))
	}
	switch may := mayTrace(c.t, p); { // after Get, so that g is not a set-user-ID program's
	case !may && g != nil:
		g.Release()
		fallthrough
	case !may:
		return 0, syscall.EPERM
	case !ok:
		return 0, syscall.ESRCH
	case err != nil:
		return 0, err
	}
	return c.install(g, true)
}

// Kinds of kcmp(2).
const (
	kcmpFile = iota
	kcmpVM
	kcmpFiles
	kcmpFS
	kcmpSighand
	kcmpIO
	kcmpSysVSem
	kcmpEpoll
	kcmpKinds
)

// orderKey hides the addresses of kernel objects of one kind. Keys are odd, so that a
// multiplication by one of them keeps different addresses different.
type orderKey struct{ flip, times uintptr }

// newOrderKeys draws a key for each kind of kcmp(2).
func newOrderKeys(random func(p []byte)) (keys [kcmpKinds]orderKey) {
	var b [16]byte
	for i := range keys {
		random(b[:])
		keys[i] = orderKey{uintptr(le.Uint64(b[:])), uintptr(le.Uint64(b[8:])) | 1}
	}
	return keys
}

// compare returns kcmp(2)'s result for the resources at two addresses. The order is the same
// at each call, and tells nothing of the order of the addresses.
func (k orderKey) compare(a, b uintptr) uint64 {
	return [3]uint64{1, 0, 2}[cmp.Compare((a^k.flip)*k.times, (b^k.flip)*k.times)+1]
}

// sysKcmp reports whether two processes share a resource: it returns 0, or an order of the
// two resources.
func sysKcmp(c ctx) (uint64, error) {
	var p [2]*proc.Process
	for i := range p {
		if p[i] = c.s.k.Holder(c.int(i)); p[i] == nil {
			return 0, syscall.ESRCH
		}
	}
	for i := range p {
		if !mayTrace(c.t, p[i]) {
			return 0, syscall.EPERM
		}
	}
	kind := c.int(2)
	var at [2]uintptr
	for i := range p {
		fl, _ := p[i].Files().(*files)
		switch kind {
		case kcmpFile:
			if fl == nil {
				return 0, syscall.EBADF
			}
			f, err := fl.fds.Get(int(c.arg(3 + i)))
			if err != nil {
				return 0, err
			}
			defer f.Release() // both are open when they are compared
			at[i] = reflect.ValueOf(f).Pointer()
		case kcmpVM:
			if vs := p[i].VM(); vs != nil {
				at[i] = uintptr(vs.ID())
				vs.Release()
			}
		case kcmpFiles:
			if fl != nil {
				at[i] = reflect.ValueOf(fl.fds).Pointer()
			}
		case kcmpFS:
			if fl != nil {
				at[i] = reflect.ValueOf(fl.place).Pointer()
			}
		case kcmpSighand:
			at[i] = p[i].SignalTable()
		case kcmpIO, kcmpSysVSem:
			at[i] = 0 // no process has any
		default:
			return 0, syscall.EINVAL
		}
	}
	return c.s.order[kind].compare(at[0], at[1]), nil
}

// prctlKept handles requests of prctl(2) whose values are only kept and returned, or whose
// subject this kernel does not have. The answers of the latter are those of a Linux built
// without it. ok is false for other requests.
func (c ctx) prctlKept() (v uint64, err error, ok bool) {
	rest := c.arg(2) | c.arg(3) | c.arg(4)
	switch c.int(0) {
	case unix.PR_GET_TIMERSLACK:
		return uint64(c.t.TimerSlack()), nil, true
	case unix.PR_SET_TIMERSLACK:
		c.t.SetTimerSlack(int64(c.arg(1)))
		return 0, nil, true
	case unix.PR_GET_TIMING:
		return 0, nil, true
	case unix.PR_SET_TIMING:
		if c.arg(1) != 0 { // PR_TIMING_STATISTICAL
			return 0, syscall.EINVAL, true
		}
		return 0, nil, true
	case unix.PR_GET_THP_DISABLE:
		if c.arg(1)|rest != 0 {
			return 0, syscall.EINVAL, true
		}
		v, err := flag(c.t.Process().NoHuge())
		return v, err, true
	case unix.PR_SET_THP_DISABLE:
		if rest != 0 {
			return 0, syscall.EINVAL, true
		}
		c.t.Process().SetNoHuge(c.arg(1) != 0)
		return 0, nil, true
	case unix.PR_GET_TSC:
		tsc := int32(unix.PR_TSC_ENABLE)
		return 0, put(c, c.va(1), &tsc), true
	case unix.PR_SET_TSC:
		if c.arg(1) != unix.PR_TSC_ENABLE {
			return 0, syscall.EINVAL, true
		}
		return 0, nil, true
	}
	return 0, nil, false
}
