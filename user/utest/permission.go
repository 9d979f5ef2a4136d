package main

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

var permissionTests = []test{
	{name: "perm-walk-open", run: arena(permWalkOpen)},
	{name: "perm-names", run: arena(permNames)},
	{name: "perm-attributes", run: arena(permAttributes)},
	{name: "perm-group", run: arena(permGroup)},
	{name: "perm-access-real", run: arena(permAccess)},
	{name: "perm-set-id", run: arena(permSetID)},
	{name: "perm-signals", run: arena(permSignals)},
}

// nobody makes the calling thread an ordinary user, in group 2000 too.
func nobody() {
	g := []uint32{2000}
	sysMust(unix.SYS_SETGROUPS, 1, ptr(&g[0]))
	sysMust(unix.SYS_SETRESGID, 1000, 1000, 1000)
	sysMust(unix.SYS_SETRESUID, 1000, 1000, 1000)
}

// arena makes a test for the superuser. It begins in an empty directory and may change its
// credentials, as it runs in a process of its own. Its files in the directory are removed
// afterwards. For other users there is nothing to test.
func arena(run func()) func() {
	return func() {
		if os.Geteuid() != 0 {
			return
		}
		if os.Getenv("UTEST_ARENA") != "" {
			unix.Umask(0)
			run()
			return
		}
		dir, err := os.MkdirTemp("", "arena")
		check("mkdir", err)
		check("chmod", os.Chmod(dir, 0o755))
		cmd := self(os.Args[1])
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "UTEST_ARENA=1")
		err = cmd.Run()
		check("remove", os.RemoveAll(dir))
		check("the test in "+dir, err)
	}
}

// Credentials are a thread's, and /proc/self shows those of the first thread. So a test in
// an arena runs on the first thread. The main goroutine is on it during package
// initialization.
func init() {
	if os.Getenv("UTEST_ARENA") != "" {
		runtime.LockOSThread()
	}
}

func putFile(name string, mode uint32, uid, gid int) {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY, 0o600)
	check("create", err)
	unix.Write(fd, []byte("x"))
	unix.Close(fd)
	check("chown", unix.Chown(name, uid, gid))
	check("chmod", unix.Chmod(name, mode))
}

func mkdir(name string, mode uint32, uid, gid int) {
	check("mkdir", unix.Mkdir(name, 0o700))
	check("chown", unix.Chown(name, uid, gid))
	check("chmod", unix.Chmod(name, mode))
}

