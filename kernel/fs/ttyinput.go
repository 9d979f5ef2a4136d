package fs

import (
	"bytes"
	"syscall"

	"golang.org/x/sys/unix"
)

// typed collects the things that Input must do after it has released the lock.
type typed struct {
	echo []byte
	sigs []syscall.Signal
}

// Input gives typed bytes to the line discipline, which does editing, echo and signals. It
// does not block. It returns how many bytes were taken; for the rest there is no room.
func (y *TTY) Input(p []byte) int {
	var t typed
	y.mu.Lock()
	n := 0
	for ; n < len(p) && y.roomLocked(); n++ {
		y.typeLocked(p[n], &t)
	}
	if len(t.echo) > 0 {
		y.out().Write(t.echo) // if there is no room the echo is dropped, as on Linux
	}
	y.mu.Unlock()
	for _, sig := range t.sigs {
		if y.pty != nil {
			y.pty.note(unix.TIOCPKT_FLUSHREAD)
		}
		y.signalFront(sig)
	}
	y.q.Wake(EPOLLIN | EPOLLRDNORM)
	return n
}

// roomLocked reports whether one more byte can be taken. If a single line is too long, its
// bytes are taken and dropped. Whole lines are never dropped: while the program does not
// read them, no more input is taken. Precondition: mu held.
func (y *TTY) roomLocked() bool {
	return len(y.input) < ttyBacklog || y.tio.lflag&unix.ICANON != 0 && len(y.ends) == 0
}

// typeLocked handles one byte. Precondition: mu held.
func (y *TTY) typeLocked(c byte, t *typed) {
	o := &y.tio
	if o.iflag&unix.ISTRIP != 0 {
		c &= 0x7f
	}
	if o.iflag&unix.IUCLC != 0 && o.lflag&unix.IEXTEN != 0 && 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	if y.literal {
		y.literal = false
		y.keepLocked(c, t)
		return
	}
	if o.iflag&unix.IXON != 0 {
		switch {
		case o.is(c, unix.VSTART):
			y.flowLocked(false)
			return
		case o.is(c, unix.VSTOP):
			y.flowLocked(true)
			return
		case o.iflag&unix.IXANY != 0:
			y.flowLocked(false)
		}
	}
	if sig := o.signal(c); sig != 0 {
		if o.lflag&unix.NOFLSH == 0 {
			y.flushLocked()
		}
		if o.iflag&unix.IXON != 0 {
			y.flowLocked(false)
		}
		y.echoLocked(c, t)
		t.sigs = append(t.sigs, sig)
		return
	}
	switch {
	case c == '\r' && o.iflag&unix.IGNCR != 0:
		return
	case c == '\r' && o.iflag&unix.ICRNL != 0:
		c = '\n'
	case c == '\n' && o.iflag&unix.INLCR != 0:
		c = '\r'
	}
	if o.lflag&unix.ICANON != 0 {
		y.editLocked(c, t)
		return
	}
	y.keepLocked(c, t)
}

// keepLocked adds a byte to the line or to the input. Precondition: mu held.
func (y *TTY) keepLocked(c byte, t *typed) {
	switch {
	case y.tio.lflag&unix.ICANON == 0:
		if len(y.input) < ttyBacklog {
			y.input = append(y.input, c)
			y.echoLocked(c, t)
		}
	case len(y.line)+len(y.input) >= ttyBacklog-1: // leave room for the newline
		if y.tio.iflag&unix.IMAXBEL != 0 || y.pty == nil {
			t.echo = append(t.echo, '\a')
		}
	default:
		if len(y.line) == 0 {
			y.lineCol = y.col
		}
		y.line = append(y.line, c)
		y.echoLocked(c, t)
	}
}

