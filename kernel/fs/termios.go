package fs

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
)

// termios is the kernel's struct termios (asm-generic/termbits.h), the same on
// amd64 and arm64: four words, the line discipline, 19 control characters.
type termios struct {
	iflag, oflag, cflag, lflag uint32
	line                       byte
	cc                         [19]byte
}

// Sizes of struct termios, and of struct termios2, which adds two speeds.
const (
	termiosSize  = 4*4 + 1 + 19
	termios2Size = termiosSize + 2*4
)

// defaultTermios is what Linux gives a new terminal.
func defaultTermios() termios {
	t := termios{
		iflag: unix.ICRNL | unix.IXON,
		oflag: unix.OPOST | unix.ONLCR,
		cflag: unix.B38400 | unix.CS8 | unix.CREAD | unix.HUPCL,
		lflag: unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	}
	for i, c := range map[int]byte{
		unix.VINTR: 3, unix.VQUIT: 28, unix.VERASE: 127, unix.VKILL: 21, unix.VEOF: 4,
		unix.VMIN: 1, unix.VSTART: 17, unix.VSTOP: 19, unix.VSUSP: 26,
	} {
		t.cc[i] = c
	}
	return t
}

// is says whether c is the control character at index i; 0 disables one.
func (t *termios) is(c byte, i int) bool { return c != 0 && t.cc[i] == c }

// signal is what c stands for, or 0.
func (t *termios) signal(c byte) syscall.Signal {
	switch {
	case t.lflag&unix.ISIG == 0:
		return 0
	case t.is(c, unix.VINTR):
		return syscall.SIGINT
	case t.is(c, unix.VQUIT):
		return syscall.SIGQUIT
	case t.is(c, unix.VSUSP):
		return syscall.SIGTSTP
	}
	return 0
}

// output appends p to out with NL turned into CR NL (OPOST, ONLCR).
func (t *termios) output(out, p []byte) []byte {
	if t.oflag&(unix.OPOST|unix.ONLCR) != unix.OPOST|unix.ONLCR {
		return append(out, p...)
	}
	for _, c := range p {
		if c == '\n' {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out
}

func (t *termios) encode(size int) []byte {
	b := make([]byte, size)
	for i, v := range []uint32{t.iflag, t.oflag, t.cflag, t.lflag} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	b[16] = t.line
	copy(b[17:], t.cc[:])
	if size == termios2Size { // c_ispeed, c_ospeed
		binary.LittleEndian.PutUint32(b[termiosSize:], 38400)
		binary.LittleEndian.PutUint32(b[termiosSize+4:], 38400)
	}
	return b
}

func (t *termios) decode(b []byte) {
	for i, v := range []*uint32{&t.iflag, &t.oflag, &t.cflag, &t.lflag} {
		*v = binary.LittleEndian.Uint32(b[4*i:])
	}
	t.line = b[16]
	copy(t.cc[:], b[17:])
}

// ioctl is ioctl_tty(2), as far as a console has use for it; the rest is ENOTTY.
func (y *TTY) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	va := arch.VA(arg)
	switch req {
	case unix.TCGETS:
		return 0, mem.CopyOut(va, y.encode(termiosSize))
	case unix.TCGETS2:
		return 0, mem.CopyOut(va, y.encode(termios2Size))
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		if req != unix.TCSETS {
			if err := y.drain(c); err != nil {
				return 0, err
			}
		}
		return 0, y.set(mem, va, termiosSize, req == unix.TCSETSF)
	case unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		if req != unix.TCSETS2 {
			if err := y.drain(c); err != nil {
				return 0, err
			}
		}
		return 0, y.set(mem, va, termios2Size, req == unix.TCSETSF2)
	case unix.TCSBRK, unix.TCSBRKP: // a break is not sent
		return 0, y.drain(c)
	case unix.TIOCOUTQ:
		return putInt(mem, arg, y.fs.cfg.Console.Pending())
	case unix.TCFLSH:
		y.flush()
	case unix.TIOCGWINSZ:
		y.mu.Lock()
		win := y.win
		y.mu.Unlock()
		return 0, mem.CopyOut(va, win[:])
	case unix.TIOCSWINSZ:
		var win [8]byte
		if err := mem.CopyIn(win[:], va); err != nil {
			return 0, err
		}
		y.mu.Lock()
		y.win = win
		y.mu.Unlock()
	case unix.TIOCGPGRP, unix.TIOCGSID:
		y.mu.Lock()
		id, mine := y.pgid, y.mineLocked(c)
		if req == unix.TIOCGSID {
			id = y.sid
		}
		y.mu.Unlock()
		if !mine {
			return 0, syscall.ENOTTY
		}
		return putInt(mem, arg, id)
	case unix.TIOCSPGRP:
		return 0, y.setGroup(c, mem, va)
	case unix.TIOCSCTTY:
		return 0, y.control(c, arg == 1)
	case unix.TIOCNOTTY:
		return 0, y.leave(c)
	case fionread:
		y.mu.Lock()
		n := len(y.input)
		y.mu.Unlock()
		return putInt(mem, arg, n)
	default:
		return 0, syscall.ENOTTY
	}
	return 0, nil
}

func (y *TTY) encode(size int) []byte {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.tio.encode(size)
}

// set changes the settings. Input already typed stays, unless flushed; leaving
// or entering canonical mode makes it one line.
func (y *TTY) set(mem UserMemory, va arch.VA, size int, flush bool) error {
	b := make([]byte, size)
	if err := mem.CopyIn(b, va); err != nil {
		return err
	}
	y.mu.Lock()
	was := y.tio.lflag & unix.ICANON
	y.tio.decode(b)
	if flush {
		y.flushLocked()
	}
	if was != y.tio.lflag&unix.ICANON {
		y.input = append(y.input, y.line...)
		y.line, y.ends = nil, nil
		if was == 0 && len(y.input) > 0 {
			y.ends = []int{len(y.input)}
		}
	}
	y.mu.Unlock()
	y.q.Wake(EPOLLIN | EPOLLRDNORM)
	return nil
}

func (y *TTY) flush() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.flushLocked()
}

