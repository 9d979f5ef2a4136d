package fs

import (
	"bytes"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ttyBacklog is how much typed input waits for a reader; more is dropped with a
// bell (N_TTY_BUF_SIZE of Linux).
const ttyBacklog = 4096

// TTY is the console: a terminal with a line discipline (termios(3)). All open
// consoles are one handle.
type TTY struct {
	plain
	fs *FS
	q  WaitQueue

	// writer holds a token, which one write(2) at a time has, so that writes come
	// out whole. It may be held while the output is full: taking it is a sleep.
	writer chan struct{}

	mu    sync.Mutex
	tio   termios
	win   [8]byte // struct winsize
	sid   int     // session whose controlling terminal it is; 0: none
	pgid  int     // foreground process group, of that session; 0: none set
	line  []byte  // being edited (ICANON)
	input []byte  // ready to be read
	ends  []int   // in ICANON: where each line in input ends; empty line = EOF
}

func newTTY(s *FS) *TTY {
	y := &TTY{fs: s, tio: defaultTermios(), writer: make(chan struct{}, 1)}
	y.writer <- struct{}{}
	y.setWinsize(24, 80)
	return y
}

// Of is the device number of a session's terminal and its foreground group; 0 and -1
// if it has none.
func (y *TTY) Of(sid int) (dev, pgid int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.sid == 0 || y.sid != sid {
		return 0, -1
	}
	return int(devConsole), y.pgid
}

// Input hands typed bytes to the line discipline: editing, echo, signals. It
// does not block.
func (y *TTY) Input(p []byte) {
	var echo []byte
	var sigs []syscall.Signal
	y.mu.Lock()
	for _, c := range p {
		sig := y.typeLocked(c, &echo)
		if sig != 0 {
			sigs = append(sigs, sig)
		}
	}
	pgid := y.pgid
	y.mu.Unlock()
	if len(echo) > 0 {
		y.fs.cfg.Console.Write(echo) // dropped if there is no room, as on Linux
	}
	for _, sig := range sigs {
		y.fs.cfg.Interrupt(pgid, sig)
	}
	y.q.Wake(EPOLLIN | EPOLLRDNORM)
}

// typeLocked takes one byte and adds what is echoed; it returns the signal that
// the byte stands for. Precondition: mu held.
func (y *TTY) typeLocked(c byte, echo *[]byte) syscall.Signal {
	t := &y.tio
	switch {
	case c == '\r' && t.iflag&unix.IGNCR != 0:
		return 0
	case c == '\r' && t.iflag&unix.ICRNL != 0:
		c = '\n'
	case c == '\n' && t.iflag&unix.INLCR != 0:
		c = '\r'
	}
	if sig := t.signal(c); sig != 0 {
		y.line = nil
		y.echoLocked(c, echo)
		return sig
	}
	if t.lflag&unix.ICANON == 0 {
		if len(y.input) < ttyBacklog {
			y.input = append(y.input, c)
			y.echoLocked(c, echo)
		}
		return 0
	}
	y.editLocked(c, echo)
	return 0
}

// editLocked is canonical input. Precondition: mu held.
func (y *TTY) editLocked(c byte, echo *[]byte) {
	t := &y.tio
	switch {
	case t.is(c, unix.VERASE):
		y.eraseLocked(1, echo)
	case t.is(c, unix.VKILL):
		y.eraseLocked(len(y.line), echo)
	case t.is(c, unix.VEOF):
		y.endLocked()
	case c == '\n', t.is(c, unix.VEOL):
		y.line = append(y.line, c)
		y.echoLocked(c, echo)
		y.endLocked()
	case len(y.line)+len(y.input) >= ttyBacklog-1: // room for the newline
		*echo = append(*echo, '\a')
	default:
		y.line = append(y.line, c)
		y.echoLocked(c, echo)
	}
}

// endLocked makes the line readable. Precondition: mu held.
func (y *TTY) endLocked() {
	y.input = append(y.input, y.line...)
	y.ends = append(y.ends, len(y.input))
	y.line = nil
}

// eraseLocked takes n bytes off the line. Precondition: mu held.
func (y *TTY) eraseLocked(n int, echo *[]byte) {
	n = min(n, len(y.line))
	y.line = y.line[:len(y.line)-n]
	if y.tio.lflag&(unix.ECHO|unix.ECHOE) == unix.ECHO|unix.ECHOE {
		*echo = append(*echo, bytes.Repeat([]byte("\b \b"), n)...)
	}
}

// echoLocked shows a typed byte, control characters as ^X. Precondition: mu held.
func (y *TTY) echoLocked(c byte, echo *[]byte) {
	t := &y.tio
	switch {
	case t.lflag&unix.ECHO == 0 && (c != '\n' || t.lflag&(unix.ECHONL|unix.ICANON) != unix.ECHONL|unix.ICANON):
	case t.lflag&unix.ECHOCTL != 0 && c < ' ' && c != '\n' && c != '\t':
		*echo = append(*echo, '^', c+'@')
	default:
		*echo = t.output(*echo, []byte{c})
	}
}

func (y *TTY) queue() *WaitQueue { return &y.q }

func (y *TTY) ready() uint32 {
	y.mu.Lock()
	defer y.mu.Unlock()
	r := uint32(0)
	if y.fs.cfg.Console.Room() >= ttyRoom {
		r |= EPOLLOUT | EPOLLWRNORM
	}
	if y.readableLocked() {
		r |= EPOLLIN | EPOLLRDNORM
	}
	return r
}

// readableLocked: a line in canonical mode, else a byte; VMIN 0 reads never
// wait (VTIME is not kept: such a read polls). Precondition: mu held.
func (y *TTY) readableLocked() bool {
	if y.tio.lflag&unix.ICANON != 0 {
		return len(y.ends) > 0
	}
	return len(y.input) > 0 || y.tio.cc[unix.VMIN] == 0
}

// read takes at most a line in canonical mode; 0 is the VEOF character.
func (y *TTY) read(c call, p []byte, _ int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n, ok := y.take(p); ok {
			return n, nil
		}
		if c.nonblock {
			return 0, syscall.EAGAIN
		}
		if err := await(c.task, y, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

func (y *TTY) take(p []byte) (int, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.readableLocked() {
		return 0, false
	}
	avail := y.input
	if y.tio.lflag&unix.ICANON != 0 {
		avail = avail[:y.ends[0]]
	}
	n := copy(p, avail)
	y.dropLocked(n)
	return n, true
}

// dropLocked takes n read bytes off the input, and the line ends they reach.
// Precondition: mu held.
func (y *TTY) dropLocked(n int) {
	y.input = y.input[n:]
	done := 0
	for i := range y.ends {
		y.ends[i] -= n
		if y.ends[i] <= 0 && i == 0 {
			done = 1
		}
	}
	y.ends = y.ends[done:]
	if len(y.input) == 0 {
		y.input = nil
	}
}

const (
	// ttyTurn is how much is written between two pauses; twice as much may come out.
	ttyTurn = 64
	// ttyRoom is how much room makes the terminal ready for output.
	ttyRoom = 4 * ttyTurn
)

// write prints p after output processing. It sleeps while the output is full.
func (y *TTY) write(c call, p []byte, _ int64) (int, error) {
	if err := y.startWrite(c); err != nil {
		return 0, err
	}
	defer func() { y.writer <- struct{}{} }()
	var room [2 * ttyTurn]byte
	for done := 0; ; {
		part := p[done:min(len(p), done+ttyTurn)]
		y.mu.Lock()
		out := y.tio.output(room[:0], part)
		y.mu.Unlock()
		var err error
		switch {
		case y.fs.cfg.Console.Write(out):
			if done += len(part); done == len(p) {
				return done, nil
			}
			err = c.pause()
		case c.nonblock:
			err = syscall.EAGAIN
		default:
			err = await(c.task, y, EPOLLOUT, Never)
		}
		if err != nil {
			return partial(done, err)
		}
	}
}

// startWrite takes the writer's token: EAGAIN, EINTR.
func (y *TTY) startWrite(c call) error {
	select {
	case <-y.writer:
		return nil
	default:
	}
	if c.nonblock {
		return syscall.EAGAIN
	}
	return sleep(c.task, y.writer, Never)
}

// Sent says that there is room for output again.
func (y *TTY) Sent() { y.q.Wake(EPOLLOUT | EPOLLWRNORM) }

// drain is tcdrain(3): it waits until all output is out. EINTR.
func (y *TTY) drain(c call) error {
	b := bells.Get().(*bell)
	defer b.put()
	y.q.add(&b.w, EPOLLOUT)
	defer b.w.remove()
	for y.fs.cfg.Console.Pending() > 0 {
		if err := sleep(c.task, b.ch, Never); err != nil {
			return err
		}
	}
	return nil
}
