package fs

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/proc/cred"
)

// termios is the kernel's struct termios (asm-generic/termbits.h): four words, the line
// discipline, 19 control characters. It is the same on amd64 and arm64.
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

// defaultTermios returns the settings of a new terminal, which are those of Linux.
func defaultTermios() termios {
	t := termios{
		iflag: unix.ICRNL | unix.IXON,
		oflag: unix.OPOST | unix.ONLCR,
		cflag: unix.B38400 | unix.CS8 | unix.CREAD | unix.HUPCL,
		lflag: unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	}
	for i, c := range map[int]byte{
		unix.VINTR: 3, unix.VQUIT: 28, unix.VERASE: 127, unix.VKILL: 21, unix.VEOF: 4,
		unix.VMIN: 1, unix.VSTART: 17, unix.VSTOP: 19, unix.VSUSP: 26, unix.VREPRINT: 18,
		unix.VDISCARD: 15, unix.VWERASE: 23, unix.VLNEXT: 22,
	} {
		t.cc[i] = c
	}
	return t
}

// is reports whether c is the control character with index i. A value of 0 disables one.
func (t *termios) is(c byte, i int) bool { return c != 0 && t.cc[i] == c }

// signal returns the signal of the control character c, or 0.
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

// output appends p to out, processed as OPOST says, and updates the column.
func (t *termios) output(out, p []byte, col *int) []byte {
	if t.oflag&unix.OPOST == 0 {
		return append(out, p...)
	}
	for _, c := range p {
		switch c {
		case '\n':
			if t.oflag&(unix.ONLCR|unix.ONLRET) != 0 {
				*col = 0
			}
			if t.oflag&unix.ONLCR != 0 {
				out = append(out, '\r')
			}
		case '\r':
			if t.oflag&unix.ONOCR != 0 && *col == 0 {
				continue
			}
			if t.oflag&unix.OCRNL != 0 {
				c = '\n'
				if t.oflag&unix.ONLRET == 0 {
					break
				}
			}
			*col = 0
		case '\t':
			n := 8 - *col&7
			*col += n
			if t.oflag&unix.TABDLY == unix.XTABS {
				out = append(out, "        "[:n]...)
				continue
			}
		case '\b':
			*col = max(0, *col-1)
		default:
			if !control(c) && c&0xc0 != 0x80 {
				*col++
			}
			if t.oflag&unix.OLCUC != 0 && 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
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

// ioctl implements ioctl_tty(2). Requests for modem lines, which the terminal does not
// have, return ENOTTY.
func (h *ttyHandle) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	if h.dead() {
		if req == unix.TIOCSPGRP {
			return 0, syscall.ENOTTY
		}
		return 0, syscall.EIO
	}
	return h.y.ioctl(c, mem, req, arg, false)
}

// changes reports whether a process in the background may not make the request.
func changes(req uint32) bool {
	switch req {
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2,
		unix.TCSBRK, unix.TCSBRKP, unix.TCXONC, unix.TCFLSH, unix.TIOCSETD:
		return true
	}
	return false
}

// ioctl handles a request from the terminal, or from the master of a pseudo-terminal.
func (y *TTY) ioctl(c call, mem UserMemory, req uint32, arg uint64, master bool) (uint64, error) {
	if v, err, ok := y.jobIoctl(c, mem, req, arg, master); ok {
		return v, err
	}
	if changes(req) && !master {
		if err := y.check(c, syscall.SIGTTOU); err != nil {
			return 0, err
		}
	}
	va := arch.VA(arg)
	switch req {
	case unix.TCGETS:
		return 0, mem.CopyOut(va, y.encode(termiosSize))
	case unix.TCGETS2:
		return 0, mem.CopyOut(va, y.encode(termios2Size))
	case unix.TCSETS, unix.TCSETS2:
		return 0, y.set(mem, va, sizeOf(req), false)
	case unix.TCSETSW, unix.TCSETSF, unix.TCSETSW2, unix.TCSETSF2:
		if err := y.drain(c); err != nil {
			return 0, err
		}
		return 0, y.set(mem, va, sizeOf(req), req == unix.TCSETSF || req == unix.TCSETSF2)
	case unix.TCSBRK, unix.TCSBRKP: // a break is not sent
		return 0, y.drain(c)
	case unix.TIOCOUTQ:
		return putInt(mem, arg, y.out().Pending())
	case unix.TCFLSH:
		if arg > unix.TCIOFLUSH {
			return 0, syscall.EINVAL
		}
		if arg != unix.TCOFLUSH { // written output has been sent already
			y.flush()
		}
	case unix.TCXONC:
		return 0, y.flowControl(arg)
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
		y.setSize(win)
	case unix.TIOCGETD: // the line discipline is always N_TTY
		return putInt(mem, arg, 0)
	case unix.TIOCSETD:
		var b [4]byte
		if err := mem.CopyIn(b[:], va); err != nil {
			return 0, err
		}
		if b != [4]byte{} {
			return 0, syscall.EINVAL
		}
	case unix.TIOCEXCL, unix.TIOCNXCL:
		y.mu.Lock()
		y.exclusive = req == unix.TIOCEXCL
		y.mu.Unlock()
	case unix.TIOCGEXCL:
		y.mu.Lock()
		v := map[bool]int{true: 1}[y.exclusive]
		y.mu.Unlock()
		return putInt(mem, arg, v)
	case unix.TIOCSTI:
		return 0, y.pretend(c, mem, va)
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

// sizeOf returns the size of the argument of a request that sets termios.
func sizeOf(req uint32) int {
	switch req {
	case unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		return termios2Size
	}
	return termiosSize
}

// flowControl implements tcflow(3). It stops and starts output. For input, it sends a byte
// that asks the other side to stop or start.
func (y *TTY) flowControl(action uint64) error {
	switch action {
	case unix.TCOOFF, unix.TCOON:
		y.flow(action == unix.TCOOFF)
	case unix.TCIOFF, unix.TCION:
		y.mu.Lock()
		c := y.tio.cc[map[bool]int{true: unix.VSTOP, false: unix.VSTART}[action == unix.TCIOFF]]
		if c != 0 {
			y.out().Write([]byte{c})
		}
		y.mu.Unlock()
	default:
		return syscall.EINVAL
	}
	return nil
}

// pretend implements TIOCSTI: a program types a byte, on its own terminal or with
// CAP_SYS_ADMIN.
func (y *TTY) pretend(c call, mem UserMemory, va arch.VA) error {
	y.fs.jobMu.Lock()
	mine := y.mineLocked(c)
	y.fs.jobMu.Unlock()
	if !mine && !c.task.Cred().Has(cred.SysAdmin) {
		return syscall.EPERM
	}
	var b [1]byte
	if err := mem.CopyIn(b[:], va); err != nil {
		return err
	}
	y.Input(b[:])
	return nil
}

func (y *TTY) encode(size int) []byte {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.tio.encode(size)
}

// set changes the settings. Typed input stays, unless it is flushed. If canonical mode
// starts or ends, that input becomes one line.
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
		y.line, y.ends, y.literal = nil, nil, false
		if was == 0 && len(y.input) > 0 {
			y.ends = []int{len(y.input)}
		}
	}
	if y.tio.iflag&unix.IXON == 0 {
		y.flowLocked(false) // no key could start it again
	}
	y.mu.Unlock()
	y.q.Wake(EPOLLIN | EPOLLRDNORM)
	y.roomForInput()
	return nil
}

func (y *TTY) flush() {
	y.mu.Lock()
	y.flushLocked()
	y.mu.Unlock()
	if y.pty != nil {
		y.pty.note(unix.TIOCPKT_FLUSHREAD)
	}
	y.roomForInput()
}
