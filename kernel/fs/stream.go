package fs

import "syscall"

// Dest is where the bytes of a stream go, and Source is where they come from: the
// caller's memory, or a buffer of the kernel. Offsets count from the start of the
// transfer, so a copy can be done again, and bytes are taken out of a stream only
// after they have arrived.
//
// A copy never sleeps and may run under the locks of a stream. It stops early
// where a page of user memory is absent, or after enough work for one turn. The
// stream then drops its locks, calls Fault for the first byte that is missing,
// and goes on there.
type Dest interface {
	// Len is the size of the transfer.
	Len() int
	// CopyOut moves p to offset off and returns how many bytes it moved.
	CopyOut(off int, p []byte) int
	// Fault makes the page at offset off accessible: EFAULT, ENOMEM. It may sleep.
	Fault(off int) error
}

// Source is the opposite of Dest.
type Source interface {
	Len() int
	// CopyIn fills p from offset off and returns how many bytes it moved.
	CopyIn(p []byte, off int) int
	Fault(off int) error
}

// flat is a Dest and a Source in kernel memory.
type flat []byte

func (b *flat) Len() int                      { return len(*b) }
func (b *flat) CopyOut(off int, p []byte) int { return copy((*b)[off:], p) }
func (b *flat) CopyIn(p []byte, off int) int  { return copy(p, (*b)[off:]) }
func (b *flat) Fault(int) error               { return nil }

// streamer is a handle whose bytes can be read only once: it moves them between
// its own memory and the caller's without a buffer in between.
type streamer interface {
	readTo(c call, d Dest) (int, error)
	writeFrom(c call, s Source) (int, error)
}

// Streams says whether ReadTo and WriteFrom are there.
func (f *File) Streams() bool {
	_, ok := f.h.(streamer)
	return ok
}

// ReadTo is Read into d. Bytes that did not arrive stay in the stream: EFAULT
// only if none arrived.
func (f *File) ReadTo(t Task, d Dest) (int, error) {
	if err := f.may(syscall.O_RDONLY); err != nil {
		return 0, err
	}
	return f.h.(streamer).readTo(f.call(t), d)
}

// WriteFrom is Write from s. EPIPE may come with a count: the caller sends SIGPIPE
// and returns the count.
func (f *File) WriteFrom(t Task, s Source) (int, error) {
	if err := f.may(syscall.O_WRONLY); err != nil {
		return 0, err
	}
	return f.h.(streamer).writeFrom(f.call(t), s)
}
