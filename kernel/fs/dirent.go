package fs

import (
	"encoding/binary"
	"syscall"
)

// dirHandle is an open directory. The offset of its File is the cookie of the last entry
// read, so a program that seeks to a d_off continues after that entry.
type dirHandle struct {
	unreadable
	dir directory
}

func (h *dirHandle) read(call, []byte, int64) (int, error)  { return 0, syscall.EISDIR }
func (h *dirHandle) write(call, []byte, int64) (int, error) { return 0, syscall.EBADF }
func (h *dirHandle) size() int64                            { return 0 }

// direntHeader is the size of struct linux_dirent64 before d_name (getdents(2)): 8 bytes
// d_ino, 8 d_off, 2 d_reclen, 1 d_type.
const direntHeader = 19

// direntTurn is the maximum number of records that a call returns. Each takes some 250
// instructions. The program calls again for more, and other threads can run between the
// calls.
const direntTurn = 64

// getdents fills buf with whole linux_dirent64 records after position pos and returns the
// bytes used. It returns EINVAL if the first record does not fit. A removed directory has
// no entries at all, not even dots (Linux returns ENOENT, which callers of readdir take for
// the end).
func (h *dirHandle) getdents(t Task, buf []byte, pos int64) (n int, err error) {
	if d, ok := h.dir.(*dir); ok {
		d.vol.mu.RLock()
		absent := d.absent
		d.vol.mu.RUnlock()
		if absent {
			d.vol.mu.Lock()
			err = d.load()
			d.vol.mu.Unlock()
			if err != nil {
				return 0, err
			}
		}
	}
	up, _ := h.dir.where()
	if up == nil {
		return 0, syscall.ENOENT
	}
	left := direntTurn
	put := func(e entry) bool {
		if left--; left < 0 {
			return false
		}
		size := putDirent(buf[n:], e)
		if size == 0 && n == 0 {
			err = syscall.EINVAL
		}
		n += size
		return size > 0
	}
	if pos < 1 && !put(entry{".", 1, h.dir.base().ino, syscall.S_IFDIR}) {
		return n, err
	}
	if pos < cookieDots && !put(entry{"..", cookieDots, up.base().ino, syscall.S_IFDIR}) {
		return n, err
	}
	h.dir.entries(t, max(pos, cookieDots), put)
	return n, err
}

// arrived returns the size of the whole records among the first n bytes of buf, and the
// cookie of the last of these records, or pos if there is none.
func arrived(buf []byte, n int, pos int64) (int, int64) {
	at := 0
	for at < n {
		size := int(binary.LittleEndian.Uint16(buf[at+16:]))
		if at+size > n {
			break
		}
		pos = int64(binary.LittleEndian.Uint64(buf[at+8:]))
		at += size
	}
	return at, pos
}

// putDirent encodes e at the start of b and returns the size of the record, or 0 if it does
// not fit. Records are padded to 8 bytes. The name ends with a NUL.
func putDirent(b []byte, e entry) int {
	size := (direntHeader + len(e.name) + 1 + 7) &^ 7
	if size > len(b) {
		return 0
	}
	clear(b[:size])
	binary.LittleEndian.PutUint64(b[0:], e.ino)
	binary.LittleEndian.PutUint64(b[8:], uint64(e.cookie))
	binary.LittleEndian.PutUint16(b[16:], uint16(size))
	b[18] = byte(e.typ >> 12) // DT_* are the S_IF* bits, shifted
	copy(b[direntHeader:], e.name)
	return size
}
