package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// shared reports whether a path is on a directory that another machine shares.
func shared(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.V9FS_MAGIC
}

// work uses the calls on files, and compares the results with Linux's.
func work(dir string) error {
	for _, step := range []struct {
		name string
		run  func(dir string) error
	}{
		{"data", data}, {"sparse", sparse}, {"truncate", truncate}, {"mapped", mapped}, {"mapped-exit", mappedExit},
		{"names", names}, {"rename", renames}, {"orphan", orphan}, {"attributes", attributes}, {"special", special},
		{"full", full}, {"exec", execute}, {"many", many},
	} {
		// QEMU does not make special files, and it is another machine's disk that would be full.
		if shared(dir) && (step.name == "special" || step.name == "full") {
			continue
		}
		d := filepath.Join(dir, step.name)
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		if err := step.run(d); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("disk:", step.name)
	}
	return nil
}

// pattern returns n bytes that depend on seed and on the position.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func same(path string, want []byte) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s has %d bytes that are not the %d expected", path, len(got), len(want))
	}
	return nil
}

func wantErr(what string, err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: %v, want %v", what, err, want)
	}
	return nil
}

func data(dir string) error {
	path := filepath.Join(dir, "f")
	want := pattern(1, 300_000)
	if err := os.WriteFile(path, want, 0o644); err != nil {
		return err
	}
	if err := same(path, want); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range 50 {
		p, at := pattern(i, 1+i*137), int64(i*4999)
		if _, err := f.WriteAt(p, at); err != nil {
			return err
		}
		copy(want[at:], p)
	}
	if err := same(path, want); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return err
	}
	a, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|unix.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer a.Close()
	for i := range 5 {
		p := pattern(i, 1000)
		if _, err := a.Write(p); err != nil {
			return err
		}
		want = append(want, p...)
	}
	return same(path, want)
}

func sparse(dir string) error {
	path := filepath.Join(dir, "f")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("end"), 10<<20); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Size != 10<<20+3 || st.Blocks > 64 {
		return fmt.Errorf("size %d, %d blocks", st.Size, st.Blocks)
	}
	b := make([]byte, 100)
	if _, err := f.ReadAt(b, 5<<20); err != nil || !bytes.Equal(b, make([]byte, 100)) {
		return fmt.Errorf("a hole reads %v, %v", b[:4], err)
	}
	return nil
}

func truncate(dir string) error {
	path := filepath.Join(dir, "f")
	want := pattern(3, 100_000)
	if err := os.WriteFile(path, want, 0o644); err != nil {
		return err
	}
	for _, n := range []int64{70_001, 69_000, 4096, 200_000, 5, 0, 9000} {
		if err := os.Truncate(path, n); err != nil {
			return err
		}
		if n <= int64(len(want)) {
			want = want[:n]
		} else {
			want = append(want, make([]byte, n-int64(len(want)))...)
		}
		if err := same(path, want); err != nil {
			return fmt.Errorf("after truncation to %d: %w", n, err)
		}
	}
	return nil
}

func mapped(dir string) error {
	path := filepath.Join(dir, "f")
	want := pattern(4, 50_000)
	if err := os.WriteFile(path, want, 0o644); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if !bytes.Equal(m, want) {
		return errors.New("the mapping has other bytes")
	}
	copy(m[20_000:], "stored through a mapping")
	copy(want[20_000:], "stored through a mapping")
	if err := same(path, want); err != nil { // before any msync
		return err
	}
	if _, err := f.WriteAt([]byte("written"), 30_000); err != nil {
		return err
	}
	copy(want[30_000:], "written")
	if !bytes.Equal(m, want) {
		return errors.New("the mapping has not what was written")
	}
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	copy(m, "again")
	copy(want, "again")
	if err := unix.Munmap(m); err != nil {
		return err
	}
	return same(path, want)
}

