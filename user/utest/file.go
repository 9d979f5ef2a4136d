package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

var fileTests = []test{
	{name: "file-read-write", run: fileReadWrite},
	{name: "file-directories", run: fileDirectories},
	{name: "file-pipe", run: filePipe},
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
