package sys

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/proc"
)

func tables(t *testing.T) map[string]*table {
	t.Helper()
	out := map[string]*table{}
	for _, m := range machines {
		tab, err := newTable(&Config{ABI: m.abi})
		if err != nil {
			t.Fatal(err)
		}
		out[m.abi.Name] = tab
	}
	return out
}

// Every entry is well formed, has a number on some architecture, and is in the table only
// under that number.
func TestTable(t *testing.T) {
	tabs := tables(t)
	seen := map[string]bool{}
	for i := range sysents {
		e := &sysents[i]
		if seen[e.name] {
			t.Errorf("%s is there twice", e.name)
		}
		seen[e.name] = true
		if e.fn == nil || e.nargs < 0 || e.nargs > 6 || e.name != strings.ToLower(e.name) {
			t.Errorf("%+v", e)
		}
		found := 0
		for _, tab := range tabs {
			for n, x := range tab.ent {
				if x == e {
					found++
					if tab.name(n) != e.name || tab.ent[n] == nil {
						t.Errorf("%s at number %d, which is %q", e.name, n, tab.name(n))
					}
				}
			}
		}
		if found == 0 {
			t.Errorf("%s has no number on any architecture", e.name)
		}
	}
	if _, err := newTable(&Config{ABI: &arch.ABI{Name: "riscv64"}}); err == nil {
		t.Error("a table for riscv64")
	}
}

// Numbers that must not change, from the kernel's own headers. A table made from a damaged
// list of names fails here.
func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		arch string
		n    int
		name string
	}{
		{"amd64", 0, "read"}, {"amd64", 39, "getpid"}, {"amd64", 57, "fork"}, {"amd64", 61, "wait4"},
		{"amd64", 231, "exit_group"}, {"amd64", 262, "newfstatat"}, {"amd64", 435, "clone3"},
		{"arm64", 63, "read"}, {"arm64", 79, "newfstatat"}, {"arm64", 172, "getpid"}, {"arm64", 220, "clone"},
		{"arm64", 260, "wait4"}, {"arm64", 94, "exit_group"}, {"arm64", 435, "clone3"}, {"arm64", 139, "rt_sigreturn"},
	} {
		if e := tables(t)[c.arch].ent[c.n]; e == nil || e.name != c.name {
			t.Errorf("%s %d is %+v, want %s", c.arch, c.n, e, c.name)
		}
	}
	if tables(t)["arm64"].names[1] == "write" {
		t.Error("arm64 has amd64's numbers")
	}
	here := tables(t)[runtime.GOARCH]
	for n, name := range map[int]string{
		unix.SYS_MMAP: "mmap", unix.SYS_FUTEX: "futex", unix.SYS_EXECVE: "execve", unix.SYS_RT_SIGACTION: "rt_sigaction",
	} {
		if here.ent[n] == nil || here.ent[n].name != name {
			t.Errorf("%d is %+v, want %s", n, here.ent[n], name)
		}
	}
}

// Both architectures must offer the calls that static programs of Go, musl and glibc make.
// Neither may offer ptrace.
func TestNeeded(t *testing.T) {
	const both = `read write readv writev pread64 pwrite64 openat close fstat newfstatat statx lseek mmap mprotect
		munmap mremap madvise brk rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack ioctl faccessat pipe2 pselect6
		ppoll epoll_create1 epoll_ctl epoll_pwait eventfd2 sched_yield sched_getaffinity dup3 nanosleep clock_gettime
		clock_nanosleep getpid gettid clone clone3 execve exit exit_group wait4 waitid kill tgkill uname fcntl getdents64
		getcwd chdir readlinkat getrlimit prlimit64 set_tid_address set_robust_list futex getrandom pidfd_open
		pidfd_send_signal memfd_create prctl getrusage setitimer`
	const onlyAMD64 = "open stat lstat access pipe dup2 fork vfork poll select epoll_wait arch_prctl time alarm getpgrp rename mkdir unlink readlink"
	has := func(tab *table, name string) bool {
		for _, e := range tab.ent {
			if e != nil && e.name == name {
				return true
			}
		}
		return false
	}
	for name, tab := range tables(t) {
		for _, call := range strings.Fields(both) {
			if !has(tab, call) {
				t.Errorf("%s lacks %s", name, call)
			}
		}
		for _, call := range strings.Fields(onlyAMD64) {
			if has(tab, call) != (name == "amd64") {
				t.Errorf("%s: %s", name, call)
			}
		}
		if has(tab, "ptrace") { // a kernel without it returns ENOSYS
			t.Errorf("%s offers ptrace", name)
		}
	}
}

func TestUnknownCounted(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.passes(func(u *user) {
			for _, n := range []uint64{511, 512, 1 << 40, ^uint64(0), uint64(m.nums["ptrace"]), uint64(m.nums["ptrace"])} {
				if r := u.callNumber(n); errno(r) != syscall.ENOSYS {
					m.t.Errorf("%d: %#x", n, r)
				}
			}
		})
		got := m.s.UnknownCalls()
		want := []Unknown{{m.nums["ptrace"], "ptrace", 2}, {511, "", 1}, {-1, "", 3}}
		if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			m.t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestResult(t *testing.T) {
	if result(7, nil) != 7 || int64(result(7, syscall.EFAULT)) != -14 || int64(result(0, proc.ERESTARTSYS)) != -512 ||
		int64(result(0, notErrno{})) != -5 {
		t.Error("result")
	}
}

type notErrno struct{}

func (notErrno) Error() string { return "x" }

// A system call that does nothing allocates nothing.
func TestNullCallAllocates(t *testing.T) {
	m := newMachine(t, 0, 512)
	m.passes(func(u *user) {
		th := m.k.Thread(int(u.ok("gettid")))
		th.U.Frame[m.abi.Number] = uint64(m.nums["getpid"])
		if n := testing.AllocsPerRun(100, func() { m.s.Syscall(th) }); n != 0 {
			m.t.Errorf("getpid allocates %v times", n)
		}
	})
}

// The index into the handlers is masked in the machine code of both architectures. A
// compiler that sees that the mask changes nothing might omit it.
func TestSyscallIndexMasked(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package")
	}
	for _, c := range []struct {
		arch string
		mask *regexp.Regexp
	}{
		{"amd64", regexp.MustCompile(`\tAND[LQ]\t\$511, `)},
		{"arm64", regexp.MustCompile(`\tAND[W]?\t\$511, `)},
	} {
		cmd := exec.Command("go", "build", "-gcflags=grim/kernel/sys=-S", "-o", os.DevNull, ".")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+c.arch, "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, text, found := bytes.Cut(out, []byte("grim/kernel/sys.(*System).Syscall STEXT"))
		text, _, _ = bytes.Cut(text, []byte(" STEXT"))
		if !found || !c.mask.Match(text) {
			t.Errorf("%s: no mask in the code of Syscall (found: %v)", c.arch, found)
		}
	}
}
