package fs

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"

	"grim/arch"
)

// Job control of terminals. A session has at most one controlling terminal, and a
// terminal is that of at most one session: FS.sessions. TTY.pgid is the process group
// of that session that is in the foreground, 0 if none was set. All of it is under
// FS.jobMu.

// TerminalOf is the device number of a session's terminal and its foreground group; 0
// and -1 if it has none.
func (s *FS) TerminalOf(sid int) (dev, pgid int) {
	s.jobMu.Lock()
	defer s.jobMu.Unlock()
	if y := s.sessions[sid]; y != nil && sid != 0 {
		return int(y.dev), y.pgid
	}
	return 0, -1
}

// terminal is the controlling terminal of the caller, or nil.
func (s *FS) terminal(c call) *TTY {
	if s.cfg.Jobs == nil || c.task == nil {
		return s.tty
	}
	pid, _ := c.task.IDs()
	sid := s.cfg.Jobs.SessionOf(pid)
	s.jobMu.Lock()
	defer s.jobMu.Unlock()
	if sid == 0 {
		return nil
	}
	return s.sessions[sid]
}

// mineLocked reports whether the terminal is the controlling terminal of the
// caller's session. Precondition: FS.jobMu held.
func (y *TTY) mineLocked(c call) bool {
	j := y.fs.cfg.Jobs
	if j == nil {
		return true
	}
	if c.task == nil {
		return false
	}
	pid, _ := c.task.IDs()
	return y.sid != 0 && y.sid == j.SessionOf(pid)
}

// Control makes the terminal the controlling terminal of a session, with a group
// of it in the foreground.
func (y *TTY) Control(sid, pgid int) {
	y.fs.jobMu.Lock()
	y.giveLocked(sid, pgid)
	y.fs.jobMu.Unlock()
}

// giveLocked takes the terminal from its session and gives it to another; 0: to none.
// Precondition: FS.jobMu held.
func (y *TTY) giveLocked(sid, pgid int) {
	s := y.fs.sessions
	if y.sid != 0 {
		delete(s, y.sid)
	}
	if old := s[sid]; old != nil && sid != 0 {
		old.sid, old.pgid = 0, 0
	}
	if y.sid, y.pgid = sid, pgid; sid != 0 {
		s[sid] = y
	}
}

// adopt makes a terminal that a leader opens the terminal of its session, if neither
// has one.
func (y *TTY) adopt(c call) {
	j := y.fs.cfg.Jobs
	if j == nil || c.task == nil {
		return
	}
	pid, _ := c.task.IDs()
	sid := j.SessionOf(pid)
	y.fs.jobMu.Lock()
	defer y.fs.jobMu.Unlock()
	if sid == pid && y.sid == 0 && y.fs.sessions[sid] == nil {
		y.giveLocked(sid, j.GroupOf(pid))
	}
}

// control is TIOCSCTTY. A session keeps the terminal while its leader lives, unless
// root steals it. EPERM: the caller leads no session, has a terminal, or another
// session has this one.
func (y *TTY) control(c call, steal bool) error {
	j := y.fs.cfg.Jobs
	if j == nil {
		return nil
	}
	pid, _ := c.task.IDs()
	sid := j.SessionOf(pid)
	y.fs.jobMu.Lock()
	defer y.fs.jobMu.Unlock()
	switch {
	case sid == y.sid && sid == pid:
		return nil
	case sid != pid, y.fs.sessions[sid] != nil:
		return syscall.EPERM
	case y.sid != 0 && j.SessionOf(y.sid) == y.sid && !(steal && c.task.Cred().Has(cred.SysAdmin)):
		return syscall.EPERM
	}
	y.giveLocked(sid, j.GroupOf(pid))
	return nil
}

// leave is TIOCNOTTY: the leader gives the terminal up for its session, whose
// foreground is hung up. ENOTTY.
func (y *TTY) leave(c call) error {
	y.fs.jobMu.Lock()
	if !y.mineLocked(c) {
		y.fs.jobMu.Unlock()
		return syscall.ENOTTY
	}
	front := 0
	if pid, _ := c.task.IDs(); pid == y.sid {
		front = y.frontLocked()
		y.giveLocked(0, 0)
	}
	y.fs.jobMu.Unlock()
	if front != 0 {
		y.fs.cfg.Interrupt(front, syscall.SIGHUP)
		y.fs.cfg.Interrupt(front, syscall.SIGCONT)
	}
	return nil
}

