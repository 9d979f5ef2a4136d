package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeOf returns the pipe of the end f, or nil if f is no pipe.
func (f *File) pipeOf() *pipe {
	if e, ok := f.h.(*pipeEnd); ok {
		return e.p
	}
	return nil
}

// IsPipe reports whether f is an end of a pipe.
func (f *File) IsPipe() bool { return f.pipeOf() != nil }

// spliceTurn is how much splice(2) moves in one turn.
const spliceTurn = 16 * pipePage

// Splice implements splice(2). At least one of the files is a pipe. It moves up to n bytes
// from offset off of in to offset at of out; the offset of a pipe is ignored. It waits for
// the first byte, and for room for it, unless nonblock.
func Splice(t Task, in *File, off int64, out *File, at int64, n int, nonblock bool) (int, error) {
	if err := in.may(unix.O_RDONLY); err != nil {
		return 0, err
	}
	if err := out.may(unix.O_WRONLY); err != nil {
		return 0, err
	}
	n = min(n, spliceTurn)
	if p := in.pipeOf(); p != nil {
		return p.spliceTo(t, in, out, at, n, nonblock)
	}
	p := out.pipeOf()
	room, err := p.promise(out.call(t), n, nonblock)
	if err != nil {
		return 0, err
	}
	buf := NewBuffer(uint64(room))
	defer buf.Put()
	c := in.call(t)
	c.nonblock = c.nonblock || nonblock
	k, err := in.h.read(c, buf.B[:min(room, len(buf.B))], off)
	if k == 0 || err != nil {
		p.keep(room, nil)
		return 0, err
	}
	return p.keep(room, buf.B[:k])
}

// promise takes room for up to n bytes, and waits until there is some. keep must follow.
// Errors: EAGAIN, EPIPE.
func (p *pipe) promise(c call, n int, nonblock bool) (room int, err error) {
	for {
		p.mu.Lock()
		room, readers := min(n, p.roomLocked()), p.readers
		if readers > 0 && room > 0 {
			p.promised += room
			p.mu.Unlock()
			return room, nil
		}
		p.mu.Unlock()
		switch {
		case readers == 0:
			return 0, syscall.EPIPE
		case nonblock || c.nonblock:
			return 0, syscall.EAGAIN
		}
		if err := p.awaitRoom(c.task, 1); err != nil {
			return 0, err
		}
	}
}

// keep puts bytes into promised room, and gives up the rest of it. It returns how many it
// put. Errors: EPIPE, ENOMEM.
func (p *pipe) keep(room int, b []byte) (n int, err error) {
	p.mu.Lock()
	p.promised -= room
	for n < len(b) && err == nil {
		var k int
		k, _, err = p.putLocked((*flat)(&b), n, false)
		n += k
	}
	p.mu.Unlock()
	if n > 0 {
		p.q.Wake(EPOLLIN | EPOLLRDNORM)
	}
	if n < room {
		p.q.Wake(EPOLLOUT | EPOLLWRNORM)
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

// spliceTo is Splice from a pipe. The bytes leave the pipe when out has taken them.
func (p *pipe) spliceTo(t Task, in, out *File, at int64, n int, nonblock bool) (done int, err error) {
	c := in.call(t)
	c.nonblock = c.nonblock || nonblock
	o := out.call(t)
	if q := out.pipeOf(); q != nil {
		o.nonblock = o.nonblock || nonblock
		room, err := q.room(o, false)
		if err != nil {
			return 0, err
		}
		n = min(n, room)
	}
	if some, err := p.claim(c, in.h); !some {
		return 0, err
	}
	defer func() { p.unclaim(done) }()
	buf := NewBuffer(uint64(n))
	defer buf.Put()
	k := p.peek(buf.B[:min(n, len(buf.B))])
	a, appends := out.h.(appender)
	if appends {
		at = a.beginWrite(o, at)
		defer a.endWrite()
	}
	return out.h.write(o, buf.B[:k], at)
}

// claim waits for bytes and keeps them from other readers until unclaim. some is false at
// the end of the pipe, and after an error: EAGAIN, or a signal's.
func (p *pipe) claim(c call, h handle) (some bool, err error) {
	for err == nil {
		p.mu.Lock()
		empty, claimed := p.n == 0, p.claimed
		if !empty {
			p.claimed = true
		}
		p.mu.Unlock()
		switch {
		case !empty && !claimed:
			return true, nil
		case empty && p.atEnd():
			return false, nil
		case c.nonblock:
			return false, syscall.EAGAIN
		case claimed:
			err = p.awaitClaimed(c.task)
		default:
			err = await(c.task, h, EPOLLIN, Never)
		}
	}
	return false, err
}

// unclaim removes the first n bytes, and lets others have the rest.
func (p *pipe) unclaim(n int) {
	p.mu.Lock()
	p.dropLocked(n)
	p.claimed = false
	p.mu.Unlock()
	p.q.Wake(EPOLLIN | EPOLLRDNORM)
	if n > 0 {
		p.q.Wake(EPOLLOUT | EPOLLWRNORM)
	}
}

// room returns how many bytes fit into the pipe. It waits until this is at least one.
// Errors: EAGAIN, EPIPE.
func (p *pipe) room(c call, nonblock bool) (int, error) {
	for {
		p.mu.Lock()
		room, readers := p.roomLocked(), p.readers
		p.mu.Unlock()
		switch {
		case readers == 0:
			return 0, syscall.EPIPE
		case room > 0:
			return room, nil
		case nonblock || c.nonblock:
			return 0, syscall.EAGAIN
		}
		if err := p.awaitRoom(c.task, 1); err != nil {
			return 0, err
		}
	}
}

// Tee implements tee(2). It copies up to n bytes of the pipe in to the pipe out, and leaves
// them in the pipe in. EINVAL: they are not two pipes.
func Tee(t Task, in, out *File, n int, nonblock bool) (int, error) {
	p, q := in.pipeOf(), out.pipeOf()
	if p == nil || q == nil || p == q {
		return 0, syscall.EINVAL
	}
	if err := in.may(unix.O_RDONLY); err != nil {
		return 0, err
	}
	if err := out.may(unix.O_WRONLY); err != nil {
		return 0, err
	}
	for {
		room, err := q.room(out.call(t), nonblock)
		if err != nil {
			return 0, err
		}
		buf := NewBuffer(uint64(min(n, spliceTurn, room)))
		k := p.peek(buf.B[:min(n, spliceTurn, room, len(buf.B))])
		if k > 0 {
			k, err = out.h.write(out.call(t), buf.B[:k], 0)
			buf.Put()
			return k, err
		}
		buf.Put()
		switch {
		case p.atEnd():
			return 0, nil
		case nonblock || in.call(t).nonblock:
			return 0, syscall.EAGAIN
		}
		if err := await(t, in.h, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

// peek copies the first bytes and leaves them in the pipe. It returns their number.
func (p *pipe) peek(b []byte) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(b) && n < p.n {
		slot, at := p.slotLocked(n)
		src := p.mem.Bytes(p.ring[slot])[at:]
		n += copy(b[n:], src[:min(len(src), p.n-n)])
	}
	return n
}
