package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var busyTests = []test{
	{name: "exec-text-busy", run: execTextBusy},
	{name: "exec-of-open-file", run: execOpenFile},
}

func init() {
	helpers["helper-until-eof"] = func([]string) {
		os.Stdout.WriteString("up\n")
		io.Copy(io.Discard, os.Stdin)
	}
}

// copySelf makes a copy of this program, which no process has open.
func copySelf(dir string) string {
	path := filepath.Join(dir, "program")
	exe, err := os.ReadFile("/proc/self/exe")
	check("read", err)
	check("write", os.WriteFile(path, exe, 0o755))
	return path
}

// wantError fails unless the call has returned that error.
func wantError(what string, got, want error) {
	if e, ok := got.(*os.PathError); ok {
		got = e.Err
	}
	if got != want {
		fail("%s: %v, want %v", what, got, want)
	}
}

// openBusy opens a file with flags for which it must fail with ETXTBSY.
func openBusy(path string, flags int) {
	fd, err := unix.Open(path, flags, 0)
	wantError("open of a running program", err, unix.ETXTBSY)
	if err == nil {
		unix.Close(fd)
	}
}

// execTextBusy: while a program runs, its file cannot be written, under any name;
// afterwards it can. Seen to fail on a kernel without a count of writers.
func execTextBusy() {
	dir, err := os.MkdirTemp("", "busy")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	path := copySelf(dir)
	cmd := exec.Command(path, "helper-until-eof")
	in, err := cmd.StdinPipe()
	check("pipe", err)
	out, err := cmd.StdoutPipe()
	check("pipe", err)
	check("start", cmd.Start())
	_, err = out.Read(make([]byte, 8)) // it runs
	check("read", err)
	before, err := os.Stat(path)
	check("stat", err)
	check("link", os.Link(path, path+"2"))
	for _, name := range []string{path, path + "2", "/proc/" + itoa(cmd.Process.Pid) + "/exe"} {
		for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_RDONLY | unix.O_TRUNC, unix.O_WRONLY | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND} {
			openBusy(name, flags)
		}
		wantError("truncate of a running program", unix.Truncate(name, 0), unix.ETXTBSY)
		wantError("truncate to more", unix.Truncate(name, 1<<30), unix.ETXTBSY)
	}
	f, err := os.Open(path)
	check("open for reading", err)
	check("mode", f.Chmod(0o700))
	wantError("ftruncate without the right", unix.Ftruncate(int(f.Fd()), 0), unix.EINVAL)
	check("close", f.Close())
	// A second process runs the same file; the first one ends.
	two := exec.Command(path, "helper-until-eof")
	in2, err := two.StdinPipe()
	check("pipe", err)
	check("start", two.Start())
	in.Close()
	check("wait", cmd.Wait())
	openBusy(path, unix.O_WRONLY)
	in2.Close()
	check("wait", two.Wait())
	after, err := os.Stat(path)
	check("stat", err)
	equal("size", after.Size(), before.Size())
	f, err = os.OpenFile(path, os.O_WRONLY, 0)
	check("open when it has ended", err)
	check("close", f.Close())
	check("truncate when it has ended", os.Truncate(path, 5))
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// execOpenFile: a file that is open for writing cannot be executed, nor can a file with a
// writable mapping, nor a script of that kind. A start that fails, for that or any other
// reason, leaves nothing behind. Seen to fail on a kernel without a count of writers.
func execOpenFile() {
	dir, err := os.MkdirTemp("", "busy")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	path := copySelf(dir)
	run := func() error { return exec.Command(path, "helper-echo", "x").Run() }
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check("open", err)
	wantError("exec of a file open for writing", run(), unix.ETXTBSY)
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check("mmap", err)
	check("close", f.Close())
	wantError("exec of a file mapped for writing", run(), unix.ETXTBSY)
	check("munmap", unix.Munmap(m))
	check("exec", run())

	script := dir + "/script"
	check("write", os.WriteFile(script, []byte("#!"+path+" helper-echo\n"), 0o755))
	s, err := os.OpenFile(script, os.O_WRONLY, 0)
	check("open", err)
	wantError("exec of a script open for writing", exec.Command(script).Run(), unix.ETXTBSY)
	check("close", s.Close())
	f, err = os.OpenFile(path, os.O_WRONLY, 0)
	check("open", err)
	wantError("exec of a script whose interpreter is open for writing", exec.Command(script).Run(), unix.ETXTBSY)
	check("close", f.Close())
	check("exec of a script", exec.Command(script).Run())

	check("write", os.WriteFile(script, []byte("nothing that runs"), 0o755))
	wantError("exec of text", exec.Command(script).Run(), unix.ENOEXEC)
	for _, name := range []string{script, path} {
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
		check("open after that", err)
		check("close", f.Close())
	}
}
