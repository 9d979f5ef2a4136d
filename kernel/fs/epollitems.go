package fs

import (
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// epollItems are the items of an epoll instance by their descriptors' numbers. A map of the
// Go runtime would do, but for its growth: 1024 entries are moved at once, while other
// threads wait for 200 us. All methods need epoll.mu.
type epollItems struct {
	chunks []*epollChunk // by number; nil if there never was an item in it
}

// epollChunk has a list for each of some numbers that follow each other: a file that was
// closed there may live on in another process, under the same number as a new one.
type epollChunk [64]*epollItem

// epollChunkCost is the charge for a chunk, in bytes of kernel heap.
const epollChunkCost = int64(unsafe.Sizeof(epollChunk{}) + unsafe.Sizeof((*epollChunk)(nil)))

// list returns where the list of a number begins, or nil.
func (e *epollItems) list(fd int) **epollItem {
	if i := fd / len(epollChunk{}); i < len(e.chunks) && e.chunks[i] != nil {
		return &e.chunks[i][fd%len(epollChunk{})]
	}
	return nil
}

// get returns an item, or nil.
func (e *epollItems) get(key epollKey) *epollItem {
	if l := e.list(key.fd); l != nil {
		for it := *l; it != nil; it = it.sameFD {
			if it.file == key.file {
				return it
			}
		}
	}
	return nil
}

// add adds an item, whose key no other item has. ENOSPC: the user may not have more.
func (e *epollItems) add(it *epollItem) error {
	l := e.list(it.fd)
	if l == nil {
		if !it.ep.payer.Take(charge.Epoll, epollChunkCost) {
			return syscall.ENOSPC
		}
		i := it.fd / len(epollChunk{})
		if n := i + 1 - len(e.chunks); n > 0 {
			e.chunks = append(e.chunks, make([]*epollChunk, n)...)
		}
		e.chunks[i] = new(epollChunk)
		l = e.list(it.fd)
	}
	it.sameFD, *l = *l, it
	return nil
}

// remove takes an item out and returns it, or nil.
func (e *epollItems) remove(key epollKey) *epollItem {
	l := e.list(key.fd)
	for ; l != nil && *l != nil; l = &(*l).sameFD {
		if it := *l; it.file == key.file {
			*l, it.sameFD = it.sameFD, nil
			return it
		}
	}
	return nil
}

// next returns the first item of a number that is at least fd, or nil.
func (e *epollItems) next(fd int) *epollItem {
	for i := fd / len(epollChunk{}); i < len(e.chunks); i++ {
		if c := e.chunks[i]; c != nil {
			for j := fd % len(c); j < len(c); j++ {
				if c[j] != nil {
					return c[j]
				}
			}
		}
		fd = 0
	}
	return nil
}

// all ranges over the items. The caller must not change the set.
func (e *epollItems) all(yield func(*epollItem) bool) {
	for _, c := range e.chunks {
		if c == nil {
			continue
		}
		for _, it := range c {
			for ; it != nil; it = it.sameFD {
				if !yield(it) {
					return
				}
			}
		}
	}
}

// free gives back what the chunks have been charged, at the end of the instance.
func (e *epollItems) free(payer *charge.User) {
	n := int64(0)
	for _, c := range e.chunks {
		if c != nil {
			n += epollChunkCost
		}
	}
	payer.Give(charge.Epoll, n)
	e.chunks = nil
}

// addWatch and removeWatch link an item with its file. Precondition: watchMu held.
func (f *File) addWatch(it *epollItem) {
	it.watched = true
	if it.nextWatch = f.watch; it.nextWatch != nil {
		it.nextWatch.prevWatch = it
	}
	f.watch = it
}

func (f *File) removeWatch(it *epollItem) {
	if !it.watched {
		return
	}
	if it.prevWatch != nil {
		it.prevWatch.nextWatch = it.nextWatch
	} else {
		f.watch = it.nextWatch
	}
	if it.nextWatch != nil {
		it.nextWatch.prevWatch = it.prevWatch
	}
	it.watched, it.prevWatch, it.nextWatch = false, nil, nil
}
