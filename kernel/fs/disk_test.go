package fs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/disk/disktest"
	"grim/kernel/ext2"
	"grim/mm/vm"
)

// testDisk is a disk in memory that can be slow, fail or disappear.
type testDisk struct {
	mu    sync.Mutex
	data  []byte
	slow  atomic.Int64 // nanoseconds for each request
	fails atomic.Bool  // writes fail
	gone  atomic.Bool  // all requests fail
}

func (d *testDisk) Size() int64    { return int64(len(d.data)) }
func (d *testDisk) ReadOnly() bool { return false }

func (d *testDisk) wait(write bool) error {
	if n := d.slow.Load(); n > 0 {
		time.Sleep(time.Duration(n))
	}
	if d.gone.Load() || write && d.fails.Load() {
		return syscall.EIO
	}
	return nil
}

func (d *testDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.wait(false); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.data[off:off+int64(len(p))]), nil
}

func (d *testDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.wait(true); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.data[off:], p[:len(p):len(p)]), nil
}

func (d *testDisk) Flush() error { return d.wait(true) }

// newDisk returns a disk with an empty file system, made by mke2fs.
func newDisk(t testing.TB, mb int, args string) *testDisk {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	if out, code := disktest.Tool(t, "mke2fs", append(strings.Fields("-q -F "+args), file, fmt.Sprintf("%dM", mb))...); code != 0 {
		t.Fatal(out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return &testDisk{data: b}
}

// mountDisk mounts a disk on /mnt.
func (w *world) mountDisk(d *testDisk) {
	w.t.Helper()
	f, err := ext2.Open(d, ext2.Options{Now: func() int64 { return time.Now().UnixNano() }, Log: func(s string) { w.t.Log(s) }})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.Mkdir(w.at, "/mnt", 0o755); err != nil && err != syscall.EEXIST {
		w.t.Fatal(err)
	}
	if err := w.Mount(w.at, "/mnt", "/dev/vda", "ext4", NewExt2(f)); err != nil {
		w.t.Fatal(err)
	}
}

// unmountDisk unmounts the disk. e2fsck must find no errors then.
func (w *world) unmountDisk(d *testDisk) {
	w.t.Helper()
	if err := w.Unmount(w.at, "/mnt"); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.(interface{ TempDir() string }).TempDir(), "after")
	if err := os.WriteFile(file, d.data, 0o666); err != nil {
		w.t.Fatal(err)
	}
	if out, code := disktest.Tool(w.t, "e2fsck", "-fn", file); code != 0 {
		w.t.Fatalf("e2fsck: status %d\n%s", code, out)
	}
}

func (w *world) store(path string, data []byte) error {
	f, err := w.Open(w.at, path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Release()
	n, err := f.Write(w.task, data)
	if err == nil && n != len(data) {
		err = syscall.ENOSPC
	}
	return err
}

func (w *world) fetch(path string) ([]byte, error) {
	f, err := w.Open(w.at, path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Release()
	b := make([]byte, f.Stat().Size+1)
	n, err := f.Pread(w.task, b, 0)
	return b[:n], err
}

// TestDisk checks that changes of a mounted disk are there when it is mounted again, and
// that every frame and charge is given back (newWorld).
func TestDisk(t *testing.T) {
	for _, kind := range []string{"-t ext2 -b 1024", "-t ext4"} {
		w := newWorld(t)
		d := newDisk(t, 16, kind)
		w.mountDisk(d)
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		want := func(err, want error) {
			t.Helper()
			if err != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
		long := bytes.Repeat([]byte("0123456789abcde\n"), 20000)
		ok(w.store("/mnt/f", long))
		ok(w.Mkdir(w.at, "/mnt/d", 0o750))
		ok(w.Link(w.at, "/mnt/f", w.at, "/mnt/d/g", 0))
		ok(w.Symlink("f", w.at, "/mnt/l"))
		ok(w.Mknod(w.at, "/mnt/fifo", syscall.S_IFIFO|0o600, 0))
		want(w.Link(w.at, "/mnt/f", w.at, "/tmp/g", 0), syscall.EXDEV)
		want(w.Rename(w.at, "/mnt/f", w.at, "/tmp/g", 0), syscall.EXDEV)
		want(w.Unlink(w.at, "/mnt", unix.AT_REMOVEDIR), syscall.EBUSY)
		want(w.Rename(w.at, "/mnt", w.at, "/other", 0), syscall.EBUSY)
		want(w.Unlink(w.at, "/mnt/d", unix.AT_REMOVEDIR), syscall.ENOTEMPTY)
		open, err := w.Open(w.at, "/mnt/f", unix.O_RDONLY, 0)
		ok(err)
		want(w.Unmount(w.at, "/mnt"), syscall.EBUSY)
		if p := open.Path(); p != "/mnt/f" {
			t.Errorf("path of an open file is %q", p)
		}
		open.Release()
		ok(w.Chdir(w.at, "/mnt/d"))
		ok(w.store("relative", []byte("x")))
		if p, err := w.at.Place.Getcwd(); p != "/mnt/d" || err != nil {
			t.Errorf("working directory %q, %v", p, err)
		}
		ok(w.Chdir(w.at, "../.."))
		if p, err := w.at.Place.Getcwd(); p != "/" || err != nil {
			t.Errorf("working directory %q, %v", p, err)
		}
		w.unmountDisk(d)
		if got := w.names("/mnt"); len(got) != 0 {
			t.Errorf("the folder below the mounted disk has %q", got)
		}
		w.mountDisk(d)
		for _, p := range []string{"/mnt/f", "/mnt/d/g", "/mnt/l"} {
			if b, err := w.fetch(p); err != nil || !bytes.Equal(b, long) {
				t.Errorf("%s has %d bytes, %v", p, len(b), err)
			}
		}
		st, err := w.Stat(w.at, "/mnt/d/g", 0)
		if err != nil || st.Nlink != 2 || st.Size != int64(len(long)) || st.Blocks < int64(len(long))/512 {
			t.Errorf("%+v, %v", st, err)
		}
		ok(w.Unlink(w.at, "/mnt/d/g", 0))
		if b, err := w.fetch("/mnt/f"); err != nil || !bytes.Equal(b, long) {
			t.Errorf("after an unlink of the other name: %d bytes, %v", len(b), err)
		}
		w.unmountDisk(d)
	}
}

// TestDiskForget checks that a volume remembers no more than it may, and that everything
// that it has forgotten is found again: data, names of one file, an open file. It fails if
// evict does not look at references: then the volume does not know the open file any more,
// and cannot be unmounted.
func TestDiskForget(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 16, "-t ext4")
	w.mountDisk(d)
	v := w.volumes()[0]
	v.maxNodes, v.maxNames = 20, 400
	content := func(i int) []byte { return []byte(fmt.Sprint("file ", i)) }
	name := func(i int) string { return fmt.Sprintf("/mnt/%d", i) }
	open, err := w.Open(w.at, "/mnt/open", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Write(w.task, []byte("before")); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := w.store(name(i), content(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := w.Link(w.at, name(3), w.at, "/mnt/other", 0); err != nil {
		t.Fatal(err)
	}
	w.FS.Sync()
	for i := range 200 {
		if b, err := w.fetch(name(i)); err != nil || !bytes.Equal(b, content(i)) {
			t.Fatalf("%s: %q, %v", name(i), b, err)
		}
		if n := len(v.nodes); n > 20 {
			t.Fatalf("%d inodes are remembered", n)
		}
	}
	a, err1 := w.Stat(w.at, name(3), 0)
	b, err2 := w.Stat(w.at, "/mnt/other", 0)
	if a.Ino != b.Ino || a.Nlink != 2 || err1 != nil || err2 != nil {
		t.Errorf("%+v and %+v, %v, %v", a, b, err1, err2)
	}
	if _, err := open.Write(w.task, []byte(" and after")); err != nil {
		t.Fatal(err)
	}
	if b, err := w.fetch("/mnt/open"); err != nil || string(b) != "before and after" {
		t.Errorf("the open file has %q, %v", b, err)
	}
	if err := w.Unlink(w.at, "/mnt/open", 0); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		w.fetch(name(i))
	}
	p := make([]byte, 6)
	if n, err := open.Pread(w.task, p, 0); n != 6 || err != nil || string(p) != "before" {
		t.Errorf("the open file without a name has %q, %v", p, err)
	}
	open.Release()
	// Too many names.
	for i := 200; ; i++ {
		if err := w.store(name(i), nil); err == syscall.ENFILE && i < 420 {
			break
		} else if err != nil || i > 420 {
			t.Fatal(i, err)
		}
	}
	w.unmountDisk(d)
}

// TestDiskPurge is E1 on a slow disk, and on a disk that fails in the middle of a purge.
// Data that an exiting process has stored through a mapping can be read by read(2) as soon
// as the purge of the process returns.
func TestDiskPurge(t *testing.T) {
	for _, fails := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) { testDiskPurge(t, w, fails) })
	}
}

func testDiskPurge(t *testing.T, w *world, fails bool) {
	d := newDisk(t, 16, "-t ext4")
	w.mountDisk(d)
	const pages = 100
	if err := w.store("/mnt/f", make([]byte, pages<<12)); err != nil {
		t.Fatal(err)
	}
	w.FS.Sync()
	f, err := w.Open(w.at, "/mnt/f", unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	vs, va := w.mapFile(f, pages<<12)
	for i := range arch.VA(pages) {
		if err := vs.CopyOut(va+i<<12, []byte{byte(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	w.vm.SetDirtyLimit(5)
	d.slow.Store(int64(time.Millisecond))
	if fails {
		time.AfterFunc(3500*time.Microsecond, func() { d.fails.Store(true) })
	}
	start := time.Now()
	var st vm.PurgeStats
	vs.Purge(&st)
	if took := time.Since(start); took < 2*time.Millisecond {
		t.Errorf("the purge took %v: it has not waited for the disk", took)
	}
	b := make([]byte, 1)
	for i := range pages {
		if n, err := f.Pread(w.task, b, int64(i)<<12); n != 1 || b[0] != byte(i+1) {
			t.Fatalf("fails %v: page %d reads %d after the purge, %v", fails, i, b[0], err)
		}
	}
	if st.Dirty != pages || !vs.Purged() {
		t.Errorf("the purge says %+v", st)
	}
	if err := f.Sync(); fails != (err != nil) {
		t.Errorf("fails %v: fsync says %v", fails, err)
	}
	if !vs.Release() {
		t.Error("address space still referenced")
	}
	f.Release()
	w.free = -1 // a root page may stay in pmap's stock
	if fails {
		if err := w.Unmount(w.at, "/mnt"); err != nil {
			t.Error(err)
		}
		return
	}
	w.unmountDisk(d)
	w.mountDisk(d)
	got, err := w.fetch("/mnt/f")
	for i := range pages {
		if err != nil || got[i<<12] != byte(i+1) {
			t.Fatalf("page %d is not on disk, %v", i, err)
		}
	}
	w.unmountDisk(d)
}

// TestDiskMapped checks that sync(2) and unmount find the data written by write(2) while a
// mapping can write to the file, and the data stored through the mapping after the last
// sync. It fails (pages are lost) if Dirtied is called only for the first dirty page of a
// file, and if a file is taken off the list before it is known to be clean.
func TestDiskMapped(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 16, "-t ext4")
	w.mountDisk(d)
	if err := w.store("/mnt/f", make([]byte, 10<<12)); err != nil {
		t.Fatal(err)
	}
	f, err := w.Open(w.at, "/mnt/f", unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	vs, va := w.mapFile(f, 10<<12)
	put := func(page arch.VA, b byte) {
		if err := vs.CopyOut(va+page<<12, []byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	put(0, 1)
	put(1, 1)
	w.FS.Sync()
	put(1, 2) // the page is writable already, so no fault reports the change
	if _, err := f.Pwrite(w.task, []byte{3}, 2<<12); err != nil {
		t.Fatal(err)
	}
	w.FS.Sync()
	w.FS.Sync()
	mark := []byte("stored without a fault, or a call")
	if err := vs.CopyOut(va+5, mark); err != nil {
		t.Fatal(err)
	}
	w.FS.Sync()
	if !bytes.Contains(d.data, mark) {
		t.Error("sync did not store what a mapping had changed since the last one")
	}
	put(1, 4)
	vs.Purge(nil)
	if !vs.Release() {
		t.Error("address space still referenced")
	}
	f.Release()
	w.free = -1 // a root page may stay in pmap's stock
	w.unmountDisk(d)
	w.mountDisk(d)
	if b, err := w.fetch("/mnt/f"); err != nil || b[1<<12] != 4 || b[2<<12] != 3 {
		t.Errorf("on disk are %d and %d, want 4 and 3, %v", b[1<<12], b[2<<12], err)
	}
	w.unmountDisk(d)
}

// TestDiskSyncRange: sync_file_range(2) puts the file's pages on the disk, without an fsync.
// Broken by: SyncRange that does nothing.
func TestDiskSyncRange(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 16, "-t ext4")
	w.mountDisk(d)
	a, b := bytes.Repeat([]byte("first"), 5000), bytes.Repeat([]byte("second"), 5000)
	must(t, w.store("/mnt/f", append(slices.Clone(a), b...)))
	on := func(text string) int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return bytes.Count(d.data, []byte(text))
	}
	f := w.open("/mnt/f", unix.O_RDWR)
	if on("first") != 0 {
		t.Error("the file is on the disk already")
	}
	must(t, f.SyncRange(0, 4096))
	if n := on("first"); n < 4096/5-1 || n > 4096/5 || on("second") != 0 {
		t.Errorf("a page: %d words of it are on the disk, %d of another", n, on("second"))
	}
	must(t, f.SyncRange(0, math.MaxInt64))
	if n := on("second"); n < 4990 {
		t.Errorf("all: %d words", n)
	}
	f.Release()
	w.put("/tmp/f", "in memory")
	f = w.open("/tmp/f", unix.O_RDONLY)
	must(t, f.SyncRange(0, 10))
	f.Release()
	w.removeAll("/tmp/f")
	w.unmountDisk(d)
}

// TestDirtyListed checks that sync(2) finds a file also while another task writes it back,
// and so returns only when the file is on the disk. It fails if a file is taken off the
// list before do.
func TestDirtyListed(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 16, "-t ext4")
	w.mountDisk(d)
	v := w.volumes()[0]
	if err := w.store("/mnt/f", make([]byte, 10<<12)); err != nil {
		t.Fatal(err)
	}
	found := 0
	v.eachDirty(func(o *vm.FileObject) {
		v.eachDirty(func(*vm.FileObject) { found++ })
		o.WriteBack()
	})
	v.eachDirty(func(*vm.FileObject) { found += 10 })
	if found != 1 {
		t.Errorf("found %d, want 1: once during the writeback, not afterwards", found)
	}
	w.unmountDisk(d)
}

// TestDiskParallel runs goroutines that work in directories of their own and look into
// those of the others. There is little memory, so that pages are freed and read again. It
// fails if eachDirty uses Ref instead of TryRef (an object is dropped twice, one run in
// ten), and if it takes references on all dirty files at once (ENFILE, one run in twenty).
func TestDiskParallel(t *testing.T) {
	w := newWorldOf(t, 1024, nil)
	d := newDisk(t, 24, "-t ext4 -O ^has_journal")
	w.mountDisk(d)
	w.volumes()[0].maxNodes = 24 // eight are directories: files are forgotten all the time
	w.vm.SetDirtyLimit(50)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewSource(int64(g)))
			dir := fmt.Sprintf("/mnt/%d", g)
			if err := w.Mkdir(w.at, dir, 0o755); err != nil {
				t.Error(err)
				return
			}
			files := map[string][]byte{}
			name := func() string { return fmt.Sprintf("%s/n%d", dir, r.Intn(12)) }
			for range 150 {
				p, q := name(), name()
				switch r.Intn(7) {
				case 0, 1:
					b := make([]byte, r.Intn(100_000))
					r.Read(b)
					if err := w.store(p, b); err != nil {
						t.Error("put", err)
					}
					files[p] = b
				case 2:
					b, err := w.fetch(p)
					if want, ok := files[p]; ok != (err == nil) || !bytes.Equal(b, want) {
						t.Errorf("%s: %d bytes, want %d, %v", p, len(b), len(want), err)
					}
				case 3:
					if err := w.Unlink(w.at, p, 0); (err == nil) != (files[p] != nil) {
						t.Error("unlink", err)
					}
					delete(files, p)
				case 4:
					if files[p] != nil && p != q {
						if err := w.Rename(w.at, p, w.at, q, 0); err != nil {
							t.Error("rename", err)
						}
						files[q] = files[p]
						delete(files, p)
					}
				case 5:
					w.fetch(fmt.Sprintf("/mnt/%d/n%d", r.Intn(6), r.Intn(12)))
				case 6:
					if b := files[p]; b != nil {
						n := r.Intn(len(b) + 5000)
						if err := w.Truncate(w.at, p, int64(n)); err != nil {
							t.Error("truncate", err)
						}
						files[p] = append(b[:min(n, len(b)):min(n, len(b))], make([]byte, max(0, n-len(b)))...)
					}
				}
			}
			if r.Intn(2) == 0 {
				w.FS.Sync()
			}
			for p, want := range files {
				if b, err := w.fetch(p); err != nil || !bytes.Equal(b, want) {
					t.Errorf("at the end %s has %d bytes, want %d, %v", p, len(b), len(want), err)
				}
			}
		}()
	}
	wg.Wait()
	if n := w.vm.DirtyPages(); n > 50+16*6 {
		t.Errorf("%d pages are dirty", n)
	}
	w.unmountDisk(d)
	if n := w.vm.DirtyPages(); n != 0 {
		t.Errorf("%d pages are dirty and have no disk", n)
	}
}

// TestDiskFails checks that a disk that fails, or is gone, gives errors to the threads that
// use it, and to no others.
func TestDiskFails(t *testing.T) {
	for _, gone := range []bool{false, true} {
		w := newWorld(t)
		d := newDisk(t, 16, "-t ext4")
		w.mountDisk(d)
		if err := w.store("/mnt/before", []byte("x")); err != nil {
			t.Fatal(err)
		}
		w.FS.Sync()
		f, err := w.Open(w.at, "/mnt/before", unix.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		d.fails.Store(true)
		d.gone.Store(gone)
		if _, err := f.Write(w.task, make([]byte, 8192)); err != nil && err != syscall.EIO {
			t.Errorf("write: %v", err)
		}
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("fsync: %v, want EIO", err)
		}
		f.Release()
		for i := range 5 {
			if err := w.store(fmt.Sprintf("/mnt/%d", i), []byte("y")); err != nil && err != syscall.EIO && err != syscall.EROFS {
				t.Errorf("a new file: %v", err)
			}
		}
		w.FS.Sync()
		if err := w.store("/mnt/late", nil); err != syscall.EROFS && err != syscall.EIO {
			t.Errorf("a new file on a broken disk: %v", err)
		}
		if err := w.store("/tmp/elsewhere", []byte("z")); err != nil {
			t.Errorf("a file in memory: %v", err)
		}
		if err := w.Unlink(w.at, "/tmp/elsewhere", 0); err != nil {
			t.Error(err)
		}
		// Nothing can be written, but the tree must be taken apart all the same.
		if err := w.Unmount(w.at, "/mnt"); err != nil {
			t.Errorf("unmount: %v", err)
		}
		if len(w.volumes()) != 0 {
			t.Fatal("still mounted")
		}
	}
}

// A process whose working directory is on a disk that is unmounted finds nothing there any
// more, and changes nothing: the disk may have another use. A walk that was on its way to a file
// gets no reference. Broken by: leave that keeps the names (it
// hangs); claimLocked that only compares.
func TestUnmountedWorkingDirectory(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 16, "-t ext4")
	w.mountDisk(d)
	for _, name := range []string{"/mnt/f", "/mnt/g", "/mnt/h"} {
		must(t, w.store(name, []byte("x")))
	}
	must(t, w.Mkdir(w.at, "/mnt/d", 0o755))
	must(t, w.store("/mnt/d/e", []byte("x")))
	must(t, w.Chdir(w.at, "/mnt"))
	found, err := w.at.Place.dir().lookup(nil, "f")
	must(t, err)
	w.unmountDisk(d)
	if hold(found) {
		t.Error("a walk got a reference after the unmount")
	}
	before := string(d.data)
	_, err = w.Open(w.at, "f", unix.O_RDONLY, 0)
	want(t, "open", err, syscall.ENOENT)
	_, err = w.Open(w.at, "d/e", unix.O_RDONLY, 0)
	want(t, "open in a folder", err, syscall.ENOENT)
	_, err = w.Open(w.at, "new", unix.O_RDWR|unix.O_CREAT, 0o644)
	want(t, "open of a new file", err, syscall.ENOENT)
	want(t, "mkdir", w.Mkdir(w.at, "dir", 0o755), syscall.ENOENT)
	want(t, "unlink", w.Unlink(w.at, "g", 0), syscall.ENOENT)
	want(t, "rmdir", w.Unlink(w.at, "d", unix.AT_REMOVEDIR), syscall.ENOENT)
	want(t, "rename", w.Rename(w.at, "g", w.at, "h", 0), syscall.ENOENT)
	want(t, "link", w.Link(w.at, "g", w.at, "i", 0), syscall.ENOENT)
	if names := w.names("."); len(names) != 0 {
		t.Errorf("names of the working directory: %q", names)
	}
	if string(d.data) != before {
		t.Error("the disk has changed after it was unmounted")
	}
	must(t, w.Chdir(w.at, "/"))
}