// editLocked handles a byte in canonical mode. Precondition: mu held.
func (y *TTY) editLocked(c byte, t *typed) {
	o := &y.tio
	extended := o.lflag&unix.IEXTEN != 0
	switch {
	case o.is(c, unix.VERASE):
		y.eraseLocked(c, y.lastLocked(), t)
	case o.is(c, unix.VKILL):
		if o.lflag&unix.ECHO != 0 && o.lflag&(unix.ECHOE|unix.ECHOKE) != unix.ECHOE|unix.ECHOKE {
			y.line = nil
			y.echoLocked(c, t)
			if o.lflag&unix.ECHOK != 0 {
				t.echo = o.output(t.echo, []byte{'\n'}, &y.col)
			}
			return
		}
		y.eraseLocked(c, len(y.line), t)
	case extended && o.is(c, unix.VWERASE):
		n := len(y.line)
		for n > 0 && !wordByte(y.line[n-1]) {
			n--
		}
		for n > 0 && wordByte(y.line[n-1]) {
			n--
		}
		y.eraseLocked(c, len(y.line)-n, t)
	case extended && o.is(c, unix.VLNEXT):
		y.literal = true
		if o.lflag&(unix.ECHO|unix.ECHOCTL) == unix.ECHO|unix.ECHOCTL {
			t.echo = append(t.echo, "^\b"...)
		}
	case extended && o.is(c, unix.VREPRINT) && o.lflag&unix.ECHO != 0:
		y.echoLocked(c, t)
		t.echo = o.output(t.echo, []byte{'\n'}, &y.col)
		y.lineCol = y.col
		for _, b := range y.line {
			y.echoLocked(b, t)
		}
	case o.is(c, unix.VEOF):
		y.endLocked()
	case c == '\n', o.is(c, unix.VEOL), extended && o.is(c, unix.VEOL2):
		y.line = append(y.line, c)
		y.echoLocked(c, t)
		y.endLocked()
	default:
		y.keepLocked(c, t)
	}
}

// wordByte reports whether VWERASE erases a byte as part of a word.
func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// endLocked makes the line readable. Precondition: mu held.
func (y *TTY) endLocked() {
	y.input = append(y.input, y.line...)
	y.ends = append(y.ends, len(y.input))
	y.line = nil
}

// lastLocked returns the number of bytes of the line's last character. Precondition: mu
// held.
func (y *TTY) lastLocked() int {
	n := min(1, len(y.line))
	for y.tio.iflag&unix.IUTF8 != 0 && n > 0 && n < len(y.line) && y.line[len(y.line)-n]&0xc0 == 0x80 {
		n++
	}
	return n
}

// eraseLocked erases n bytes at the end of the line, because the control character c was
// typed. Precondition: mu held.
func (y *TTY) eraseLocked(c byte, n int, t *typed) {
	o := &y.tio
	if n == 0 {
		return
	}
	before := y.widthLocked(len(y.line))
	y.line = y.line[:len(y.line)-n]
	switch {
	case o.lflag&unix.ECHO == 0:
	case o.lflag&unix.ECHOE == 0:
		y.echoLocked(c, t)
	default:
		back := before - y.widthLocked(len(y.line))
		t.echo = append(t.echo, bytes.Repeat([]byte("\b \b"), back)...)
		y.col = max(0, y.col-back)
	}
}

// widthLocked returns how many columns the first n bytes of the line take. Precondition: mu
// held.
func (y *TTY) widthLocked(n int) int {
	col := y.lineCol
	for _, c := range y.line[:n] {
		switch {
		case c == '\t':
			col = col&^7 + 8
		case control(c):
			if y.tio.lflag&unix.ECHOCTL != 0 {
				col += 2
			}
		case c&0xc0 == 0x80 && y.tio.iflag&unix.IUTF8 != 0:
		default:
			col++
		}
	}
	return col
}

func control(c byte) bool { return c < ' ' || c == 0x7f }

// echoLocked shows a typed byte. Control characters appear as ^X. Precondition: mu held.
func (y *TTY) echoLocked(c byte, t *typed) {
	o := &y.tio
	switch {
	case o.lflag&unix.ECHO == 0 && (c != '\n' || o.lflag&(unix.ECHONL|unix.ICANON) != unix.ECHONL|unix.ICANON):
	case o.lflag&unix.ECHOCTL != 0 && control(c) && c != '\n' && c != '\t':
		t.echo = append(t.echo, '^', c^0x40)
		y.col += 2
	default:
		t.echo = o.output(t.echo, []byte{c}, &y.col)
	}
}

// flushLocked discards typed input. Precondition: mu held.
func (y *TTY) flushLocked() { y.line, y.input, y.ends, y.literal = nil, nil, nil, false }
