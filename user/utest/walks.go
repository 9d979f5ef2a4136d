package main

import (
	"os"

	"golang.org/x/sys/unix"
)

var walkTests = []test{
	{name: "walk-chroot", run: arena(walkChroot)},
	{name: "walk-resolve", run: walkResolve},
	{name: "walk-tmpfile", run: walkTmpfile},
}

// walkChroot: absolute paths and ".." end at the new root. Only the superuser may call
// chroot.
func walkChroot() {
	check("mkdir", os.MkdirAll("jail/in", 0o755))
	check("write", os.WriteFile("jail/f", []byte("inside"), 0o644))
	check("symlink", os.Symlink("/f", "jail/in/l"))
	check("write", os.WriteFile("file", nil, 0o644))
	equal("of a file", unix.Chroot("file"), error(unix.ENOTDIR))
	equal("of nothing", unix.Chroot("none"), error(unix.ENOENT))
	check("chroot", unix.Chroot("jail"))
	wd, err := unix.Getwd()
	if err == nil && wd[0] == '/' {
		fail("the working directory is outside, and getcwd says %q", wd)
	}
	check("chdir", unix.Chdir("/in"))
	wd, err = unix.Getwd()
	check("getcwd", err)
	equal("working directory", wd, "/in")
	for _, path := range []string{"/f", "../f", "../../../f", "/../f", "l"} {
		b, err := os.ReadFile(path)
		check(path, err)
		equal(path, string(b), "inside")
	}
	nobody()
	equal("a user", unix.Chroot("/in"), error(unix.EPERM))
}

// walkResolve: the restrictions of openat2(2).
func walkResolve() {
	dir, err := os.MkdirTemp("", "walk")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	check("mkdir", os.MkdirAll(dir+"/d/e", 0o755))
	check("write", os.WriteFile(dir+"/d/f", nil, 0o644))
	check("symlink", os.Symlink("f", dir+"/d/link"))
	check("symlink", os.Symlink("/f", dir+"/d/abs"))
	check("symlink", os.Symlink("../..", dir+"/d/out"))
	check("symlink", os.Symlink("/proc/self/exe", dir+"/d/magic"))
	at, err := unix.Open(dir+"/d", unix.O_RDONLY, 0)
	check("open", err)
	for _, c := range []struct {
		path    string
		resolve uint64
		want    error
	}{
		{"link", unix.RESOLVE_NO_SYMLINKS, unix.ELOOP}, {"f", unix.RESOLVE_NO_SYMLINKS, nil},
		{"link", unix.RESOLVE_BENEATH, nil}, {"e/../f", unix.RESOLVE_BENEATH, nil},
		{"../d/f", unix.RESOLVE_BENEATH, unix.EXDEV}, {"abs", unix.RESOLVE_BENEATH, unix.EXDEV}, {"out", unix.RESOLVE_BENEATH, unix.EXDEV},
		{"/f", unix.RESOLVE_BENEATH, unix.EXDEV}, {"/f", unix.RESOLVE_IN_ROOT, nil}, {"abs", unix.RESOLVE_IN_ROOT, nil},
		{"../../../f", unix.RESOLVE_IN_ROOT, nil}, {"magic", unix.RESOLVE_NO_MAGICLINKS, unix.ELOOP},
		{"/proc/version", unix.RESOLVE_NO_XDEV, unix.EXDEV}, {"f", unix.RESOLVE_NO_XDEV, nil},
		{"f", unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT, unix.EINVAL}, {"f", 1 << 20, unix.EINVAL},
	} {
		fd, err := unix.Openat2(at, c.path, &unix.OpenHow{Flags: unix.O_RDONLY, Resolve: c.resolve})
		if err == nil {
			unix.Close(fd)
		}
		if err != c.want {
			fail("%s with %#x: %v, want %v", c.path, c.resolve, err, c.want)
		}
	}
}

// walkTmpfile: a file without a name, which may get a name.
func walkTmpfile() {
	dir, err := os.MkdirTemp("", "walk")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o640)
	check("open", err)
	unix.Write(fd, []byte("data"))
	var st unix.Stat_t
	check("fstat", unix.Fstat(fd, &st))
	equal("links", int(st.Nlink), 0)
	list, err := os.ReadDir(dir)
	check("readdir", err)
	equal("names", len(list), 0)
	check("link", unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), unix.AT_FDCWD, dir+"/f", unix.AT_SYMLINK_FOLLOW))
	b, err := os.ReadFile(dir + "/f")
	check("read", err)
	equal("content", string(b), "data")
	fd, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o640)
	check("open", err)
	equal("link of a file that is to have no name", unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), unix.AT_FDCWD, dir+"/g", unix.AT_SYMLINK_FOLLOW), error(unix.ENOENT))
	_, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDONLY, 0o640)
	equal("for reading", err, error(unix.EINVAL))
	_, err = unix.Open(dir+"/f", unix.O_TMPFILE|unix.O_RDWR, 0o640)
	equal("no directory", err, error(unix.ENOTDIR))
}