// flushLocked throws typed input away. Precondition: mu held.
func (y *TTY) flushLocked() { y.line, y.input, y.ends = nil, nil, nil }

// mineLocked reports whether the terminal is the controlling terminal of the
// caller's session. Precondition: mu held.
func (y *TTY) mineLocked(c call) bool {
	j := y.fs.cfg.Jobs
	if j == nil {
		return true
	}
	pid, _ := c.task.IDs()
	return y.sid != 0 && y.sid == j.SessionOf(pid)
}

func (y *TTY) mine(c call) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.mineLocked(c)
}

// Control makes the terminal the controlling terminal of a session, with a group
// of it in the foreground.
func (y *TTY) Control(sid, pgid int) {
	y.mu.Lock()
	y.sid, y.pgid = sid, pgid
	y.mu.Unlock()
}

// control is TIOCSCTTY. A session keeps the terminal while its leader lives, unless
// it is stolen. EPERM: the caller leads no session, or another one has the terminal.
func (y *TTY) control(c call, steal bool) error {
	j := y.fs.cfg.Jobs
	if j == nil {
		return nil
	}
	pid, _ := c.task.IDs()
	sid := j.SessionOf(pid)
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case sid == y.sid && sid == pid:
		return nil
	case sid != pid, y.sid != 0 && j.SessionOf(y.sid) == y.sid && !steal:
		return syscall.EPERM
	}
	y.sid, y.pgid = sid, sid
	return nil
}

// leave is TIOCNOTTY: the leader gives the terminal up for its session. ENOTTY.
func (y *TTY) leave(c call) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.mineLocked(c) {
		return syscall.ENOTTY
	}
	if pid, _ := c.task.IDs(); pid == y.sid {
		y.sid, y.pgid = 0, 0
	}
	return nil
}

// setGroup is TIOCSPGRP. ENOTTY not the caller's controlling terminal, EINVAL a
// negative number, ESRCH no such group, EPERM a group of another session.
func (y *TTY) setGroup(c call, mem UserMemory, va arch.VA) error {
	var b [4]byte
	if err := mem.CopyIn(b[:], va); err != nil {
		return err
	}
	pgid := int(int32(binary.LittleEndian.Uint32(b[:])))
	if pgid < 0 {
		return syscall.EINVAL
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.mineLocked(c) {
		return syscall.ENOTTY
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

// setWinsize fills struct winsize: rows, columns, pixels unknown.
func (y *TTY) setWinsize(rows, cols uint16) {
	binary.LittleEndian.PutUint16(y.win[0:], rows)
	binary.LittleEndian.PutUint16(y.win[2:], cols)
}
