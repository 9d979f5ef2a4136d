package fs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAgainstHost does the same random calls here and on the host's own tmpfs, and compares
// every result: Linux is the model. It fails for nearly any wrong errno or link count
// (tried: move without its EINVAL for a directory moved into itself; attach without
// counting "..").
func TestAgainstHost(t *testing.T) {
	var sfs unix.Statfs_t
	if unix.Statfs("/dev/shm", &sfs) != nil || int64(sfs.Type) != tmpfsMagic {
		t.Skip("/dev/shm is no tmpfs here: nothing to compare with")
	}
	if os.Getuid() != 0 {
		t.Skip("not root: the host would enforce permissions")
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for seed := range uint64(40) {
		compareWithHost(t, seed, 400)
	}
}

func compareWithHost(t *testing.T, seed uint64, ops int) {
	host, err := os.MkdirTemp("/dev/shm", "grim")
	must(t, err)
	defer os.RemoveAll(host)
	// Deep enough that no path, with its at most three "..", leads out of host.
	const deep = "/d/d/d/d"
	must(t, os.MkdirAll(host+deep, 0o755))
	top, err := unix.Open(host+deep, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(top)
	w := newWorld(t)
	for i := 2; i <= len(deep); i += 2 {
		must(t, w.Mkdir(w.at, deep[:i], 0o755))
	}
	must(t, w.Chdir(w.at, deep))
	defer w.Chdir(w.at, "/")
	c := &comparer{t: t, w: w, top: top, r: rand.New(rand.NewPCG(seed, 1))}
	for i := range ops {
		op := c.op()
		ours, theirs := op.ours(), op.theirs()
		if ours != theirs {
			t.Fatalf("seed %d, call %d: %s\n here: %s\nLinux: %s", seed, i, op.what, ours, theirs)
		}
	}
}

type comparer struct {
	t   *testing.T
	w   *world
	top int
	r   *rand.Rand
}

// twin is one call that is made on both sides. The results are texts.
type twin struct {
	what         string
	ours, theirs func() string
}

// path returns a relative path of few names, so that the calls meet.
func (c *comparer) path() string {
	names := []string{"a", "b", "c", "l"}
	p := names[c.r.IntN(4)]
	for c.r.IntN(3) == 0 {
		p += "/" + []string{"a", "b", "c", "l", "..", "."}[c.r.IntN(6)]
	}
	if strings.Count(p, "..") > 3 {
		p = strings.ReplaceAll(p, "..", "a")
	}
	if c.r.IntN(10) == 0 {
		p += "/"
	}
	return p
}

func (c *comparer) op() twin {
	p, q := c.path(), c.path()
	w, at, top := c.w, c.w.at, c.top
	call := func(what string, ours func() error, theirs func() error) twin {
		return twin{what, func() string { return fmt.Sprint(ours()) }, func() string { return fmt.Sprint(theirs()) }}
	}
	switch c.r.IntN(13) {
	case 0, 1:
		return call("mkdir "+p, func() error { return w.Mkdir(at, p, 0o750) },
			func() error { return unix.Mkdirat(top, p, 0o750) })
	case 2:
		flags := c.r.IntN(2) * unix.AT_REMOVEDIR
		return call(fmt.Sprint("unlink ", p, flags), func() error { return w.Unlink(at, p, flags) },
			func() error { return unix.Unlinkat(top, p, flags) })
	case 3:
		q = strings.ReplaceAll(q, "..", "b") // or links would multiply them
		return call("symlink "+q+" "+p, func() error { return w.Symlink(q, at, p) },
			func() error { return unix.Symlinkat(q, top, p) })
	case 4:
		flags := c.r.IntN(2) * unix.AT_SYMLINK_FOLLOW
		return call(fmt.Sprint("link ", p, " ", q, flags), func() error { return w.Link(at, p, at, q, flags) },
			func() error { return unix.Linkat(top, p, top, q, flags) })
	case 5, 6, 7:
		flags := uint([]int{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[c.r.IntN(4)])
		return call(fmt.Sprint("rename ", p, " ", q, flags), func() error { return w.Rename(at, p, at, q, flags) },
			func() error { return unix.Renameat2(top, p, top, q, flags) })
	case 8, 9:
		return c.openOp(p)
	case 10:
		flags := c.r.IntN(2) * unix.AT_SYMLINK_NOFOLLOW
		return twin{fmt.Sprint("stat ", p, flags), func() string { return c.ourStat(p, flags) }, func() string { return c.hostStat(p, flags) }}
	case 11:
		return twin{"readlink " + p, func() string { return fmt.Sprintln(w.Readlink(at, p)) }, func() string {
			b := make([]byte, 4096)
			n, err := unix.Readlinkat(top, p, b)
			return fmt.Sprintln(string(b[:max(n, 0)]), err)
		}}
	}
	return twin{"list " + p, func() string { return c.ourList(p) }, func() string { return c.hostList(p) }}
}

// openOp opens with random flags, and writes and reads as the flags allow.
func (c *comparer) openOp(p string) twin {
	flags := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}[c.r.IntN(3)]
	for _, f := range []int{unix.O_CREAT, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_NOFOLLOW, unix.O_DIRECTORY} {
		if c.r.IntN(4) == 0 {
			flags |= f
		}
	}
	if flags&unix.O_DIRECTORY != 0 {
		flags &^= unix.O_CREAT // its meaning changed in Linux 6.4
	}
	text := []byte(strings.Repeat("t", c.r.IntN(6000)))
	off := c.r.Int64N(10000)
	size := c.r.Int64N(12000)
	buf := make([]byte, 20000)
	ours := func() string {
		f, err := c.w.Open(c.w.at, p, flags, 0o640)
		if err != nil {
			return err.Error()
		}
		defer f.Release()
		n, err := f.Write(c.w.task, text)
		k, err2 := f.Pread(c.w.task, buf, off)
		sum := checksum(buf[:k])
		pos, err3 := f.Seek(-1, unix.SEEK_CUR)
		err4 := f.Truncate(nil, size)
		return fmt.Sprint(n, err, k, err2, sum, pos, err3, err4, f.Stat().Size)
	}
	theirs := func() string {
		fd, err := unix.Openat(c.top, p, flags, 0o640)
		if err != nil {
			return err.Error()
		}
		defer unix.Close(fd)
		n, err := unix.Write(fd, text)
		k, err2 := unix.Pread(fd, buf, off)
		sum := checksum(buf[:max(k, 0)])
		pos, err3 := unix.Seek(fd, -1, unix.SEEK_CUR)
		err4 := unix.Ftruncate(fd, size)
		var st unix.Stat_t
		unix.Fstat(fd, &st)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			st.Size = 4096 // file systems differ here
		}
		return fmt.Sprint(max(n, 0), err, max(k, 0), err2, sum, max(pos, 0), err3, err4, st.Size)
	}
	return twin{fmt.Sprintf("open %s %#x", p, flags), ours, theirs}
}

func checksum(b []byte) (sum uint32) {
	for _, c := range b {
		sum = sum*31 + uint32(c)
	}
	return sum
}

func (c *comparer) ourStat(p string, flags int) string {
	st, err := c.w.Stat(c.w.at, p, flags)
	if err != nil {
		return err.Error()
	}
	return describe(st.Mode, uint64(st.Nlink), st.Size, st.Blocks)
}

func (c *comparer) hostStat(p string, flags int) string {
	var st unix.Stat_t
	if err := unix.Fstatat(c.top, p, &st, flags); err != nil {
		return err.Error()
	}
	return describe(st.Mode, uint64(st.Nlink), st.Size, st.Blocks)
}

func describe(mode uint32, nlink uint64, size, blocks int64) string {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		size, blocks = 0, 0
	}
	return fmt.Sprintf("%o %d %d %d", mode, nlink, size, blocks)
}

func (c *comparer) ourList(p string) string {
	f, err := c.w.Open(c.w.at, p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err.Error()
	}
	defer f.Release()
	return listText(func(b []byte) (int, error) { return f.Getdents(c.w.task, b, arrives) })
}

func (c *comparer) hostList(p string) string {
	fd, err := unix.Openat(c.top, p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	return listText(func(b []byte) (int, error) { return unix.Getdents(fd, b) })
}

func listText(getdents func([]byte) (int, error)) string {
	var names []string
	buf := make([]byte, 200)
	for {
		n, err := getdents(buf)
		if err != nil {
			return err.Error()
		}
		if n == 0 {
			sort.Strings(names)
			return strings.Join(names, " ")
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
}
