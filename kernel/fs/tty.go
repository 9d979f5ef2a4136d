package fs

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// ttyBacklog is how much typed input waits for a reader; more is dropped with a
// bell, or on a pseudo-terminal waits with its writer (N_TTY_BUF_SIZE of Linux).
const ttyBacklog = 4096

// TTY is a terminal (termios(3)): the line discipline between a line, which is the
// serial console or the master of a pseudo-terminal, and the programs that read and
// write it. Every open file is a ttyHandle.
type TTY struct {
	fs  *FS
	dev uint64 // [I] its device number
	pty *pty   // [I] nil: the console
	q   WaitQueue

	// writer holds a token, which one write(2) at a time has, so that writes come
	// out whole. It may be held while the output is full: taking it is a sleep.
	writer chan struct{}

	// hangups counts hang-ups: a file opened before the last one is dead.
	hangups atomic.Uint64

	sid, pgid int // FS.jobMu: see ttyjobs.go

	mu        sync.Mutex
	tio       termios
	win       [8]byte // struct winsize
	line      []byte  // being edited (ICANON)
	lineCol   int     // where on the screen it begins
	literal   bool    // VLNEXT was typed: the next byte has no meaning
	input     []byte  // ready to be read
	ends      []int   // in ICANON: where each line in input ends; empty line = EOF
	stopped   bool    // by VSTOP or TCXONC: output waits
	exclusive bool    // TIOCEXCL
	col       int     // where the next byte of output goes
}

func newTTY(s *FS, dev uint64, p *pty) *TTY {
	y := &TTY{fs: s, dev: dev, pty: p, tio: defaultTermios(), writer: make(chan struct{}, 1)}
	y.writer <- struct{}{}
	return y
}

// out is where output goes.
func (y *TTY) out() Output {
	if y.pty != nil {
		return y.pty
	}
	return y.fs.cfg.Console
}

// ttyHandle is an open terminal.
type ttyHandle struct {
	y       *TTY
	hangups uint64 // when it was opened
}

// open makes a handle. EIO: a slave whose master is closed or has not unlocked it.
// EBUSY: another program wants the terminal for itself.
func (y *TTY) open(c call, flags int, mayBeOurs bool) (handle, error) {
	y.mu.Lock()
	busy := y.exclusive && c.task != nil && !c.task.Cred().Has(cred.SysAdmin)
	y.mu.Unlock()
	if busy {
		return nil, syscall.EBUSY
	}
	if y.pty != nil {
		if err := y.pty.openSlave(); err != nil {
			return nil, err
		}
	}
	if mayBeOurs && flags&unix.O_NOCTTY == 0 && flags&unix.O_ACCMODE != unix.O_WRONLY {
		y.adopt(c)
	}
	return &ttyHandle{y, y.hangups.Load()}, nil
}

func (h *ttyHandle) close() {
	if h.y.pty != nil {
		h.y.pty.closeSlave()
	}
}

func (h *ttyHandle) queue() *WaitQueue { return &h.y.q }

// dead says whether the terminal was hung up since it was opened: nothing more comes
// from there, and what is written fails.
func (h *ttyHandle) dead() bool { return h.y.hangups.Load() != h.hangups }

func (h *ttyHandle) ready() uint32 {
	if h.dead() {
		return alwaysReady | EPOLLERR | EPOLLHUP
	}
	y := h.y
	y.mu.Lock()
	defer y.mu.Unlock()
	r := uint32(0)
	if !y.stopped && y.out().Room() >= ttyRoom {
		r |= EPOLLOUT | EPOLLWRNORM
	}
	if y.readableLocked() {
		r |= EPOLLIN | EPOLLRDNORM
	}
	return r
}

// readableLocked is what poll(2) says: a line in canonical mode, else VMIN bytes, or
// one byte if VTIME would end a read of less. Precondition: mu held.
func (y *TTY) readableLocked() bool {
	if y.tio.lflag&unix.ICANON != 0 {
		return len(y.ends) > 0
	}
	need := 1
	if y.tio.cc[unix.VTIME] == 0 && y.tio.cc[unix.VMIN] > 0 {
		need = int(y.tio.cc[unix.VMIN])
	}
	return len(y.input) >= need
}

// tenth is the unit of VTIME, in nanoseconds.
const tenth = 100_000_000

