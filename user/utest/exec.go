package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

var execTests = []test{
	{name: "exec-arguments", run: execArguments},
	{name: "exec-many", run: execMany, slow: true},
	{name: "exec-bad-files", run: execBad},
	{name: "exec-closes-descriptors", run: execCloexec},
	{name: "exec-random-addresses", run: execRandom},
}

func init() {
	helpers["helper-places"] = func([]string) { fmt.Print(places()) }
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

// execBad: each malformed file is refused with Linux's error.
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

// places returns the addresses of this process's stack, heap and newest mapping.
func places() [3]uintptr {
	stat, err := os.ReadFile("/proc/self/stat")
	check("stat", err)
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var stack uintptr
	fmt.Sscan(f[28-3], &stack) // startstack, field 28; the state is field 3
	brk, _, _ := unix.RawSyscall(unix.SYS_BRK, 0, 0, 0)
	m, err := unix.MmapPtr(-1, 0, nil, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	check("mmap", err)
	return [3]uintptr{stack, brk, uintptr(m)}
}

// execRandom: two runs of a program have their parts at different addresses, unless the
// machine is configured otherwise or the parent has turned that off.
func execRandom() {
	const addrNoRandomize = 0x0040000
	level, err := os.ReadFile("/proc/sys/kernel/randomize_va_space")
	check("randomize_va_space", err)
	run := func() (p [3]uintptr) {
		out, err := self("helper-places").Output()
		check("run", err)
		fmt.Sscanf(string(out), "[%d %d %d]", &p[0], &p[1], &p[2])
		return p
	}
	a, b := run(), run()
	for i, part := range [...]string{"stack", "heap", "mmap"} {
		random := level[0] == '2' || level[0] == '1' && part != "heap"
		if (a[i] != b[i]) != random {
			fail("randomize_va_space is %s, %s at %#x, then at %#x", level[:1], part, a[i], b[i])
		}
	}
	runtime.LockOSThread() // personality(2) is of the calling thread
	if old, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0); errno != 0 || old&addrNoRandomize != 0 {
		fail("personality: %#x, %v", old, errno)
	}
	// The address that mmap returns depends on what the runtime's threads have mapped
	// before. So two runs may differ occasionally. Random addresses are never equal.
	c, d := run(), run()
	for tries := 0; c[1] == d[1] && c[2] != d[2] && tries < 8; tries++ {
		c, d = d, run()
	}
	if c[1] != d[1] || c[2] != d[2] {
		fail("ADDR_NO_RANDOMIZE: %#x, then %#x", c, d)
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
