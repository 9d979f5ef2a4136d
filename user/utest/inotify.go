package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var inotifyTests = []test{
	{name: "inotify-names", run: inotifyNames},
	{name: "inotify-files", run: inotifyFiles},
	{name: "inotify-removed", run: inotifyRemoved},
	{name: "inotify-arguments", run: inotifyArguments},
}

var inNames = []struct {
	bit  uint32
	name string
}{
	{unix.IN_ACCESS, "access"}, {unix.IN_MODIFY, "modify"}, {unix.IN_ATTRIB, "attrib"}, {unix.IN_CLOSE_WRITE, "closew"},
	{unix.IN_CLOSE_NOWRITE, "close"}, {unix.IN_OPEN, "open"}, {unix.IN_MOVED_FROM, "from"}, {unix.IN_MOVED_TO, "to"},
	{unix.IN_CREATE, "create"}, {unix.IN_DELETE, "delete"}, {unix.IN_DELETE_SELF, "deleteself"}, {unix.IN_MOVE_SELF, "moveself"},
	{unix.IN_IGNORED, "ignored"}, {unix.IN_ISDIR, "dir"},
}

// inEvents reads all events. It returns words separated by spaces, each after its watch's
// number.
func inEvents(fd int) string {
	var out []string
	b := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, b)
		if err == unix.EAGAIN {
			return strings.Join(out, " ")
		}
		check("read", err)
		for p := b[:n]; len(p) > 0; {
			size := 16 + int(word32(p, 12))
			text := fmt.Sprint(word32(p, 0))
			for _, x := range inNames {
				if uint32(word32(p, 4))&x.bit != 0 {
					text += "," + x.name
				}
			}
			if name := strings.TrimRight(string(p[16:size]), "\x00"); name != "" {
				text += ":" + name
			}
			out = append(out, text)
			p = p[size:]
		}
	}
}

// inotifyDir makes a directory with a watch for the events in mask.
func inotifyDir(mask uint32) (fd int, dir string) {
	dir, err := os.MkdirTemp("", "in")
	check("mkdir", err)
	fd, err = unix.InotifyInit1(unix.IN_NONBLOCK)
	check("inotify_init1", err)
	wd, err := unix.InotifyAddWatch(fd, dir, mask)
	check("inotify_add_watch", err)
	equal("first watch", wd, 1)
	return fd, dir
}

// inotifyNames: names are made, removed and renamed; both events of a rename have the same
// cookie.
func inotifyNames() {
	fd, dir := inotifyDir(unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVE)
	defer os.RemoveAll(dir)
	check("write", os.WriteFile(dir+"/a", nil, 0o600))
	check("mkdir", os.Mkdir(dir+"/d", 0o700))
	check("symlink", os.Symlink("x", dir+"/l"))
	check("link", os.Link(dir+"/a", dir+"/b"))
	check("rename", os.Rename(dir+"/a", dir+"/c"))
	check("move", os.Rename(dir+"/c", dir+"/d/c"))
	check("remove", os.Remove(dir+"/b"))
	check("remove", os.Remove(dir+"/l"))
	check("remove", os.RemoveAll(dir+"/d"))
	equal("events", inEvents(fd), "1,create:a 1,create,dir:d 1,create:l 1,create:b 1,from:a 1,to:c 1,from:c 1,delete:b 1,delete:l 1,delete,dir:d")
}

// inotifyFiles: the operations on a file, for watches of the file and of its directory.
func inotifyFiles() {
	fd, dir := inotifyDir(unix.IN_ALL_EVENTS)
	defer os.RemoveAll(dir)
	f, err := os.Create(dir + "/f")
	check("create", err)
	wd, err := unix.InotifyAddWatch(fd, dir+"/f", unix.IN_MODIFY|unix.IN_CLOSE_WRITE)
	check("watch", err)
	equal("second watch", wd, 2)
	f.Write([]byte("x"))
	f.Write([]byte("y"))
	f.Chmod(0o644)
	f.Seek(0, 0)
	f.Read(make([]byte, 1))
	f.Close()
	check("truncate", unix.Truncate(dir+"/f", 0))
	equal("events", inEvents(fd), "1,create:f 1,open:f 1,modify:f 2,modify 1,modify:f 2,modify 1,attrib:f 1,access:f "+
		"1,closew:f 2,closew 1,modify:f 2,modify")
}

// inotifyRemoved: a watch ends with its file, and with inotify_rm_watch.
func inotifyRemoved() {
	fd, dir := inotifyDir(unix.IN_DELETE_SELF)
	check("write", os.WriteFile(dir+"/f", nil, 0o600))
	wd, err := unix.InotifyAddWatch(fd, dir+"/f", unix.IN_DELETE_SELF|unix.IN_ATTRIB)
	check("watch", err)
	once, err := unix.InotifyAddWatch(fd, dir+"/f", unix.IN_ATTRIB|unix.IN_MASK_ADD)
	check("watch again", err)
	equal("the same", once, wd)
	check("remove", os.Remove(dir+"/f"))
	equal("events of a file", inEvents(fd), "2,attrib 2,deleteself 2,ignored")
	check("remove", os.Remove(dir))
	equal("events of a directory", inEvents(fd), "1,deleteself 1,ignored")
	wd, err = unix.InotifyAddWatch(fd, "/", unix.IN_OPEN|unix.IN_ONESHOT)
	check("watch", err)
	_, err = unix.InotifyRmWatch(fd, uint32(wd))
	check("rm_watch", err)
	equal("events", inEvents(fd), fmt.Sprint(wd, ",ignored"))
	_, err = unix.InotifyRmWatch(fd, uint32(wd))
	equal("again", err, error(unix.EINVAL))
	unix.Close(fd)
}

func inotifyArguments() {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	check("inotify_init1", err)
	_, err = unix.InotifyInit1(1)
	equal("flags", err, error(unix.EINVAL))
	_, err = unix.InotifyAddWatch(fd, "/", 0)
	equal("no events", err, error(unix.EINVAL))
	_, err = unix.InotifyAddWatch(fd, "/none", unix.IN_OPEN)
	equal("no file", err, error(unix.ENOENT))
	_, err = unix.InotifyAddWatch(0, "/", unix.IN_OPEN)
	equal("no inotify", err, error(unix.EINVAL))
	_, err = unix.InotifyAddWatch(fd, "/proc/self/exe", unix.IN_OPEN|unix.IN_ONLYDIR)
	equal("no directory", err, error(unix.ENOTDIR))
	_, err = unix.InotifyAddWatch(fd, "/", unix.IN_OPEN)
	check("watch", err)
	_, err = unix.InotifyAddWatch(fd, "/", unix.IN_OPEN|unix.IN_MASK_CREATE)
	equal("there is one", err, error(unix.EEXIST))
	d, err := os.Open("/")
	check("open", err)
	d.Close()
	_, err = unix.Read(fd, make([]byte, 8))
	equal("short buffer", err, error(unix.EINVAL))
	n, err := unix.IoctlGetInt(fd, 0x541b)
	check("FIONREAD", err)
	equal("bytes", n, 16)
	_, err = unix.Write(fd, []byte("x"))
	equal("write", err, error(unix.EBADF))
}