// setGroup is TIOCSPGRP. ENOTTY not the caller's controlling terminal, EINVAL a
// negative number, ESRCH no such group, EPERM a group of another session.
func (y *TTY) setGroup(c call, mem UserMemory, va arch.VA) error {
	if err := y.check(c, syscall.SIGTTOU); err != nil {
		return err
	}
	y.fs.jobMu.Lock()
	defer y.fs.jobMu.Unlock()
	if !y.mineLocked(c) {
		return syscall.ENOTTY
	}
	var b [4]byte
	if err := mem.CopyIn(b[:], va); err != nil {
		return err
	}
	pgid := int(int32(binary.LittleEndian.Uint32(b[:])))
	if pgid < 0 {
		return syscall.EINVAL
	}
	if j := y.fs.cfg.Jobs; j != nil {
		switch j.GroupSession(pgid) {
		case y.sid:
		case 0:
			return syscall.ESRCH
		default:
			return syscall.EPERM
		}
	}
	y.pgid = pgid
	return nil
}

// check is what a process in the background of its own terminal runs into: SIGTTIN
// when it reads, SIGTTOU when it changes something. EIO: nobody would continue it, or
// it does not want the SIGTTIN. Otherwise it has been sent the signal, and does the
// call again when it is continued.
func (y *TTY) check(c call, sig syscall.Signal) error {
	j := y.fs.cfg.Jobs
	if j == nil || c.task == nil {
		return nil
	}
	y.fs.jobMu.Lock()
	mine, front := y.mineLocked(c), y.pgid
	y.fs.jobMu.Unlock()
	pid, _ := c.task.IDs()
	if !mine || front == 0 || j.GroupOf(pid) == front {
		return nil
	}
	err := j.Background(c.task, sig)
	if err == nil && sig == syscall.SIGTTIN {
		return syscall.EIO
	}
	return err
}

// frontLocked is the foreground group; 0 if there is none any more: its number may
// be that of a group elsewhere by now. Precondition: FS.jobMu held.
func (y *TTY) frontLocked() int {
	if j := y.fs.cfg.Jobs; j != nil && (y.pgid == 0 || j.GroupSession(y.pgid) != y.sid) {
		return 0
	}
	return y.pgid
}

// signalFront sends a signal to the foreground group.
func (y *TTY) signalFront(sig syscall.Signal) {
	y.fs.jobMu.Lock()
	front := y.frontLocked()
	y.fs.jobMu.Unlock()
	if front != 0 || y.fs.cfg.Jobs == nil {
		y.fs.cfg.Interrupt(front, sig)
	}
}

// EndSession is the end of a session's leader: the session has no terminal any more,
// and its foreground is told. Files that are open on the terminal go on working: Linux
// hangs up serial lines, whose next user logs in there, but no pseudo-terminals; the
// console is as one of those here.
func (s *FS) EndSession(sid int) {
	s.jobMu.Lock()
	y := s.sessions[sid]
	if y == nil {
		s.jobMu.Unlock()
		return
	}
	front := y.frontLocked()
	y.giveLocked(0, 0)
	s.jobMu.Unlock()
	if front != 0 {
		s.cfg.Interrupt(front, syscall.SIGHUP)
	}
}

// lost is the end of the terminal: its session has none any more, and with told its
// leader hears of it.
func (y *TTY) lost(told bool) {
	y.fs.jobMu.Lock()
	sid := y.sid
	y.giveLocked(0, 0)
	y.fs.jobMu.Unlock()
	if sid != 0 && told {
		y.fs.cfg.HangUp(sid)
	}
}

// setSize is TIOCSWINSZ: the foreground is told of a change.
func (y *TTY) setSize(win [8]byte) {
	y.mu.Lock()
	changed := y.win != win
	y.win = win
	y.mu.Unlock()
	if changed {
		y.signalFront(syscall.SIGWINCH)
	}
}

// setWinsize fills struct winsize: rows, columns, pixels unknown.
func (y *TTY) setWinsize(rows, cols uint16) {
	binary.LittleEndian.PutUint16(y.win[0:], rows)
	binary.LittleEndian.PutUint16(y.win[2:], cols)
}

// jobIoctl are the requests about sessions and groups; ok is false for others. The
// master of a pseudo-terminal may ask about a session that is not the caller's.
func (y *TTY) jobIoctl(c call, mem UserMemory, req uint32, arg uint64, master bool) (v uint64, err error, ok bool) {
	switch req {
	case unix.TIOCGPGRP, unix.TIOCGSID:
		y.fs.jobMu.Lock()
		id, mine := y.pgid, y.mineLocked(c) || master && y.sid != 0
		if req == unix.TIOCGSID {
			id = y.sid
		} else if master {
			mine = true
		}
		y.fs.jobMu.Unlock()
		if !mine {
			return 0, syscall.ENOTTY, true
		}
		v, err = putInt(mem, arg, id)
	case unix.TIOCSPGRP:
		err = y.setGroup(c, mem, arch.VA(arg))
	case unix.TIOCSCTTY:
		err = y.control(c, arg == 1)
	case unix.TIOCNOTTY:
		err = y.leave(c)
	default:
		return 0, nil, false
	}
	return v, err, true
}