// opens returns the error of an open.
func opens(name string, flags int) error {
	fd, err := unix.Open(name, flags, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// permWalkOpen: the caller needs search permission on each directory of the path. The
// file's own bits decide how it may be opened.
func permWalkOpen() {
	mkdir("closed", 0o700, 0, 0)
	putFile("closed/f", 0o666, 0, 0)
	mkdir("search", 0o711, 0, 0)
	putFile("search/f", 0o666, 0, 0)
	putFile("other-r", 0o604, 0, 0)
	putFile("group-r", 0o640, 0, 2000)
	putFile("group-none", 0o604, 0, 2000)
	putFile("mine-none", 0o066, 1000, 1000)
	putFile("mine", 0o600, 1000, 1000)
	putFile("program", 0o744, 0, 0)
	nobody()
	for _, c := range []struct {
		name  string
		flags int
		want  error
	}{
		{"closed/f", unix.O_RDONLY, unix.EACCES}, {"closed/none", unix.O_RDONLY, unix.EACCES},
		{"closed/.", unix.O_RDONLY, unix.EACCES}, {"closed", unix.O_PATH, nil},
		{"search/f", unix.O_RDWR, nil}, {"search", unix.O_RDONLY, unix.EACCES},
		{"search/new", unix.O_CREAT | unix.O_WRONLY, unix.EACCES}, {"search/f", unix.O_CREAT | unix.O_WRONLY, nil},
		{"other-r", unix.O_RDONLY, nil}, {"other-r", unix.O_WRONLY, unix.EACCES}, {"other-r", unix.O_RDONLY | unix.O_TRUNC, unix.EACCES},
		{"group-r", unix.O_RDONLY, nil}, {"group-r", unix.O_RDWR, unix.EACCES}, {"group-none", unix.O_RDONLY, unix.EACCES},
		{"mine-none", unix.O_RDONLY, unix.EACCES}, {"mine", unix.O_RDWR, nil},
		{"mine", unix.O_RDONLY | unix.O_NOATIME, nil}, {"other-r", unix.O_RDONLY | unix.O_NOATIME, unix.EPERM},
	} {
		if err := opens(c.name, c.flags); err != c.want {
			fail("open %s, %#x: %v, want %v", c.name, c.flags, err, c.want)
		}
	}
	equal("chdir", unix.Chdir("closed"), error(unix.EACCES))
	equal("stat", unix.Stat("closed/f", new(unix.Stat_t)), error(unix.EACCES))
	equal("exec", unix.Exec("program", []string{"program"}, nil), error(unix.EACCES))
	equal("truncate", unix.Truncate("other-r", 0), error(unix.EACCES))
}

// permNames: the caller may add and remove names in directories that it may write to. In
// sticky directories only the owner may remove a name.
func permNames() {
	mkdir("theirs", 0o755, 0, 0)
	putFile("theirs/f", 0o666, 0, 0)
	mkdir("theirs/d", 0o777, 0, 0)
	mkdir("sticky", 0o1777, 0, 0)
	putFile("sticky/f", 0o666, 0, 0)
	putFile("sticky/mine", 0o666, 1000, 1000)
	mkdir("all", 0o777, 0, 0)
	putFile("all/f", 0o600, 0, 0)
	mkdir("all/d", 0o755, 0, 0)
	mkdir("all/to", 0o777, 0, 0)
	nobody()
	denied := error(unix.EACCES)
	equal("unlink", unix.Unlink("theirs/f"), denied)
	equal("unlink of nothing", unix.Unlink("theirs/none"), error(unix.ENOENT))
	equal("rmdir", unix.Rmdir("theirs/d"), denied)
	equal("mkdir", unix.Mkdir("theirs/new", 0o777), denied)
	equal("mkdir of what is there", unix.Mkdir("theirs/d", 0o777), error(unix.EEXIST))
	equal("symlink", unix.Symlink("x", "theirs/new"), denied)
	equal("mkfifo", unix.Mkfifo("theirs/new", 0o777), denied)
	equal("link", unix.Link("sticky/mine", "theirs/new"), denied)
	equal("rename from", unix.Rename("theirs/f", "all/g"), denied)
	equal("rename to", unix.Rename("all/f", "theirs/g"), denied)
	equal("unlink, sticky", unix.Unlink("sticky/f"), error(unix.EPERM))
	equal("rename, sticky", unix.Rename("sticky/f", "sticky/g"), error(unix.EPERM))
	equal("rename over, sticky", unix.Rename("sticky/mine", "sticky/f"), error(unix.EPERM))
	equal("rename a directory that is not ours", unix.Rename("all/d", "all/to/d"), denied)
	check("rename it in place", unix.Rename("all/d", "all/e"))
	check("unlink, sticky, mine", unix.Unlink("sticky/mine"))
	check("unlink in a directory for all", unix.Unlink("all/f"))
	equal("mknod of a device", unix.Mknod("all/null", unix.S_IFCHR|0o666, 0x103), error(unix.EPERM))
}

func stat(name string) (st unix.Stat_t) {
	check("stat "+name, unix.Lstat(name, &st))
	return st
}

// permAttributes: only the owner may change mode, owner and times.
func permAttributes() {
	putFile("theirs", 0o666, 0, 0)
	putFile("mine", 0o6755, 1000, 1000)
	putFile("group", 0o666, 1000, 3000)
	putFile("setid", 0o6777, 0, 0)
	putFile("setid2", 0o6777, 0, 0)
	putFile("read-only", 0o444, 0, 0)
	check("chown by root", unix.Chown("setid2", 0, 0))
	equal("set-ID bits after chown by root", stat("setid2").Mode&0o7777, 0o777)
	nobody()
	no := error(unix.EPERM)
	equal("chmod", unix.Chmod("theirs", 0o777), no)
	equal("chown", unix.Chown("theirs", 1000, -1), no)
	equal("chown away", unix.Chown("mine", 0, -1), no)
	equal("chown to a group that is not mine", unix.Chown("mine", -1, 3000), no)
	check("chown to my group", unix.Chown("mine", -1, 2000))
	equal("set-ID bits after it", stat("mine").Mode&0o7777, 0o755)
	check("chmod", unix.Chmod("group", 0o2755))
	equal("set-group-ID of a group that is not mine", stat("group").Mode&0o7777, 0o755)
	ts := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	equal("utimes", unix.UtimesNanoAt(unix.AT_FDCWD, "theirs", ts, 0), no)
	check("utimes to now, writable", unix.UtimesNanoAt(unix.AT_FDCWD, "theirs", now, 0))
	equal("utimes to now, not writable", unix.UtimesNanoAt(unix.AT_FDCWD, "read-only", now, 0), error(unix.EACCES))
	check("utimes, mine", unix.UtimesNanoAt(unix.AT_FDCWD, "mine", ts, 0))
	fd, err := unix.Open("setid", unix.O_WRONLY, 0)
	check("open", err)
	unix.Write(fd, []byte("y"))
	equal("set-ID bits after a write", stat("setid").Mode&0o7777, 0o777)
}

// permGroup: new files belong to the caller's group. In a set-group-ID directory they
// belong to the directory's group, and new directories inherit the bit.
func permGroup() {
	mkdir("plain", 0o777, 0, 0)
	mkdir("group", 0o2777, 0, 3000)
	nobody()
	for _, d := range []string{"plain", "group"} {
		gid, mode := uint32(1000), uint32(0o755)
		if d == "group" {
			gid, mode = 3000, 0o2755
		}
		check("mkdir", unix.Mkdir(d+"/d", 0o755))
		equal("create", opens(d+"/f", unix.O_CREAT|unix.O_WRONLY), nil)
		check("symlink", unix.Symlink("x", d+"/l"))
		check("mkfifo", unix.Mkfifo(d+"/p", 0o666))
		for _, n := range []string{"/d", "/f", "/l", "/p"} {
			st := stat(d + n)
			equal("owner of "+d+n, st.Uid, 1000)
			equal("group of "+d+n, st.Gid, gid)
		}
		equal("mode of a directory in "+d, stat(d+"/d").Mode&0o7777, mode)
	}
	fd, err := unix.Open("group/sgid", unix.O_CREAT|unix.O_WRONLY, 0o2775)
	check("create", err)
	unix.Close(fd)
	equal("set-group-ID of a file of another group", stat("group/sgid").Mode&0o7777, 0o775)
	var st unix.Stat_t
	var p [2]int
	check("pipe", unix.Pipe(p[:]))
	check("fstat", unix.Fstat(p[0], &st))
	equal("owner of a pipe", st.Uid, 1000)
}

// permAccess: access(2) checks the real user, faccessat2(2) with its flag the effective
// user.
func permAccess() {
	putFile("root", 0o600, 0, 0)
	putFile("user", 0o600, 1000, 1000)
	sysMust(unix.SYS_SETRESUID, 1000, 0, 0)
	equal("access", unix.Access("root", unix.R_OK), error(unix.EACCES))
	check("access, mine", unix.Access("user", unix.R_OK|unix.W_OK))
	equal("access, execute", unix.Access("user", unix.X_OK), error(unix.EACCES))
	check("AT_EACCESS", unix.Faccessat(unix.AT_FDCWD, "root", unix.R_OK, unix.AT_EACCESS))
	sysMust(unix.SYS_SETRESUID, 0, 1000, 1000)
	check("access as root", unix.Access("root", unix.R_OK|unix.W_OK))
	equal("but open", opens("root", unix.O_RDONLY), error(unix.EACCES))
	sysMust(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0))
	sysMust(unix.SYS_SETFSUID, 1000)
	equal("open with the file system's number", opens("root", unix.O_RDONLY), error(unix.EACCES))
}

func init() {
	helpers["helper-ids"] = func(args []string) {
		runtime.LockOSThread()
		r, e, s := unix.Getresuid()
		equal("real", r, 1000)
		equal("effective", e, 3333)
		equal("saved", s, 3333)
		_, eg, _ := unix.Getresgid()
		equal("effective group", eg, 4444)
		equal("dumpable", func() int { n, _ := prctl(unix.PR_GET_DUMPABLE); return n }(), 0)
	}
}

// permSetID: a set-user-ID and set-group-ID program runs with its owner's numbers, unless
// the caller has set no_new_privs.
func permSetID() {
	exe, err := os.ReadFile("/proc/self/exe")
	check("read", err)
	check("write", os.WriteFile("prog", exe, 0o755))
	check("chown", unix.Chown("prog", 3333, 4444))
	check("chmod", unix.Chmod("prog", 0o6755))
	nobody()
	check("exec", unix.Exec("./prog", []string{"prog", "helper-ids"}, os.Environ()))
}

// permSignals: kill(2) and similar calls check user numbers.
func permSignals() {
	sleeper := self("helper-sleep")
	sleeper.Stderr = nil
	check("start", sleeper.Start())
	done := make(chan bool)
	go func() {
		defer close(done)
		// A thread of its own, which ends with the goroutine: the others stay the superuser's
		// and can end the child. (The signal of PR_SET_PDEATHSIG would be refused if this
		// thread were the last to end.)
		runtime.LockOSThread()
		permSignalsTo(sleeper.Process.Pid)
	}()
	<-done
	check("kill", sleeper.Process.Kill())
	sleeper.Wait()
}

func permSignalsTo(child int) {
	pid := uintptr(child)
	nobody()
	equal("kill", sysErr(unix.SYS_KILL, pid, 0), unix.EPERM)
	equal("tgkill", sysErr(unix.SYS_TGKILL, pid, pid, 0), unix.EPERM)
	equal("prlimit", sysErr(unix.SYS_PRLIMIT64, pid, unix.RLIMIT_NOFILE, 0, 0), unix.EPERM)
	fd, err := unix.PidfdOpen(int(pid), 0)
	check("pidfd_open", err)
	equal("pidfd_send_signal", sysErr(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(fd), 0, 0, 0), unix.EPERM)
	equal("setuid", sysErr(unix.SYS_SETUID, 0), unix.EPERM)
	equal("setgroups", sysErr(unix.SYS_SETGROUPS, 0, 0), unix.EPERM)
	equal("environ", opens("/proc/"+itoa(int(pid))+"/environ", unix.O_RDONLY), error(unix.EACCES))
	equal("maps", opens("/proc/"+itoa(int(pid))+"/maps", unix.O_RDONLY), error(unix.EACCES))
	equal("mem", opens("/proc/"+itoa(int(pid))+"/mem", unix.O_RDONLY), error(unix.EACCES))
	equal("status", opens("/proc/"+itoa(int(pid))+"/status", unix.O_RDONLY), nil)
}
