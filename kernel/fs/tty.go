package fs

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// ttyBacklog is how much typed input may wait for a reader. The console drops more with a
// bell. On a pseudo-terminal the writer of the master waits (N_TTY_BUF_SIZE of Linux).
const ttyBacklog = 4096

// TTY is a terminal (termios(3)). It is the line discipline between a line and the programs
// that read and write the terminal. The line is the console or the master of a
// pseudo-terminal. Every open file is a ttyHandle.
type TTY struct {
	fs  *FS
	dev uint64 // [I] device number
	pty *pty   // [I] nil: the console
	q   WaitQueue

	// writer holds a token. A write(2) takes it, so that the output of two writes is not
	// mixed. The token may be held while the output is full, so a thread sleeps to take it.
	writer chan struct{}

	// hangups counts hang-ups. A file opened before the last hang-up is dead.
	hangups atomic.Uint64

	sid, pgid int // [FS.jobMu] see ttyjobs.go

	mu        sync.Mutex
	tio       termios
	win       [8]byte // struct winsize
	line      []byte  // the line being edited (ICANON)
	lineCol   int     // the screen column where it begins
	literal   bool    // VLNEXT was typed: the next byte has no special meaning
	input     []byte  // ready to be read
	ends      []int   // in ICANON: the end of each line in input; an empty line is an end of file
	stopped   bool    // by VSTOP or TCXONC: output must wait
	exclusive bool    // TIOCEXCL
	col       int     // screen column of the next output byte
}

func newTTY(s *FS, dev uint64, p *pty) *TTY {
	y := &TTY{fs: s, dev: dev, pty: p, tio: defaultTermios(), writer: make(chan struct{}, 1)}
	y.writer <- struct{}{}
	return y
}

// out returns the Output of the terminal.
func (y *TTY) out() Output {
	if y.pty != nil {
		return y.pty
	}
	return y.fs.cfg.Console
}

// ttyHandle is an open terminal.
type ttyHandle struct {
	y       *TTY
	hangups uint64 // value of TTY.hangups when it was opened
}

// open makes a handle. EIO: f is a slave whose master is closed or has not unlocked it.
// EBUSY: another program has set TIOCEXCL.
func (y *TTY) open(c call, flags int, mayBeOurs bool) (handle, error) {
	y.mu.Lock()
	busy := y.exclusive && c.task != nil && !c.task.Cred().Has(cred.SysAdmin)
	y.mu.Unlock()
	if busy {
		return nil, syscall.EBUSY
	}
	// Before openSlave: the master may be closed right behind it, which hangs this file up
	// too.
	hangups := y.hangups.Load()
	if y.pty != nil {
		if err := y.pty.openSlave(); err != nil {
			return nil, err
		}
	}
	if mayBeOurs && flags&unix.O_NOCTTY == 0 && flags&unix.O_ACCMODE != unix.O_WRONLY {
		y.adopt(c)
	}
	return &ttyHandle{y, hangups}, nil
}

func (h *ttyHandle) close() {
	if h.y.pty != nil {
		h.y.pty.closeSlave()
	}
}

func (h *ttyHandle) queue() *WaitQueue { return &h.y.q }

// dead reports whether the terminal was hung up since the file was opened: no more input
// comes, and writes fail.
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

// readableLocked returns the answer for poll(2): there is a line in canonical mode, else
// VMIN bytes, or one byte if VTIME would end a read of less. Precondition: mu held.
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

// read returns at most one line in canonical mode. It returns 0 for the VEOF character. In
// raw mode it returns after VMIN bytes, or when VTIME has passed. VTIME counts from the
// last byte, or from the call if VMIN is 0.
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

// awaitInput waits until there is a line, or in raw mode a byte.
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

// takeLocked moves input to p: in canonical mode one line, or the part of it that fits.
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

// dropLocked removes n read bytes from the input, and the ends of lines that were read
// whole. Precondition: mu held.
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

// roomForInput wakes the threads that wait to write to the master of a pseudo-terminal.
func (y *TTY) roomForInput() {
	if y.pty != nil {
		y.pty.q.Wake(EPOLLOUT | EPOLLWRNORM)
	}
}

const (
	// ttyTurn is how many bytes are written between two pauses. The output may be eight
	// times as large, because tabs become spaces.
	ttyTurn = 64
	// ttyRoom is how much room the output must have for the terminal to be writable.
	ttyRoom = 4 * ttyTurn
)

// write processes and prints p. It sleeps while the output is full.
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

// put processes and writes p. It writes all of it, or nothing if there is no room.
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

// startWrite takes the writer's token. Errors: EAGAIN, EINTR.
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

// Sent must be called when the output has room again.
func (y *TTY) Sent() { y.q.Wake(EPOLLOUT | EPOLLWRNORM) }

// flowLocked stops output, or starts it again. It wakes the threads that wait for output, and
// informs a pseudo-terminal's master. That is done under mu, so that the master learns of a
// stop and a start on two CPUs in their order. Precondition: mu held.
func (y *TTY) flowLocked(stop bool) {
	if y.stopped == stop {
		return
	}
	y.stopped = stop
	if !stop {
		y.Sent()
	}
	if y.pty != nil {
		y.pty.note(map[bool]byte{true: unix.TIOCPKT_STOP, false: unix.TIOCPKT_START}[stop])
	}
}

// flow is flowLocked for callers that do not hold mu.
func (y *TTY) flow(stop bool) {
	y.mu.Lock()
	y.flowLocked(stop)
	y.mu.Unlock()
}

// drain implements tcdrain(3): it waits until all output is sent. EINTR.
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

// hangUp makes every open file of the terminal dead. Threads that wait for the terminal
// return.
func (y *TTY) hangUp() {
	y.hangups.Add(1)
	y.mu.Lock()
	y.flushLocked()
	y.stopped = false
	y.mu.Unlock()
	y.q.Wake(math.MaxUint32)
}