// read takes at most a line in canonical mode; 0 is the VEOF character. In raw mode it
// returns after VMIN bytes, or when VTIME has passed: after the last byte, or with VMIN
// 0 since the call.
func (h *ttyHandle) read(c call, p []byte, _ int64) (int, error) {
	y := h.y
	if len(p) == 0 || h.dead() {
		return 0, nil
	}
	if err := y.check(c, syscall.SIGTTIN); err != nil {
		return 0, err
	}
	done, deadline, timing := 0, Never, false
	for {
		y.mu.Lock()
		canon, need, wait := y.tio.lflag&unix.ICANON != 0, int(y.tio.cc[unix.VMIN]), int64(y.tio.cc[unix.VTIME])*tenth
		n, ok := y.takeLocked(p[done:], canon)
		y.mu.Unlock()
		if n > 0 {
			y.roomForInput()
		}
		done += n
		switch {
		case canon:
			if ok {
				return done, nil
			}
			deadline = Never
		case done == len(p), done > 0 && done >= need, need == 0 && wait == 0:
			return done, nil
		case wait > 0 && (n > 0 || need == 0 && !timing):
			deadline, timing = y.fs.cfg.Monotonic()+wait, true
		}
		if h.dead() {
			return done, nil
		}
		if c.nonblock {
			if done > 0 {
				return done, nil
			}
			return 0, syscall.EAGAIN
		}
		switch err := h.awaitInput(c, canon, deadline); {
		case timedOut(err):
			return done, nil
		case err != nil:
			return partial(done, err)
		}
	}
}

// awaitInput waits until there is a line or, in raw mode, a byte.
func (h *ttyHandle) awaitInput(c call, canon bool, deadline int64) error {
	y := h.y
	b := bells.Get().(*bell)
	defer b.put()
	y.q.add(&b.w, EPOLLIN)
	defer b.w.remove()
	for {
		y.mu.Lock()
		some := len(y.ends) > 0 || len(y.input) > 0 && !canon || canon != (y.tio.lflag&unix.ICANON != 0)
		y.mu.Unlock()
		if some || h.dead() {
			return nil
		}
		if err := sleep(c.task, b.ch, deadline); err != nil {
			return err
		}
	}
}

// takeLocked moves input to p: in canonical mode a line or what fits of it.
// Precondition: mu held.
func (y *TTY) takeLocked(p []byte, canon bool) (n int, ok bool) {
	avail := y.input
	if canon {
		if len(y.ends) == 0 {
			return 0, false
		}
		avail = avail[:y.ends[0]]
	}
	n = copy(p, avail)
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

// roomForInput tells who types on a pseudo-terminal.
func (y *TTY) roomForInput() {
	if y.pty != nil {
		y.pty.q.Wake(EPOLLOUT | EPOLLWRNORM)
	}
}

const (
	// ttyTurn is how much is written between two pauses. Eight times as much may come
	// out: tabs become spaces.
	ttyTurn = 64
	// ttyRoom is how much room makes the terminal ready for output.
	ttyRoom = 4 * ttyTurn
)

// write prints p after output processing. It sleeps while the output is full.
func (h *ttyHandle) write(c call, p []byte, _ int64) (int, error) {
	y := h.y
	if h.dead() {
		return 0, syscall.EIO
	}
	y.mu.Lock()
	tostop := y.tio.lflag&unix.TOSTOP != 0
	y.mu.Unlock()
	if tostop {
		if err := y.check(c, syscall.SIGTTOU); err != nil {
			return 0, err
		}
	}
	if err := y.startWrite(c); err != nil {
		return 0, err
	}
	defer func() { y.writer <- struct{}{} }()
	var room [8 * ttyTurn]byte
	for done := 0; ; {
		if h.dead() {
			return partial(done, syscall.EIO)
		}
		part := p[done:min(len(p), done+ttyTurn)]
		var err error
		switch {
		case y.put(part, room[:0]):
			if done += len(part); done == len(p) {
				return done, nil
			}
			err = c.pause()
		case c.nonblock:
			err = syscall.EAGAIN
		default:
			err = await(c.task, h, EPOLLOUT, Never)
		}
		if err != nil {
			return partial(done, err)
		}
	}
}

// put processes p and writes it: all of it, or nothing if there is no room.
func (y *TTY) put(p, room []byte) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.stopped {
		return false
	}
	col := y.col
	if y.out().Write(y.tio.output(room, p, &y.col)) {
		return true
	}
	y.col = col
	return false
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

// flow stops output, or starts it again.
func (y *TTY) flow(stop bool) {
	y.mu.Lock()
	changed := y.stopped != stop
	y.stopped = stop
	y.mu.Unlock()
	if changed {
		y.flowed(stop)
	}
}

// flowed tells those who wait for output, and the master of a pseudo-terminal.
func (y *TTY) flowed(stop bool) {
	if !stop {
		y.Sent()
	}
	if y.pty != nil {
		y.pty.note(map[bool]byte{true: unix.TIOCPKT_STOP, false: unix.TIOCPKT_START}[stop])
	}
}

// drain is tcdrain(3): it waits until all output is out. EINTR.
func (y *TTY) drain(c call) error {
	b := bells.Get().(*bell)
	defer b.put()
	y.q.add(&b.w, EPOLLOUT)
	defer b.w.remove()
	for y.out().Pending() > 0 {
		if err := sleep(c.task, b.ch, Never); err != nil {
			return err
		}
	}
	return nil
}

// hangUp makes every file that is open on the terminal dead, and what waits there
// returns.
func (y *TTY) hangUp() {
	y.hangups.Add(1)
	y.mu.Lock()
	y.flushLocked()
	y.stopped = false
	y.mu.Unlock()
	y.q.Wake(math.MaxUint32)
}
