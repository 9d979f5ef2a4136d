package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

var execTests = []test{
	{name: "exec-arguments", run: execArguments},
	{name: "exec-many", run: execMany, slow: true},
	{name: "exec-bad-files", run: execBad},
	{name: "exec-closes-descriptors", run: execCloexec},
}

func init() {
	helpers["helper-echo"] = func(args []string) {
		fmt.Print(strings.Join(args, "|"), "|", os.Getenv("GRIM_TEST"))
	}
	helpers["helper-fd-open"] = func(args []string) {
		var fd int
		fmt.Sscan(args[0], &fd)
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == unix.EBADF {
			os.Exit(3)
		}
	}
}

func execArguments() {
	cmd := self("helper-echo", "one", "", "three words here")
	cmd.Env = []string{"GRIM_TEST=value"}
	out, err := cmd.Output()
	check("run", err)
	equal("output", string(out), "one||three words here|value")
}

func execMany() {
	for i := range 50 {
		out, err := self("helper-echo", fmt.Sprint(i)).Output()
		check("run", err)
		equal("output", string(out), fmt.Sprint(i, "|"))
	}
}

// execBad: each malformed file is refused with the error Linux gives.
func execBad() {
	exe, err := os.ReadFile("/proc/self/exe")
	check("read", err)
	dir, err := os.MkdirTemp("", "bad")
	check("mkdir", err)
	defer os.RemoveAll(dir)
	wrongArch := bytes.Clone(exe[:4096])
	wrongArch[18], wrongArch[19] = 8, 0 // EM_MIPS
	for _, c := range []struct {
		name string
		data []byte
		mode os.FileMode
		want error
	}{
		{"empty", nil, 0o755, unix.ENOEXEC},
		{"text", []byte("hello\n"), 0o755, unix.ENOEXEC},
		{"truncated-header", exe[:40], 0o755, unix.ENOEXEC},
		{"wrong-arch", wrongArch, 0o755, unix.ENOEXEC},
		{"not-executable", exe, 0o644, unix.EACCES},
	} {
		path := dir + "/" + c.name
		check("write", os.WriteFile(path, c.data, c.mode))
		err := exec.Command(path).Run()
		if pe, ok := err.(*os.PathError); !ok || pe.Err != c.want {
			fail("exec of %s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := unix.Exec(dir, []string{"x"}, nil); err != unix.EACCES {
		fail("exec of a directory: %v, want EACCES", err)
	}
}

func execCloexec() {
	var p [2]int
	check("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
	err := self("helper-fd-open", fmt.Sprint(p[0])).Run()
	if ee, ok := err.(*exec.ExitError); !ok || ee.ExitCode() != 3 {
		fail("a close-on-exec descriptor is open after exec: %v", err)
	}
}
