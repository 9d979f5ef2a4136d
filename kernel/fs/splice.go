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
	if p := out.pipeOf(); p != nil { // read no more than fits: it could not be put back
		room, err := p.room(out.call(t), nonblock)
		if err != nil {
			return 0, err
		}
		n = min(n, room)
	}
	buf := NewBuffer(uint64(n))
	defer buf.Put()
	b := buf.B[:min(n, len(buf.B))]
	c := in.call(t)
	c.nonblock = c.nonblock || nonblock
	k, err := in.h.read(c, b, off)
	if k == 0 || err != nil {
		return 0, err
	}
	c = out.call(t)
	a, appends := out.h.(appender)
	if appends {
		at = a.beginWrite(c, at)
		defer a.endWrite()
	}
	return out.h.write(c, b[:k], at)
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
