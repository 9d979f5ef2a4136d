// Command hog makes the kernel hold as many objects of one kind as it will, and checks that
// others can still work: `hog KIND`. The kernel's self-tests run it once for each kind. Its
// exit status is 0 if
//
//   - a user (not the superuser) took until the kernel refused, in as many processes
//     as the kind wants, and the refusal was an errno that Linux has for it;
//   - meanwhile another user and the superuser could fork, exec, make a thread, a
//     pipe, a file and a mapping;
//   - the hog and its processes ended when they were killed.
//
// It is for a Grim guest only, and does nothing on any other system.
package main

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/user/bare"
)

// kind is one way to make the kernel hold something.
type kind struct {
	name string
	// take makes the kernel hold a little more. It returns -errno if the kernel refuses.
	take func() int
	// procs is how many processes take, one after the other. 0: one.
	procs int
	// refusals are the errnos that Linux returns for it.
	refusals [4]syscall.Errno
	// killed: the kernel may also kill a process that takes, when memory is used up.
	killed bool
	// again: the processes continue taking while the others work.
	again bool
}

func main() {
	if bare.NumArgs() == 2 && bare.String(bare.Arg(1)) == "-list" {
		for i := range kinds {
			bare.Put(kinds[i].name)
			bare.Flush()
		}
		return
	}
	if !isGrim() {
		bare.Put("hog: this is not a Grim guest; it would take all memory of the machine")
		bare.Flush()
		bare.Exit(2)
	}
	if bare.NumArgs() != 2 {
		usage()
	}
	name := bare.String(bare.Arg(1))
	switch name { // after exec, see beNeighbour and takeArguments
	case "neighbour":
		bare.Exit(0)
	case "sleep":
		forever()
	}
	for i := range kinds {
		if kinds[i].name == name {
			run(&kinds[i])
			bare.Exit(0)
		}
	}
	usage()
}

func usage() {
	bare.Put("usage: hog KIND; hog -list shows the kinds")
	bare.Flush()
	bare.Exit(2)
}

// isGrim reports whether uname(2) names Grim.
func isGrim() bool {
	var u syscall.Utsname
	bare.Call(syscall.SYS_UNAME, uintptr(unsafe.Pointer(&u)))
	return u.Version[0] == 'g' && u.Version[1] == 'r' && u.Version[2] == 'i' && u.Version[3] == 'm' && u.Version[4] == 0
}

// report is in memory that all of the hog's processes share.
type report struct {
	taken   int64 // by all processes
	refused int64 // the last refusal, -errno
	procs   int64 // processes that were refused
	done    int64 // all processes have taken as much as they can
	chain   int64 // folders that takeDeep has made, one in the other
	ipc     int64 // objects of System V
	ipcs    [1 << 15]int32
}

// await waits until a child has raised the count. It returns false if the child has ended
// instead. The two share no pipe, as a byte in a pipe needs memory.
func await(pid int, count *int64, old int64) bool {
	const wnohang = 1
	millisecond := syscall.Timespec{Nsec: 1e6}
	for atomic.LoadInt64(count) == old {
		var status uint32
		if bare.Call(syscall.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)), wnohang, 0) == pid {
			return false
		}
		bare.Call(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&millisecond)), 0)
	}
	return true
}

var shared *report

// The users in a run.
const (
	hogUser       = 1000
	neighbourUser = 1001
)

func run(k *kind) {
	shared = (*report)(bare.SharedMemory(unsafe.Sizeof(report{}) + page))
	if shared == nil {
		bare.Fail("mmap of the report", "")
	}
	unlimit()
	hog = bare.Fork()
	if hog < 0 {
		bare.Fail("fork of the hog", "")
	}
	if hog == 0 {
		beHog(k)
	}
	if !await(hog, &shared.done, 0) && !k.killed {
		fail("the hog ended early", 0, 0)
	}
	check(k)
	rounds := 1
	if k.again {
		rounds = 10
	}
	for range rounds {
		neighbour(neighbourUser)
		neighbour(0)
	}
	end()
	bare.Put("hog: ")
	bare.Put(k.name)
	bare.PutField("taken", int(shared.taken))
	bare.PutField("processes", int(shared.procs))
	bare.PutField("errno", -int(shared.refused))
	bare.Flush()
}

// hog is the first of the hog's processes, and also the number of their group.
var hog int

// end kills the hog and removes its files.
func end() {
	bare.Call(syscall.SYS_KILL, uintptr(-hog), uintptr(syscall.SIGKILL))
	bare.Wait(hog)
	removeChain()
	removeFiles()
	removeIPC()
}

