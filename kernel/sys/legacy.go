package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
)

// Calls that exist only on amd64, as newer calls do the same.

// oldDirent converts a struct linux_dirent64 to a struct linux_dirent of the same length.
// The type moves from before the name to the end of the record.
func oldDirent(rec []byte) {
	typ := rec[18]
	copy(rec[18:], rec[19:])
	rec[len(rec)-1] = typ
}

func sysGetdents(c ctx) (uint64, error) {
	return c.getdents(func(p []byte) {
		for len(p) > 0 {
			n := int(le.Uint16(p[16:]))
			oldDirent(p[:n])
			p = p[n:]
		}
	})
}

// setTimes sets the times of a path.
func (c ctx) setTimes(at fs.At, path string, ns [2]int64) error {
	return c.s.fs.Utimes(at, path, ns[0], ns[1], 0)
}

var bothNow = [2]int64{fs.TimeNow, fs.TimeNow}

func sysUtime(c ctx) (uint64, error) {
	ns := bothNow
	if va := c.va(1); va != 0 {
		t, err := get[[2]int64](c, va)
		if err != nil {
			return 0, err
		}
		ns = [2]int64{t[0] * second, t[1] * second}
	}
	return c.onPath(func(at fs.At, path string) error { return c.setTimes(at, path, ns) })
}

// timevals reads the pair of timevals of utimes(2). A null pointer means the present time.
func (c ctx) timevals(va arch.VA) (ns [2]int64, err error) {
	if va == 0 {
		return bothNow, nil
	}
	tv, err := get[[2]unix.Timeval](c, va)
	if err != nil {
		return ns, err
	}
	for i, t := range tv {
		if t.Usec < 0 || t.Usec >= 1e6 {
			return ns, syscall.EINVAL
		}
		ns[i] = t.Sec*second + t.Usec*1000
	}
	return ns, nil
}

func sysUtimes(c ctx) (uint64, error) {
	ns, err := c.timevals(c.va(1))
	if err != nil {
		return 0, err
	}
	return c.onPath(func(at fs.At, path string) error { return c.setTimes(at, path, ns) })
}

func sysFutimesat(c ctx) (uint64, error) {
	ns, err := c.timevals(c.va(2))
	if err != nil {
		return 0, err
	}
	if c.va(1) == 0 {
		return c.onFile(func(f *fs.File) error { return f.Utimes(c.task(), ns[0], ns[1]) })
	}
	return c.onPathAt(0, func(at fs.At, path string) error { return c.setTimes(at, path, ns) })
}

// sysUstat implements ustat(2): it returns the data of the file system with a device
// number.
func sysUstat(c ctx) (uint64, error) {
	st, err := c.s.fs.StatfsDev(uint64(c.uint32(0)))
	if err != nil {
		return 0, err
	}
	type ustat struct {
		Tfree  int32
		Pad    int32
		Tinode uint64
		Fname  [6]byte
		Fpack  [6]byte
		Pad2   int32
	}
	return 0, put(c, c.va(1), &ustat{Tfree: int32(st.Bfree), Tinode: st.Ffree})
}
