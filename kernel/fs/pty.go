package fs

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/charge"
)

// ptyMajor is the major number of slaves. The minor number is the number in the name.
const ptyMajor = 136

// maxPTYs is the maximum number of pseudo-terminals (/proc/sys/kernel/pty/max).
const maxPTYs = 4096

// ptyBuffer is how much output of a slave may wait for its master. ptyCost is the maximum
// memory of a pseudo-terminal, including its input.
const (
	ptyBuffer = 4096
	ptyCost   = ptyBuffer + 2*ttyBacklog + 1024
)

// pty is a pseudo-terminal (pty(7)). Bytes written to the slave can be read from the
// master. Bytes written to the master are typed on the slave. The pty is the slave's
// Output.
type pty struct {
	fs    *FS
	n     int     // [I] the number in /dev/pts/n
	slave *TTY    // [I]
	node  *device // [I] the node of that name
	payer *charge.User
	q     WaitQueue // of the master

	mu      sync.Mutex
	out     []byte
	locked  bool // the slave cannot be opened, until TIOCSPTLCK
	opens   int  // open files of the slave
	used    bool // the slave has been opened
	closed  bool // the master is closed
	packet  bool // TIOCPKT
	changes byte // TIOCPKT_ bits for the master's next read
}

// openMaster opens /dev/ptmx: it makes a new pseudo-terminal. ENOSPC: there are too many.
// ENOMEM: the user has too much memory.
func (s *FS) openMaster(c call) (handle, error) {
	payer := s.payer(c.task)
	if !payer.Take(charge.OpenFile, ptyCost) {
		return nil, syscall.ENOMEM
	}
	p := &pty{fs: s, payer: payer, locked: true}
	if err := s.name(c.task, p); err != nil {
		payer.Give(charge.OpenFile, ptyCost)
		return nil, err
	}
	return &ptyMaster{p}, nil
}

// name gives a pseudo-terminal a number, and its slave a name.
func (s *FS) name(t Task, p *pty) error {
	s.ptyMu.Lock()
	defer s.ptyMu.Unlock()
	n := 0
	for n < len(s.ptys) && s.ptys[n] != nil {
		n++
	}
	if n == maxPTYs {
		return syscall.ENOSPC
	}
	p.n = n
	p.slave = newTTY(s, unix.Mkdev(ptyMajor, uint32(n)), p)
	var err error
	if p.node, err = s.newDevice(t, syscall.S_IFCHR|0o620, p.slave.dev); err != nil {
		return err
	}
	p.node.pts = true
	newborn(p.node)
	// The kernel makes the name, because no user may write to /dev/pts.
	if _, err := s.link(boot, s.pts, strconv.Itoa(n), p.node); err != nil {
		unhold(p.node)
		return err
	}
	p.node.gid.Store(5) // group tty, as Debian mounts devpts; the slave is still locked
	if c := credOf(t); c != nil {
		p.node.uid.Store(c.FSUID)
	}
	if n == len(s.ptys) {
		s.ptys = append(s.ptys, p)
	} else {
		s.ptys[n] = p
	}
	return nil
}

// openSlave and closeSlave count the open files of the slave. EIO: locked or closed.
func (p *pty) openSlave() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.locked || p.closed {
		return syscall.EIO
	}
	p.opens++
	p.used = true
	return nil
}

func (p *pty) closeSlave() {
	p.mu.Lock()
	p.opens--
	last, closed := p.opens == 0, p.closed
	p.mu.Unlock()
	if !last {
		return
	}
	p.slave.unused()
	p.q.Wake(EPOLLIN | EPOLLHUP)
	if closed {
		p.free()
	}
}

// free frees the number. The master and all files of the slave are closed.
func (p *pty) free() {
	p.fs.ptyMu.Lock()
	p.fs.ptys[p.n] = nil
	p.fs.ptyMu.Unlock()
	p.payer.Give(charge.OpenFile, ptyCost)
}

// slaveOf returns the slave with a minor number, or nil. If from, the node that is opened, is
// in /dev/pts, it must be that slave's own: the caller has been allowed to open no other.
func (s *FS) slaveOf(minor uint32, from *device) *TTY {
	s.ptyMu.Lock()
	defer s.ptyMu.Unlock()
	if int(minor) >= len(s.ptys) || s.ptys[minor] == nil {
		return nil
	}
	p := s.ptys[minor]
	if from.pts && from != p.node {
		return nil
	}
	return p.slave
}

// Write implements Output.
func (p *pty) Write(b []byte) bool {
	p.mu.Lock()
	fits := len(p.out)+len(b) <= ptyBuffer || p.closed
	if fits && !p.closed {
		p.out = append(p.out, b...)
	}
	p.mu.Unlock()
	if fits {
		p.q.Wake(EPOLLIN | EPOLLRDNORM)
	}
	return fits
}

// Room implements Output.
func (p *pty) Room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ptyBuffer
	}
	return ptyBuffer - len(p.out)
}

// Pending implements Output. Output counts as sent as soon as the master can read it.
func (p *pty) Pending() int { return 0 }

// note keeps a change for the next read of a master in packet mode.
func (p *pty) note(change byte) {
	p.mu.Lock()
	if p.packet {
		switch change {
		case unix.TIOCPKT_STOP:
			p.changes &^= unix.TIOCPKT_START
		case unix.TIOCPKT_START:
			p.changes &^= unix.TIOCPKT_STOP
		}
		p.changes |= change
	}
	told := p.changes != 0
	p.mu.Unlock()
	if told {
		p.q.Wake(EPOLLIN | EPOLLPRI)
	}
}

