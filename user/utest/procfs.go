package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var procfsTests = []test{
	{name: "procfs-settings", run: procfsSettings},
	{name: "procfs-texts", run: procfsTexts},
	{name: "cred-capabilities", run: credCapabilities},
	{name: "cred-bounding", run: credBounding},
	{name: "cred-of-thread", run: credOfThread},
}

// read returns a file's text without the newline at its end.
func read(path string) string {
	b, err := os.ReadFile(path)
	check("read "+path, err)
	return strings.TrimSuffix(string(b), "\n")
}

// line returns the value of the "Name:" line of a text.
func line(text, name string) string {
	for _, l := range strings.Split(text, "\n") {
		if v, ok := strings.CutPrefix(l, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	fail("no line %q in:\n%s", name, text)
	return ""
}

// write writes to an existing file with one write(2).
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err.(*os.PathError).Err
	}
	defer f.Close()
	if _, err = f.WriteString(text); err != nil {
		return err.(*os.PathError).Err
	}
	return nil
}

// procfsSettings: comm and oom_score_adj can be written, and are inherited.
func procfsSettings() {
	check("oom_score_adj", write("/proc/self/oom_score_adj", "100"))
	equal("oom_score_adj", read("/proc/self/oom_score_adj"), "100")
	equal("oom_score_adj out of range", write("/proc/self/oom_score_adj", "1001"), error(unix.EINVAL))
	equal("oom_score_adj, no number", write("/proc/self/oom_score_adj", "x"), error(unix.EINVAL))
	check("a child's oom_score_adj", self("helper-oom").Run())
	tid := unix.Gettid()
	check("comm", write(fmt.Sprintf("/proc/self/task/%d/comm", tid), "another name of it\n"))
	equal("comm", read(fmt.Sprintf("/proc/self/task/%d/comm", tid)), "another name of")
	sleeper := self("helper-sleep")
	check("start", sleeper.Start())
	equal("another's comm", write(fmt.Sprintf("/proc/%d/comm", sleeper.Process.Pid), "x"), error(unix.EINVAL))
	sleeper.Process.Kill()
	sleeper.Wait()
}

func init() {
	helpers["helper-oom"] = func([]string) { equal("inherited", read("/proc/self/oom_score_adj"), "100") }
	helpers["helper-sleep"] = func([]string) { time.Sleep(time.Minute) }
}

// procfsTexts: the files that programs look for exist.
func procfsTexts() {
	for _, path := range []string{
		"/proc/stat", "/proc/loadavg", "/proc/vmstat", "/proc/mounts", "/proc/filesystems", "/proc/partitions", "/proc/swaps",
		"/proc/interrupts", "/proc/net/dev", "/proc/sys/kernel/tainted", "/proc/sys/kernel/core_pattern",
		"/proc/sys/kernel/threads-max", "/proc/sys/vm/max_map_count", "/proc/sys/fs/file-nr", "/proc/self/mountinfo",
		"/proc/self/limits", "/proc/self/cgroup", "/proc/self/wchan", "/proc/self/io", "/proc/self/personality",
		"/proc/sys/kernel/random/boot_id", "/sys/devices/system/cpu/online", "/proc/self/fdinfo/0",
	} {
		_, err := os.ReadFile(path)
		check(path, err)
	}
	equal("uuid's length", len(read("/proc/sys/kernel/random/uuid")), 36)
	if a, b := read("/proc/sys/kernel/random/boot_id"), read("/proc/sys/kernel/random/boot_id"); a != b {
		fail("boot_id changes: %s, %s", a, b)
	}
	if f := strings.Fields(read("/proc/stat")); f[0] != "cpu" || f[11] != "cpu0" {
		fail("/proc/stat: %v", f[:12])
	}
	equal("loadavg's fields", len(strings.Fields(read("/proc/loadavg"))), 5)
	var r unix.Rlimit
	check("getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &r))
	for _, l := range strings.Split(read("/proc/self/limits"), "\n") {
		if v, ok := strings.CutPrefix(l, "Max open files"); ok {
			equal("limit of files", strings.Fields(v)[0], strconv.FormatUint(r.Cur, 10))
		}
	}
	status := read("/proc/self/status")
	for _, name := range []string{"Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "voluntary_ctxt_switches"} {
		line(status, name)
	}
	equal("fdinfo of 0", line(read("/proc/self/fdinfo/0"), "pos") != "", true)
}

// capsOf returns the caller's capabilities, by capget(2).
func capsOf() (d [2]unix.CapUserData) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	check("capget", unix.Capget(&h, &d[0]))
	return d
}

