package fs

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/vm"
)

// letters is a pager with a letter for each page.
type letters struct{ out map[int64]byte }

func (l *letters) PageIn(index int64, page []byte) error {
	for i := range page {
		page[i] = 'a' + byte(index)
	}
	return nil
}

func (l *letters) PageOut(index int64, page []byte) error {
	l.out[index] = page[0]
	return nil
}

// A file with a page cache of its maker's is read and mapped like any other. A file that
// cannot be made leaves no pages behind (newWorld).
func TestMakeFile(t *testing.T) {
	w := newWorld(t)
	pager := &letters{map[int64]byte{}}
	pages := func() *vm.FileObject {
		o := vm.NewFileObject(w.vm, "served", pager)
		must(t, o.Truncate(2*arch.PageSize))
		return o
	}
	must(t, w.MakeFile(w.at, "/f", 0o644, pages()))
	if got, want := w.get("/f"), strings.Repeat("a", 4096)+strings.Repeat("b", 4096); got != want {
		t.Errorf("read %.10q of %d bytes", got, len(got))
	}
	f := w.open("/f", unix.O_RDWR)
	vs, va := w.mapFile(f, 8192)
	f.Release()
	must(t, vs.CopyOut(va+4096, []byte("X")))
	vs.Purge(nil)
	vs.Release()
	if len(pager.out) != 1 || pager.out[1] != 'X' {
		t.Errorf("handed back: %v", pager.out)
	}
	for path, want := range map[string]error{"/f": syscall.EEXIST, "/none/f": syscall.ENOENT, "/proc/f": syscall.ENOENT} {
		if err := w.MakeFile(w.at, path, 0o644, pages()); err != want {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	d := newDisk(t, 4, "-t ext2")
	w.mountDisk(d)
	if err := w.MakeFile(w.at, "/mnt/f", 0o644, pages()); err != syscall.EXDEV {
		t.Errorf("on a disk: %v", err)
	}
	w.unmountDisk(d)
	must(t, w.Unlink(w.at, "/f", 0))
	w.free = w.mem.FreeFrames() // a root page may stay in pmap's stock
	if n := w.vm.Stats().Objects; n != 0 {
		t.Errorf("%d file objects alive", n)
	}
}