// ptyMaster is the open master. Each pseudo-terminal has one, as each open of /dev/ptmx
// makes a new pseudo-terminal.
type ptyMaster struct{ p *pty }

func (h *ptyMaster) queue() *WaitQueue { return &h.p.q }

func (h *ptyMaster) ready() uint32 {
	p, r := h.p, uint32(0)
	y := p.slave
	y.mu.Lock()
	if y.roomLocked() {
		r |= EPOLLOUT | EPOLLWRNORM
	}
	y.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.out) > 0 || p.changes != 0 {
		r |= EPOLLIN | EPOLLRDNORM
	}
	if p.changes != 0 {
		r |= EPOLLPRI
	}
	if p.goneLocked() {
		r |= EPOLLHUP
	}
	return r
}

// goneLocked reports that the slave has been open and no process has it open now.
// Precondition: mu held.
func (p *pty) goneLocked() bool { return p.used && p.opens == 0 }

// read returns the bytes written to the slave. EIO: no process has the slave open any more.
func (h *ptyMaster) read(c call, b []byte, _ int64) (int, error) {
	p := h.p
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err, ok := p.take(b)
		if ok {
			return n, err
		}
		if c.nonblock {
			return 0, syscall.EAGAIN
		}
		if err := await(c.task, h, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

// take is a read that does not wait. ok is false if there is nothing to return.
func (p *pty) take(b []byte) (n int, err error, ok bool) {
	p.mu.Lock()
	switch {
	case p.changes != 0:
		b[0], p.changes = p.changes, 0
		p.mu.Unlock()
		return 1, nil, true
	case len(p.out) == 0:
		gone := p.goneLocked()
		p.mu.Unlock()
		return 0, syscall.EIO, gone
	}
	head := 0
	if p.packet {
		b[0], head = unix.TIOCPKT_DATA, 1
	}
	n = copy(b[head:], p.out)
	if p.out = p.out[n:]; len(p.out) == 0 {
		p.out = nil
	}
	p.mu.Unlock()
	p.slave.Sent()
	return head + n, nil, true
}

// write types bytes on the slave.
func (h *ptyMaster) write(c call, b []byte, _ int64) (int, error) {
	done := 0
	for done < len(b) {
		n := h.p.slave.Input(b[done:min(len(b), done+ttyTurn)])
		done += n
		var err error
		switch {
		case n > 0:
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
	return done, nil
}

// close hangs the slave up, which is told to its session's leader.
func (h *ptyMaster) close() {
	p := h.p
	p.fs.unlink(p.fs.pts, strconv.Itoa(p.n), p.node)
	unhold(p.node)
	p.mu.Lock()
	p.closed, p.out = true, nil
	unused := p.opens == 0
	p.mu.Unlock()
	p.slave.hangUp()
	p.slave.lost()
	if unused {
		p.free()
	}
}

func (h *ptyMaster) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	p := h.p
	getInt := func() (int32, error) {
		var b [4]byte
		err := mem.CopyIn(b[:], arch.VA(arg))
		return int32(binary.LittleEndian.Uint32(b[:])), err
	}
	truth := func(b bool) int { return map[bool]int{true: 1}[b] }
	switch req {
	case unix.TIOCGPTN:
		return putInt(mem, arg, p.n)
	case unix.TIOCSPTLCK:
		v, err := getInt()
		if err == nil {
			p.mu.Lock()
			p.locked = v != 0
			p.mu.Unlock()
		}
		return 0, err
	case unix.TIOCGPTLCK:
		p.mu.Lock()
		v := truth(p.locked)
		p.mu.Unlock()
		return putInt(mem, arg, v)
	case unix.TIOCPKT:
		v, err := getInt()
		if err == nil {
			p.mu.Lock()
			p.packet, p.changes = v != 0, 0
			p.mu.Unlock()
		}
		return 0, err
	case unix.TIOCGPKT:
		p.mu.Lock()
		v := truth(p.packet)
		p.mu.Unlock()
		return putInt(mem, arg, v)
	case unix.TIOCSIG:
		sig := syscall.Signal(arg)
		if sig != syscall.SIGINT && sig != syscall.SIGQUIT && sig != syscall.SIGTSTP {
			return 0, syscall.EINVAL
		}
		p.slave.signalFront(sig)
		return 0, nil
	case fionread:
		p.mu.Lock()
		n := len(p.out)
		p.mu.Unlock()
		return putInt(mem, arg, n)
	case unix.TIOCSCTTY, unix.TIOCNOTTY: // on the master itself, which no session can have
		return 0, syscall.ENOTTY
	}
	return p.slave.ioctl(c, mem, req, arg, true)
}

// Peer opens the slave of a master, without using a name (TIOCGPTPEER). ENOTTY: f is no
// master.
func (f *File) Peer(t Task, flags int) (*File, error) {
	h, ok := f.h.(*ptyMaster)
	if !ok {
		return nil, syscall.ENOTTY
	}
	if flags&^(unix.O_ACCMODE|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC) != 0 {
		return nil, syscall.EINVAL
	}
	p := h.p
	c := call{task: t}
	sh, err := p.slave.open(c, flags, true)
	if err != nil {
		return nil, err
	}
	if !hold(p.node) {
		sh.close()
		return nil, syscall.EIO
	}
	return f.fs.newFile(t, p.node, sh, place{f.fs.pts, fmt.Sprint(p.n)}, flags)
}