func capset(d [2]unix.CapUserData) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&h, &d[0])
}

func prctl(args ...uintptr) (int, error) {
	var a [5]uintptr
	copy(a[:], args)
	r, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, a[0], a[1], a[2], a[3], a[4], 0)
	if e != 0 {
		return -1, e
	}
	return int(r), nil
}

// asRoot runs a test that changes its credentials, if the caller is the superuser. Other
// users have nothing to test.
func asRoot(fn func()) {
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread() // credentials are a thread's
	fn()
}

// credCapabilities: the sets follow the user numbers, and capset(2) removes capabilities.
func credCapabilities() {
	asRoot(func() {
		all := capsOf()
		d := all
		d[0].Effective &^= 1 << unix.CAP_KILL
		check("capset", capset(d))
		equal("effective", capsOf()[0].Effective&(1<<unix.CAP_KILL), 0)
		check("capset back", capset(all))
		sysMust(unix.SYS_SETRESUID, ^uintptr(0), 1000, ^uintptr(0))
		equal("effective of a user", capsOf()[0].Effective, 0)
		equal("permitted of a user", capsOf()[0].Permitted, all[0].Permitted)
		sysMust(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0))
		equal("effective of root again", capsOf()[0].Effective, all[0].Effective)
		_, err := prctl(unix.PR_SET_KEEPCAPS, 1)
		check("KEEPCAPS", err)
		sysMust(unix.SYS_SETRESUID, 1000, 1000, 1000)
		equal("permitted kept", capsOf()[0].Permitted, all[0].Permitted)
		equal("effective not", capsOf()[0].Effective, 0)
		d = capsOf()
		d[0].Effective = 1 << unix.CAP_SETUID
		check("capset of a user", capset(d))
		sysMust(unix.SYS_SETRESUID, 2000, 2000, 2000)
		d[0].Permitted, d[1].Permitted = 0, 0
		d[0].Effective = 0
		check("drop all", capset(d))
		d[0].Permitted = 1
		equal("back", capset(d), error(unix.EPERM))
		equal("setuid 0", sysErr(unix.SYS_SETUID, 0, 0, 0), unix.EPERM)
		equal("CapEff", line(read("/proc/thread-self/status"), "CapEff"), "0000000000000000")
	})
}

// credOfThread: credentials are a thread's, and the texts of its own folder show them. Seen
// to fail on Grim when these texts showed the first thread's.
func credOfThread() {
	if os.Geteuid() != 0 {
		return
	}
	done := make(chan bool)
	var other func()
	other = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			go other() // on another thread, while this one is locked
			<-done
			return
		}
		defer close(done) // locked to the end: the thread ends with the goroutine
		sysMust(unix.SYS_SETRESUID, 1000, 1000, 1000)
		equal("the thread's", strings.Fields(line(read("/proc/thread-self/status"), "Uid"))[0], "1000")
		equal("its process's", strings.Fields(line(read("/proc/self/status"), "Uid"))[0], "0")
	}
	go other()
	<-done
}

// credBounding: a capability dropped from the bounding set does not come back by exec. An
// ambient capability must be permitted and inheritable.
func credBounding() {
	asRoot(func() {
		_, err := prctl(unix.PR_CAPBSET_DROP, unix.CAP_MKNOD)
		check("CAPBSET_DROP", err)
		n, err := prctl(unix.PR_CAPBSET_READ, unix.CAP_MKNOD)
		check("CAPBSET_READ", err)
		equal("bounding", n, 0)
		_, err = prctl(unix.PR_CAPBSET_READ, 64)
		equal("no such capability", err, error(unix.EINVAL))
		_, err = prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_KILL)
		equal("ambient, not inheritable", err, error(unix.EPERM))
		d := capsOf()
		d[0].Inheritable |= 1 << unix.CAP_KILL
		check("capset", capset(d))
		_, err = prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_KILL)
		check("ambient", err)
		n, err = prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, unix.CAP_KILL)
		check("ambient", err)
		equal("ambient", n, 1)
	})
}

// sysMust makes a system call that must succeed.
func sysMust(nr uintptr, args ...uintptr) uintptr {
	var a [6]uintptr
	copy(a[:], args)
	r, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if e != 0 {
		fail("system call %d: %v", nr, e)
	}
	return r
}

// sysErr returns a system call's errno.
func sysErr(nr uintptr, args ...uintptr) syscall.Errno {
	var a [6]uintptr
	copy(a[:], args)
	_, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return e
}
