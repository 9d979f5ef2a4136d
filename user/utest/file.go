package main

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

var fileTests = []test{
	{name: "file-read-write", run: fileReadWrite},
	{name: "file-directories", run: fileDirectories},
	{name: "file-pipe", run: filePipe},
	{name: "file-pipe-edge", run: filePipeEdge},
	{name: "file-pipe-broken", run: filePipeBroken},
	{name: "file-devices", run: fileDevices},
	{name: "file-unlinked-stays", run: fileUnlinked},
}

func fileReadWrite() {
	dir, err := os.MkdirTemp("", "file")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a")
	want := bytes.Repeat([]byte("0123456789"), 5000)
	check("write", os.WriteFile(path, want, 0o640))
	got, err := os.ReadFile(path)
	check("read", err)
	equal("content", string(got), string(want))
	fi, err := os.Stat(path)
	check("stat", err)
	equal("mode", fi.Mode(), 0o640)
	equal("size", fi.Size(), int64(len(want)))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	check("open", err)
	_, err = f.WriteString("end")
	check("append", err)
	check("close", f.Close())
	fi, _ = os.Stat(path)
	equal("size after append", fi.Size(), int64(len(want)+3))
	check("rename", os.Rename(path, path+"b"))
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		fail("old name after rename: %v", err)
	}
	check("symlink", os.Symlink("ab", path+"c"))
	got, err = os.ReadFile(path + "c")
	check("read by symlink", err)
	equal("length by symlink", len(got), len(want)+3)
}

func fileDirectories() {
	dir, err := os.MkdirTemp("", "dir")
	check("mkdir", err)
	check("mkdirall", os.MkdirAll(dir+"/x/y/z", 0o755))
	for _, n := range []string{"b", "a", "c"} {
		check("write", os.WriteFile(dir+"/x/"+n, nil, 0o644))
	}
	list, err := os.ReadDir(dir + "/x")
	check("readdir", err)
	var names string
	for _, e := range list {
		names += e.Name() + " "
	}
	equal("names", names, "a b c y ")
	if err := os.Remove(dir + "/x"); err == nil {
		fail("rmdir of a full directory succeeded")
	}
	check("removeall", os.RemoveAll(dir))
	check("chdir", os.Chdir("/tmp"))
	wd, err := os.Getwd()
	check("getwd", err)
	equal("cwd", wd, "/tmp")
}

func filePipe() {
	r, w, err := os.Pipe()
	check("pipe", err)
	want := bytes.Repeat([]byte("pipe"), 100_000) // more than a pipe holds
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := w.Write(want)
		check("write", err)
		w.Close()
	})
	got, err := io.ReadAll(r)
	check("read", err)
	equal("content", bytes.Equal(got, want), true)
	wg.Wait()
}

func fileDevices() {
	z, err := os.Open("/dev/zero")
	check("open", err)
	b := []byte{1, 2, 3}
	_, err = z.Read(b)
	check("read", err)
	equal("zeros", [3]byte(b), [3]byte{})
	n, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	check("open", err)
	_, err = n.Write(b)
	check("write", err)
	if _, err := n.Read(b); err != io.EOF {
		fail("read of /dev/null: %v, want EOF", err)
	}
	if _, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil {
		f, _ := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if _, err := f.Write(b); err == nil {
			fail("write to /dev/full succeeded")
		}
	}
}

// fileUnlinked: an open file outlives its name.
func fileUnlinked() {
	f, err := os.CreateTemp("", "unlinked")
	check("create", err)
	_, err = f.WriteString("still here")
	check("write", err)
	check("remove", os.Remove(f.Name()))
	b := make([]byte, 10)
	_, err = f.ReadAt(b, 0)
	check("read", err)
	equal("content", string(b), "still here")
	var st unix.Stat_t
	check("fstat", unix.Fstat(int(f.Fd()), &st))
	equal("links", int(st.Nlink), 0)
}

// filePipeEdge: a read of a pipe into a buffer that ends in the middle loses no data. Linux
// returns EFAULT where Grim returns the part that arrived.
func filePipeEdge() {
	two := anon(8192)
	check("mprotect", unix.Mprotect(two[4096:], unix.PROT_NONE))
	edge := addr(two) + 4095
	var p [2]int
	check("pipe", unix.Pipe2(p[:], unix.O_NONBLOCK))
	_, err := unix.Write(p[1], []byte("ab"))
	check("write", err)
	n, _, errno := syscall.Syscall(unix.SYS_READ, uintptr(p[0]), edge, 2)
	got := ""
	switch {
	case errno == 0 && n == 1:
		got = string(two[4095:4096])
	case errno != unix.EFAULT:
		fail("read at the edge: %d %v", n, errno)
	}
	rest := make([]byte, 4)
	k, err := unix.Read(p[0], rest)
	check("read of the rest", err)
	equal("bytes", got+string(rest[:k]), "ab")

	// An atomic write from such a buffer writes nothing, a long write the part that it can
	// read.
	wantErr("write from the edge", unix.EFAULT, unix.SYS_WRITE, uintptr(p[1]), edge, 2)
	_, err = unix.Read(p[0], rest)
	equal("read after it", err, error(unix.EAGAIN))
	many := anon(5 * 4096)
	check("mprotect", unix.Mprotect(many[4*4096:], unix.PROT_NONE))
	n, _, errno = syscall.Syscall(unix.SYS_WRITE, uintptr(p[1]), addr(many), 5*4096)
	if errno != 0 || n != 4*4096 {
		fail("write of 5 pages, 4 there: %d %v", n, errno)
	}
}

// filePipeBroken: SIGPIPE is sent also if a part was written before the reader closed.
func filePipeBroken() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGPIPE)
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	go func() {
		b := make([]byte, 1)
		_, err := unix.Read(p[0], b)
		check("read", err)
		check("close", unix.Close(p[0]))
	}()
	n, err := unix.Write(p[1], make([]byte, 200_000))
	if n < 65536 || err != nil {
		fail("write whose reader goes: %d %v", n, err)
	}
	<-c
}
