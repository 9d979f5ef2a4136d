package fs

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"

	"grim/arch"
)

// Job control of terminals. A session has at most one controlling terminal, and a terminal
// belongs to at most one session: FS.sessions. TTY.pgid is that session's foreground
// process group, or 0 if none was set. FS.jobMu protects all of this.

// TerminalOf returns the device number of a session's terminal and its foreground group, or
// 0 and -1 if the session has no terminal.
func (s *FS) TerminalOf(sid int) (dev, pgid int) {
	s.jobMu.Lock()
	defer s.jobMu.Unlock()
	if y := s.sessions[sid]; y != nil && sid != 0 {
		return int(y.dev), y.pgid
	}
	return 0, -1
}

// terminal returns the controlling terminal of the caller, or nil.
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

// Control makes the terminal the controlling terminal of session sid, with the process
// group pgid in the foreground.
func (y *TTY) Control(sid, pgid int) {
	y.fs.jobMu.Lock()
	y.giveLocked(sid, pgid)
	y.fs.jobMu.Unlock()
}

// giveLocked takes the terminal from its session and gives it to session sid, or to none if
// sid is 0. Precondition: FS.jobMu held.
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

// adopt gives the terminal to the session of the caller, which has opened it, if the caller
// leads the session, the session has no terminal, and the terminal has no session.
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

// control implements TIOCSCTTY. A session keeps the terminal while its leader lives, unless
// root steals it. EPERM: the caller leads no session, or its session has a terminal, or
// another session has this terminal.
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

// leave implements TIOCNOTTY. If the caller is the leader, its session gives up the
// terminal, and the foreground group is hung up. ENOTTY: it is not the caller's terminal.
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

// setGroup implements TIOCSPGRP. ENOTTY: not the caller's controlling terminal. EINVAL: a
// negative number. ESRCH: no such group. EPERM: a group of another session.
func (y *TTY) setGroup(c call, mem UserMemory, va arch.VA) error {
	if err := y.check(c, syscall.SIGTTOU); err != nil {
		return err
	}
	var b [4]byte
	fault := mem.CopyIn(b[:], va) // without a lock, as it may wait for a disk
	y.fs.jobMu.Lock()
	defer y.fs.jobMu.Unlock()
	if !y.mineLocked(c) {
		return syscall.ENOTTY
	}
	if fault != nil {
		return fault
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

// check is called when a process uses the terminal: with SIGTTIN for a read, with SIGTTOU
// for a change. It sends the signal if the terminal is the process's own and the process is
// in the background. EIO: no process could continue it, or it blocks or ignores SIGTTIN.
// Any other error restarts the call once the process is continued.
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

// frontLocked returns the foreground group. It returns 0 if the group does not exist any
// more: its number may belong to a group of another session now. Precondition: FS.jobMu
// held.
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

// EndSession must be called when a session's leader ends. The session loses its terminal,
// and its foreground group gets SIGHUP. Open files of the terminal keep working. Linux
// hangs up serial lines, because the next user logs in there, but no pseudo-terminals; here
// the console is treated like a pseudo-terminal.
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

// lost is called when the master of the pseudo-terminal is closed. Its session loses the
// terminal, and the session's leader is hung up.
func (y *TTY) lost() {
	y.fs.jobMu.Lock()
	sid := y.sid
	y.giveLocked(0, 0)
	y.fs.jobMu.Unlock()
	if sid != 0 {
		y.fs.cfg.HangUp(sid)
	}
}

// unused is called when the last file of the slave of a pseudo-terminal has been closed: its
// session loses the terminal, unless the slave has been opened again meanwhile. That session
// may be another one: it takes the terminal after it has counted its file, and under jobMu.
func (y *TTY) unused() {
	y.fs.jobMu.Lock()
	defer y.fs.jobMu.Unlock()
	y.pty.mu.Lock()
	opens := y.pty.opens
	y.pty.mu.Unlock()
	if opens == 0 {
		y.giveLocked(0, 0)
	}
}

// setSize implements TIOCSWINSZ. It informs the foreground group of a change.
func (y *TTY) setSize(win [8]byte) {
	y.mu.Lock()
	changed := y.win != win
	y.win = win
	y.mu.Unlock()
	if changed {
		y.signalFront(syscall.SIGWINCH)
	}
}

// setWinsize fills struct winsize with rows and columns. The size in pixels is unknown.
func (y *TTY) setWinsize(rows, cols uint16) {
	binary.LittleEndian.PutUint16(y.win[0:], rows)
	binary.LittleEndian.PutUint16(y.win[2:], cols)
}

// jobIoctl handles the requests about sessions and groups. ok is false for other requests.
// The master of a pseudo-terminal may ask about a session that is not the caller's.
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
