package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
	"grim/kernel/fs/lock"
)

// RecordLock is struct flock: a range of a file's bytes. Type is F_RDLCK, F_WRLCK or
// F_UNLCK.
type RecordLock struct {
	Type, Whence int16
	Start, Len   int64
	PID          int32
}

// span returns the range of l. Errors: EINVAL, EOVERFLOW.
func (f *File) span(l *RecordLock) (start, end int64, err error) {
	switch l.Whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		f.posMu.Lock()
		start = f.pos
		f.posMu.Unlock()
	case unix.SEEK_END:
		if z, ok := f.h.(seekable); ok {
			start = z.size()
		}
	default:
		return 0, 0, syscall.EINVAL
	}
	if l.Start > 0 && start > lock.End-l.Start {
		return 0, 0, syscall.EOVERFLOW
	}
	if start += l.Start; start < 0 {
		return 0, 0, syscall.EINVAL
	}
	switch {
	case l.Len > 0:
		if start > lock.End-(l.Len-1) {
			return 0, 0, syscall.EOVERFLOW
		}
		return start, start + l.Len - 1, nil
	case l.Len < 0:
		if start+l.Len < 0 {
			return 0, 0, syscall.EINVAL
		}
		return start + l.Len, start - 1, nil
	}
	return start, lock.End, nil
}

// record returns l as a lock of package lock. The owner is table, a process's descriptors;
// if table is nil the owner is the description, and l.PID must be 0.
func (f *File) record(t Task, table *FDTable, l *RecordLock) (r lock.Lock, err error) {
	if l.Type != unix.F_RDLCK && l.Type != unix.F_WRLCK && l.Type != unix.F_UNLCK {
		return r, syscall.EINVAL
	}
	if r.Start, r.End, err = f.span(l); err != nil {
		return r, err
	}
	r.Write = l.Type == unix.F_WRLCK
	r.Owner, r.PID = f, -1
	if table != nil {
		r.Owner = table
		r.PID, _ = t.IDs()
	} else if l.PID != 0 {
		return r, syscall.EINVAL
	}
	return r, nil
}

// GetLock implements F_GETLK, and F_OFD_GETLK if table is nil. It replaces l by a lock that
// conflicts with it, or sets its type to F_UNLCK if there is none.
func (f *File) GetLock(t Task, table *FDTable, l *RecordLock) error {
	r, err := f.record(t, table, l)
	if err == nil && l.Type == unix.F_UNLCK && table != nil {
		err = syscall.EINVAL
	}
	if err != nil {
		return err
	}
	held, ok := f.fs.records.Test(&f.node.base().fileLocks().records, r)
	if !ok {
		l.Type = unix.F_UNLCK
		return nil
	}
	*l = RecordLock{Type: unix.F_RDLCK, Start: held.Start, PID: int32(held.PID)}
	if held.Write {
		l.Type = unix.F_WRLCK
	}
	if held.End != lock.End {
		l.Len = held.End - held.Start + 1
	}
	return nil
}

// SetLock implements F_SETLK, and F_SETLKW with wait; if table is nil, F_OFD_SETLK and
// F_OFD_SETLKW. EBADF: the description is not open for this access. EAGAIN, EDEADLK,
// ENOLCK.
func (f *File) SetLock(t Task, table *FDTable, l *RecordLock, wait bool) error {
	r, err := f.record(t, table, l)
	if err != nil {
		return err
	}
	tab := &f.node.base().fileLocks().records
	if table != nil {
		table.recorded.Store(true)
	}
	switch l.Type {
	case unix.F_UNLCK:
		return f.fs.records.Unlock(tab, r, f.fs.payer(t))
	case unix.F_RDLCK:
		err = f.may(unix.O_RDONLY)
	case unix.F_WRLCK:
		err = f.may(unix.O_WRONLY)
	}
	if err != nil {
		return err
	}
	var sleeps func(<-chan struct{}) error
	if wait {
		sleeps = func(ch <-chan struct{}) error { return sleep(t, ch, Never) }
	}
	return f.fs.records.Set(tab, r, f.fs.payer(t), table != nil, sleeps)
}

// DropRecords releases the record locks that the users of table have on the file. It is for
// a descriptor that is being closed, and for a lock that was set while another thread closed
// the descriptor.
func (f *File) DropRecords(table *FDTable) {
	if l := f.node.base().locks.Load(); l != nil {
		f.fs.records.Drop(&l.records, table)
	}
}