// fail ends the run. user is the user of the failed call, how its result.
func fail(what string, user, how int) {
	end()
	bare.Put("hog: ")
	bare.Put(what)
	bare.PutField("user", user)
	bare.PutField("gave", how)
	bare.Flush()
	bare.Exit(1)
}

// check checks the hog's report.
func check(k *kind) {
	if shared.procs == 0 && k.killed {
		return
	}
	for _, e := range k.refusals {
		if e != 0 && shared.refused == -int64(e) {
			if shared.taken == 0 {
				fail("nothing could be taken", hogUser, int(shared.refused))
			}
			return
		}
	}
	fail("refused with an errno that Linux has not for it", hogUser, int(shared.refused))
}

// unlimit raises the limits that would be reached before the kernel's own.
func unlimit() {
	for _, which := range [...]uintptr{syscall.RLIMIT_NOFILE, rlimitNPROC, rlimitSigpending} {
		l := syscall.Rlimit{Cur: 1 << 16, Max: 1 << 16}
		if which == rlimitNPROC {
			// Half of all numbers: with 8 GB there is memory for a thread of each number, and the
			// neighbour could not fork.
			l = syscall.Rlimit{Cur: 1 << 14, Max: 1 << 14}
		}
		if bare.Call(syscall.SYS_PRLIMIT64, 0, which, uintptr(unsafe.Pointer(&l)), 0) < 0 {
			bare.Fail("setrlimit", "")
		}
	}
}

// Of linux/resource.h, which package syscall lacks.
const (
	rlimitNPROC      = 6
	rlimitSigpending = 11
)

// beHog takes in k.procs processes, reports to the parent, and waits for the end.
func beHog(k *kind) {
	bare.Call(syscall.SYS_SETPGID, 0, 0)
	makeFolder()
	if bare.Call(syscall.SYS_SETUID, hogUser) < 0 {
		bare.Exit(3)
	}
	for i := 1; i < k.procs; i++ {
		before := shared.procs
		pid := bare.Fork()
		if pid == 0 {
			takeAll(k)
			goOn(k)
		}
		if pid > 0 {
			await(pid, &shared.procs, before)
		}
	}
	takeAll(k)
	atomic.StoreInt64(&shared.done, 1)
	goOn(k)
}

// goOn keeps the objects of a process, and takes more if the kind says so.
func goOn(k *kind) {
	for k.again {
		k.take()
	}
	forever()
}

// takeAll takes until it is refused.
func takeAll(k *kind) {
	for {
		if r := k.take(); r < 0 {
			shared.refused = int64(r)
			shared.procs++
			return
		}
		shared.taken++
	}
}

func forever() {
	for {
		bare.Call(sysPpoll, 0, 0, 0, 0)
	}
}

// neighbour does the things that an ordinary user does at any time.
func neighbour(uid int) {
	pid := bare.Fork()
	if pid < 0 {
		fail("fork", uid, pid)
	}
	if pid == 0 {
		bare.Exit(beNeighbour(uid))
	}
	if _, status := bare.Wait(pid); status != 0 {
		fail("a neighbour's work", uid, int(status))
	}
}

const hogPath = "/bin/hog\x00"

// beNeighbour returns an exit status that tells which step failed.
func beNeighbour(uid int) int {
	if uid != 0 && bare.Call(syscall.SYS_SETUID, uintptr(uid)) < 0 {
		return 11
	}
	p := bare.Anon(16 * page)
	if p == nil {
		return 12
	}
	bare.Touch(p, 16*page, page)
	r, w, err := bare.Pipe()
	if err < 0 {
		return 13
	}
	var b [4096]byte
	if bare.Write(w, b[:]) != len(b) || bare.Read(r, b[:]) != len(b) {
		return 14
	}
	if ret, _, _ := bare.Thread(); ret < 0 {
		return 15
	}
	const name = "/tmp/neighbour\x00"
	fd := bare.Open(name, syscall.O_RDWR|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if fd < 0 {
		return 16
	}
	n := bare.Write(fd, b[:])
	bare.Unlink(name)
	if n != len(b) {
		return 17
	}
	pid := bare.Fork()
	if pid < 0 {
		return 18
	}
	if pid == 0 {
		argv := [3]*byte{bare.CString(hogPath), bare.CString("neighbour\x00"), nil}
		bare.Call(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(argv[0])), uintptr(unsafe.Pointer(&argv)), 0)
		bare.Exit(19)
	}
	if _, status := bare.Wait(pid); status != 0 {
		return 20
	}
	return 0
}
