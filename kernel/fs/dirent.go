package fs

import (
	"encoding/binary"
	"sort"
	"syscall"
)

// dirHandle is an open directory. Its offset is the cookie of the last entry
// read, so lseek to a d_off resumes there.
type dirHandle struct {
	unreadable
	dir directory
}

func (h *dirHandle) read(call, []byte, int64) (int, error)  { return 0, syscall.EISDIR }
func (h *dirHandle) write(call, []byte, int64) (int, error) { return 0, syscall.EBADF }
func (h *dirHandle) size() int64                            { return 0 }

// direntHeader is sizeof(struct linux_dirent64) up to d_name (getdents(2)):
// d_ino 8, d_off 8, d_reclen 2, d_type 1.
const direntHeader = 19

// getdents fills buf with whole linux_dirent64 records after position pos and
// returns the bytes used and the new position; EINVAL if the first record does
// not fit.
func (h *dirHandle) getdents(t Task, buf []byte, pos int64) (int, int64, error) {
	es, err := h.entries(t, pos)
	if err != nil {
		return 0, pos, err
	}
	n := 0
	for _, e := range es {
		size := putDirent(buf[n:], e)
		if size == 0 {
			if n == 0 {
				return 0, pos, syscall.EINVAL
			}
			break
		}
		n += size
		pos = e.cookie
	}
	return n, pos, nil
}

// entries are those after position pos, the dots first. A removed directory is
// empty: not even dots (Linux: ENOENT, which readdir callers take for the end).
func (h *dirHandle) entries(t Task, pos int64) ([]entry, error) {
	up, _ := h.dir.where()
	if up == nil {
		return nil, syscall.ENOENT
	}
	es, err := h.dir.list(t)
	if err != nil {
		return nil, err
	}
	es = es[sort.Search(len(es), func(i int) bool { return es[i].cookie > pos }):]
	dots := []entry{
		{".", 1, h.dir.base().ino, syscall.S_IFDIR},
		{"..", cookieDots, up.base().ino, syscall.S_IFDIR},
	}
	if pos < 0 {
		pos = 0
	}
	if pos < cookieDots {
		es = append(dots[pos:], es...)
	}
	return es, nil
}

// putDirent encodes e at the start of b; 0 if it does not fit. Records are
// padded to 8 bytes; the name ends with a NUL.
func putDirent(b []byte, e entry) int {
	size := (direntHeader + len(e.name) + 1 + 7) &^ 7
	if size > len(b) {
		return 0
	}
	clear(b[:size])
	binary.LittleEndian.PutUint64(b[0:], e.ino)
	binary.LittleEndian.PutUint64(b[8:], uint64(e.cookie))
	binary.LittleEndian.PutUint16(b[16:], uint16(size))
	b[18] = byte(e.typ >> 12) // DT_* are the S_IF* bits shifted
	copy(b[direntHeader:], e.name)
	return size
}