// mappedExit: when wait returns, the file has what a child stored through a mapping (E1).
func mappedExit(dir string) error {
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, make([]byte, 40*4096), 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-store", path)
	cmd.Env = append(os.Environ(), "DISK_STORE="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := range 40 {
		if b[i*4096] != byte(i+1) {
			return fmt.Errorf("page %d has %d after the wait", i, b[i*4096])
		}
	}
	return nil
}

func init() {
	path := os.Getenv("DISK_STORE")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		var m []byte
		if m, err = unix.Mmap(int(f.Fd()), 0, 40*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			for i := range 40 {
				m[i*4096] = byte(i + 1)
			}
			os.Exit(0) // with the mapping in place
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func names(dir string) error {
	f := filepath.Join(dir, "f")
	if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
		return err
	}
	if err := os.Link(f, filepath.Join(dir, "g")); err != nil {
		return err
	}
	if err := wantErr("link over a name", os.Link(f, filepath.Join(dir, "g")), syscall.EEXIST); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(f, &st); err != nil || st.Nlink != 2 {
		return fmt.Errorf("%d links, %v", st.Nlink, err)
	}
	long := filepath.Join(dir, string(bytes.Repeat([]byte("n"), 255)))
	if err := os.Mkdir(long, 0o700); err != nil {
		return err
	}
	if err := wantErr("rmdir of a directory with names", syscall.Rmdir(dir), syscall.ENOTEMPTY); err != nil {
		return err
	}
	if err := wantErr("unlink of a directory", syscall.Unlink(long), syscall.EISDIR); err != nil {
		return err
	}
	if err := os.Remove(long); err != nil {
		return err
	}
	for _, target := range []string{"f", string(bytes.Repeat([]byte("t"), 1000))} {
		l := filepath.Join(dir, fmt.Sprint("l", len(target)))
		if err := os.Symlink(target, l); err != nil {
			return err
		}
		if got, err := os.Readlink(l); got != target {
			return fmt.Errorf("a link of %d bytes leads to %q, %v", len(target), got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		return fmt.Errorf("%d entries, %v", len(entries), err)
	}
	return nil
}

func renames(dir string) error {
	p := func(n string) string { return filepath.Join(dir, n) }
	for _, n := range []string{"a", "b"} {
		if err := os.WriteFile(p(n), []byte(n), 0o600); err != nil {
			return err
		}
	}
	for _, n := range []string{"d", "e", "d/sub"} {
		if err := os.Mkdir(p(n), 0o700); err != nil {
			return err
		}
	}
	if err := os.Rename(p("a"), p("b")); err != nil {
		return err
	}
	if err := same(p("b"), []byte("a")); err != nil {
		return err
	}
	if err := os.Rename(p("b"), p("d/c")); err != nil {
		return err
	}
	if err := os.Rename(p("d"), p("f")); err != nil {
		return err
	}
	if err := same(p("f/c"), []byte("a")); err != nil {
		return err
	}
	if err := wantErr("a directory into itself", syscall.Rename(p("f"), p("f/sub/x")), syscall.EINVAL); err != nil {
		return err
	}
	if err := wantErr("a directory over one with names", syscall.Rename(p("e"), p("f")), syscall.ENOTEMPTY); err != nil {
		return err
	}
	if err := wantErr("a file over a directory", syscall.Rename(p("f/c"), p("e")), syscall.EISDIR); err != nil {
		return err
	}
	if err := os.Rename(p("e"), p("g")); err != nil {
		return err
	}
	if err := os.WriteFile(p("h"), []byte("h"), 0o600); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, p("h"), unix.AT_FDCWD, p("f/c"), unix.RENAME_EXCHANGE)
	if shared(dir) { // as on Linux
		return wantErr("an exchange", err, syscall.EINVAL)
	}
	if err != nil {
		return err
	}
	if err := same(p("h"), []byte("a")); err != nil {
		return err
	}
	return same(p("f/c"), []byte("h"))
}

func orphan(dir string) error {
	path := filepath.Join(dir, "f")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		return err
	}
	want := pattern(5, 30_000)
	if _, err := f.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("an unlinked file lost its data: %v", err)
	}
	return nil
}

func attributes(dir string) error {
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := os.Chown(path, 12345, 67890); err != nil {
		return err
	}
	mode, kind := uint32(0o4751), int64(unix.EXT4_SUPER_MAGIC)
	if shared(dir) { // the library of the client has no set-user-ID bit
		mode, kind = 0o751, unix.V9FS_MAGIC
	}
	if err := unix.Chmod(path, mode); err != nil {
		return err
	}
	ts := []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 1 << 32, Nsec: 999_999_999}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, 0); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Uid != 12345 || st.Gid != 67890 || st.Mode != unix.S_IFREG|mode || st.Mtim != ts[1] || st.Atim != ts[0] {
		return fmt.Errorf("attributes are %+v", st)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != kind || fs.Bfree > fs.Blocks {
		return fmt.Errorf("statfs: %+v, %v", fs, err)
	}
	return nil
}

func special(dir string) error {
	p := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(p, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 5)
	if _, err := f.Write([]byte("fifo!")); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, b); err != nil || string(b) != "fifo!" {
		return fmt.Errorf("the FIFO gave %q, %v", b, err)
	}
	dev := filepath.Join(dir, "null")
	if err := unix.Mknod(dev, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return err
	}
	return os.WriteFile(dev, []byte("gone"), 0)
}

// full writes until there is no room, and removes the file.
func full(dir string) error {
	path := filepath.Join(dir, "f")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	p := pattern(6, 1<<16)
	n := 0
	for err == nil {
		if _, err = f.Write(p); err == nil {
			n++
		}
	}
	if e := wantErr("a full disk", err, syscall.ENOSPC); e != nil {
		return e
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	got, err := os.Open(path)
	if err != nil {
		return err
	}
	defer got.Close()
	b := make([]byte, len(p))
	for i := range n {
		if _, err := io.ReadFull(got, b); err != nil || !bytes.Equal(b, p) {
			return fmt.Errorf("piece %d of %d is not what was written, %v", i, n, err)
		}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return nil
}

// execute runs a program from the disk.
func execute(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "program")
	if err := copyFile(self, path); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return err
	}
	out, err := exec.Command(path).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("usage:")) {
		return fmt.Errorf("%v: %s", err, out)
	}
	return os.Remove(path)
}

// many makes and removes a thousand files, so that the directory grows.
func many(dir string) error {
	name := func(i int) string { return filepath.Join(dir, fmt.Sprintf("file-with-a-name-%d", i)) }
	n := 1000
	if shared(dir) { // each call is some messages to another machine
		n = 200
	}
	for i := range n {
		if err := os.WriteFile(name(i), pattern(i, i%50), 0o644); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != n {
		return fmt.Errorf("%d entries, %v", len(entries), err)
	}
	for i := range n {
		if i%3 == 0 {
			if err := same(name(i), pattern(i, i%50)); err != nil {
				return err
			}
			continue
		}
		if err := os.Remove(name(i)); err != nil {
			return err
		}
	}
	return nil
}
