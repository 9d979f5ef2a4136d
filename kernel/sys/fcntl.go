package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
	"grim/proc"
)

// pathCommand reports whether fcntl(2) allows the command for a descriptor of O_PATH.
func pathCommand(cmd int) bool {
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL:
		return true
	}
	return false
}

// sysFcntl implements fcntl(2) without leases and directory notifications.
func sysFcntl(c ctx) (uint64, error) {
	fds, fd, cmd, arg := c.files().fds, c.int(0), c.int(1), c.int(2)
	f, err := fds.Get(fd)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	if f.Flags()&unix.O_PATH != 0 && !pathCommand(cmd) {
		return 0, syscall.EBADF
	}
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		if arg < 0 || arg >= fds.Limit() {
			return 0, syscall.EINVAL
		}
		n, err := fds.Dup(fd, arg, cmd == unix.F_DUPFD_CLOEXEC)
		return uint64(n), err
	case unix.F_GETFD:
		on, err := fds.Cloexec(fd)
		if on {
			return unix.FD_CLOEXEC, err
		}
		return 0, err
	case unix.F_SETFD:
		return 0, fds.SetCloexec(fd, arg&unix.FD_CLOEXEC != 0)
	case unix.F_GETFL:
		return uint64(f.ShownFlags()), nil
	case unix.F_SETFL:
		return 0, f.ChangeFlags(c.task(), arg)
	case unix.F_GETPIPE_SZ:
		n, err := f.PipeSize()
		return uint64(n), err
	case unix.F_SETPIPE_SZ:
		n, err := f.SetPipeSize(arg)
		return uint64(n), err
	case unix.F_GET_SEALS:
		n, err := f.Seals()
		return uint64(n), err
	case unix.F_ADD_SEALS:
		return 0, f.AddSeals(arg)
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW:
		return c.recordLock(f, fds, cmd)
	case unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		return c.recordLock(f, nil, cmd)
	case unix.F_SETOWN, unix.F_GETOWN, fSetOwnEx, fGetOwnEx, fSetSig, fGetSig:
		return c.fileOwner(f, cmd)
	}
	return 0, syscall.EINVAL
}

// Commands that x/sys/unix lacks (fcntl(2)).
const (
	fSetSig   = 10
	fGetSig   = 11
	fSetOwnEx = 15
	fGetOwnEx = 16
)

// userFlock is struct flock of a 64-bit machine.
type userFlock struct {
	Type, Whence int16
	Pad          int32
	Start, Len   int64
	PID          int32
	Pad2         int32
}

// recordLock implements the six commands about record locks. The owner of a process's locks
// is its descriptor table.
func (c ctx) recordLock(f *fs.File, table *fs.FDTable, cmd int) (uint64, error) {
	u, err := get[userFlock](c, c.va(2))
	if err != nil {
		return 0, err
	}
	l := fs.RecordLock{Type: u.Type, Whence: u.Whence, Start: u.Start, Len: u.Len, PID: u.PID}
	if cmd == unix.F_GETLK || cmd == unix.F_OFD_GETLK {
		if err := f.GetLock(c.task(), table, &l); err != nil {
			return 0, err
		}
		u.Type = l.Type
		if l.Type != unix.F_UNLCK {
			u = userFlock{Type: l.Type, Whence: l.Whence, Start: l.Start, Len: l.Len, PID: l.PID}
		}
		return 0, put(c, c.va(2), &u)
	}
	err = f.SetLock(c.task(), table, &l, cmd == unix.F_SETLKW || cmd == unix.F_OFD_SETLKW)
	if err == nil && table != nil && l.Type != unix.F_UNLCK {
		// If another thread has closed the descriptor in the meantime, the lock would never
		// be released.
		if g, e := table.Get(c.int(0)); e != nil {
			f.DropRecords(table)
			return 0, syscall.EBADF
		} else {
			if g != f {
				f.DropRecords(table)
				err = syscall.EBADF
			}
			g.Release()
		}
	}
	return 0, err
}

// fileOwner implements the commands about the signals of a description.
func (c ctx) fileOwner(f *fs.File, cmd int) (uint64, error) {
	arg := c.int(2)
	switch cmd {
	case fSetSig:
		if arg < 0 || arg > proc.NumSignals {
			return 0, syscall.EINVAL
		}
		f.SetOwnerSignal(arg, c.int(0))
		return 0, nil
	case fGetSig:
		return uint64(f.OwnerSignal()), nil
	case unix.F_GETOWN:
		kind, id := f.Owner()
		if kind == fs.OwnerGroup {
			id = -id
		}
		return uint64(int64(id)), nil
	case fGetOwnEx:
		kind, id := f.Owner()
		return 0, put(c, c.va(2), &[2]int32{int32(kind), int32(id)})
	}
	kind, id := fs.OwnerProcess, arg
	if cmd == fSetOwnEx {
		x, err := get[[2]int32](c, c.va(2))
		if err != nil {
			return 0, err
		}
		if x[0] < fs.OwnerThread || x[0] > fs.OwnerGroup {
			return 0, syscall.EINVAL
		}
		kind, id = int(x[0]), int(x[1])
	} else if arg < 0 {
		if arg == -1<<31 {
			return 0, syscall.EINVAL
		}
		kind, id = fs.OwnerGroup, -arg
	}
	if id != 0 && !c.s.exists(kind, id) {
		return 0, syscall.ESRCH
	}
	f.SetOwner(c.task(), kind, id, c.int(0))
	return 0, nil
}

// exists reports whether there is an owner with this kind and number.
func (s *System) exists(kind, id int) bool {
	switch kind {
	case fs.OwnerThread:
		return s.k.Thread(id) != nil
	case fs.OwnerGroup:
		return s.k.GroupSession(id) != 0
	}
	return s.k.Holder(id) != nil
}

// POLL_ codes of signals with F_SETSIG, which begin at 1.
const sigPollIn, sigPollOut, sigPollErr, sigPollHup = 1, 2, 4, 6

// SignalIO sends the signal of O_ASYNC. It is for fs.Config.SignalIO.
func (s *System) SignalIO(x fs.IOSignal) {
	info := &proc.Siginfo{Signo: x.Signal, Code: proc.SI_KERNEL}
	if x.Info {
		code := int32(sigPollIn)
		switch {
		case x.Band&fs.EPOLLHUP != 0:
			code = sigPollHup
		case x.Band&fs.EPOLLERR != 0:
			code = sigPollErr
		case x.Band&fs.EPOLLIN == 0 && x.Band&fs.EPOLLOUT != 0:
			code = sigPollOut
		}
		info.Code = code
		// si_band and si_fd are where other signals have the process, the user and the
		// value.
		info.PID, info.UID, info.Value = int32(x.Band), 0, uint64(uint32(x.FD))
	}
	s.k.SendIO(x.Kind == fs.OwnerThread, x.Kind == fs.OwnerGroup, x.ID, info, x.By)
}
