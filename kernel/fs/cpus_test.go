package fs

import (
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/charge"
	"grim/proc/cred"
)

// Tests of state that was safe only as long as one CPU ran: a check, and what follows from it,
// with another CPU in between.

// userTask is a task of a user without privileges.
type userTask struct {
	*testTask
	cred cred.Cred
}

func (t *userTask) Cred() *cred.Cred { return &t.cred }

func newUserTask(uid uint32) *userTask {
	t := &userTask{testTask: newTask()}
	t.cred.UID, t.cred.EUID, t.cred.SUID, t.cred.FSUID = uid, uid, uid, uid
	t.cred.GID, t.cred.EGID, t.cred.SGID, t.cred.FSGID = uid, uid, uid, uid
	return t
}

// Root gives a user's file to itself, which takes two steps: the owner, and the end of
// set-user-ID. In between the user makes it set-user-ID, and runs it. Both wait for the
// second step: the user is not the owner any more, and the program does not run as root.
// Broken by: changeNode without attrMu; ProgramIDs without it.
func TestOwnerAndModeTogether(t *testing.T) {
	w := newWorld(t)
	w.put("/f", "x")
	must(t, w.Chmod(w.at, "/f", 0o4755, 0))
	must(t, w.Chown(w.at, "/f", 1000, 1000, 0))
	must(t, w.Chmod(w.at, "/f", 0o4755, 0))
	f := w.open("/f", unix.O_RDONLY)
	defer f.Release()
	i := f.node.base()
	user := At{Task: newUserTask(1000), Place: w.NewPlace()}
	var mode, owner uint32
	var err error
	var wg sync.WaitGroup
	i.attrMu.Lock()
	wg.Go(func() { err = w.Chmod(user, "/f", 0o4755, 0) })
	wg.Go(func() { mode, owner, _ = f.ProgramIDs() })
	time.Sleep(20 * time.Millisecond)
	i.uid.Store(0)
	i.dropIDs()
	i.attrMu.Unlock()
	wg.Wait()
	want(t, "chmod", err, syscall.EPERM)
	if owner != 0 || mode&syscall.S_ISUID != 0 {
		t.Errorf("the program has owner %d and mode %o", owner, mode)
	}
	if mode := f.Stat().Mode; mode&syscall.S_ISUID != 0 {
		t.Errorf("root's file has mode %o", mode)
	}
}

// What a user has written into another user's file is not set-user-ID, even if the owner
// makes the file set-user-ID during the write. Broken by: regHandle.write that calls written
// before it writes.
func TestWriteDropsIDs(t *testing.T) {
	w := newWorld(t)
	var during func()
	plain := w.cfg.NewPages
	w.cfg.NewPages = func(name string, payer *charge.User) (Pages, error) {
		p, err := plain(name, payer)
		return &writtenPages{p, &during}, err
	}
	w.put("/f", "x")
	must(t, w.Chmod(w.at, "/f", 0o777, 0))
	user := newUserTask(1000)
	f, err := w.Open(At{Task: user, Place: w.NewPlace()}, "/f", unix.O_WRONLY, 0)
	must(t, err)
	defer f.Release()
	during = func() { must(t, w.Chmod(w.at, "/f", 0o4777, 0)) }
	if n, err := f.Write(user, []byte("y")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if mode := f.Stat().Mode; mode&syscall.S_ISUID != 0 {
		t.Errorf("mode %o after the write", mode)
	}
}

// writtenPages does something while its data are written.
type writtenPages struct {
	Pages
	during *func()
}

func (p *writtenPages) WriteAt(b []byte, off int64) (int, error) {
	if *p.during != nil {
		(*p.during)()
	}
	return p.Pages.WriteAt(b, off)
}

// intMemory is user memory with an int at every address.
type intMemory int32

func (m intMemory) CopyIn(p []byte, _ arch.VA) error {
	binary.LittleEndian.PutUint32(p, uint32(m))
	return nil
}
func (m intMemory) CopyOut(arch.VA, []byte) error { return nil }

// Two threads change different flags of a description with ioctl(2): both changes stay, and
// the file is on its queue for O_ASYNC exactly while it has the flag. Broken by: Ioctl that
// reads the flags and then sets them all, SetFlags without watchMu.
func TestFlagsTogether(t *testing.T) {
	w := newWorld(t)
	r, other, err := w.Pipe(w.task, 0)
	must(t, err)
	defer r.Release()
	defer other.Release()
	for turn := range 20_000 {
		on := turn & 1
		var wg sync.WaitGroup
		for _, req := range []uint32{fionbio, fioasync} {
			wg.Go(func() {
				if _, err := r.Ioctl(w.task, intMemory(on), req, 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		want := 0
		if on == 1 {
			want = unix.O_NONBLOCK | unix.O_ASYNC
		}
		if f := r.Flags() & (unix.O_NONBLOCK | unix.O_ASYNC); f != want {
			t.Fatalf("turn %d: flags %#x, want %#x", turn, f, want)
		}
		if a := r.async.Load(); a != nil && (a.w.queue != nil) != (on == 1) {
			t.Fatalf("turn %d: O_ASYNC is %d, and the file is queued: %v", turn, on, a.w.queue != nil)
		}
	}
	r.SetFlags(0)
}

// While a thread looks for a free number another one closes a lower one. The next descriptor
// gets that number. Broken by: install that goes on from where it was.
func TestCloseDuringInstall(t *testing.T) {
	w := newWorld(t)
	f := w.open("/dev/null", unix.O_RDONLY)
	d := NewFDTable(2000, w.task.payer)
	const many = 3 * scanTurn
	for range many {
		sure(d.Install(f.Ref(), 0, false))
	}
	must(t, d.Close(5))
	sure(d.Install(f.Ref(), 0, false)) // the hint is 6 now: all above must be looked at
	closed := false
	d.GiveWay(func() {
		if !closed {
			closed = true
			must(t, d.Close(3))
		}
	})
	first, second := sure(d.Install(f.Ref(), 0, false)), sure(d.Install(f.Ref(), 0, false))
	if !closed || first != 3 || second != many {
		t.Errorf("closed %v; the new descriptors are %d and %d, want 3 and %d", closed, first, second, many)
	}
	d.CloseAll()
	f.Release()
}

// A descriptor of a large table is closed, and opened again, while a fork copies the table.
// The child lacks it; so it is the first number that the child gets. Broken by: Fork that
// does not look at the empty slots.
func TestCloseDuringFork(t *testing.T) {
	w := newWorld(t)
	f := w.open("/dev/null", unix.O_RDONLY)
	d := NewFDTable(2000, w.task.payer)
	for range chunkSlots + 4*forkTurn {
		sure(d.Install(f.Ref(), 0, false))
	}
	const missed = chunkSlots + forkTurn + 5 // copied in the second turn
	turns := 0
	d.GiveWay(func() {
		switch turns++; turns {
		case 1:
			must(t, d.Close(missed))
		case 2:
			sure(d.Install(f.Ref(), 0, false))
		}
	})
	c := d.Fork(new(FDTable), w.task.payer)
	if _, err := c.Get(missed); err == nil || turns < 2 {
		t.Fatalf("the descriptor was copied, in %d turns: they have changed", turns)
	}
	if fd := sure(c.Install(f.Ref(), 0, false)); fd != missed {
		t.Errorf("the child's first descriptor is %d, want %d", fd, missed)
	}
	c.CloseAll()
	d.CloseAll()
	f.Release()
}

// A walk has found the node of a pseudo-terminal. Before it is opened the pseudo-terminal
// ends, and another one gets its number: the open fails. Broken by: slaveOf without the
// comparison of nodes.
func TestPTYNumberAgain(t *testing.T) {
	w := newWorld(t)
	m, s := w.openPTY(0)
	s.Release()
	found, err := w.walk(w.at, "/dev/pts/"+strconv.Itoa(m.h.(*ptyMaster).p.n), follow)
	must(t, err)
	if !hold(found.node) {
		t.Fatal("no node")
	}
	m.Release()
	m2, s2 := w.openPTY(0)
	defer m2.Release()
	defer s2.Release()
	if m2.h.(*ptyMaster).p.slave.dev != found.node.base().rdev {
		t.Fatal("another number")
	}
	h, err := found.node.open(call{task: w.task}, unix.O_RDWR)
	if err != syscall.EIO {
		t.Errorf("open of the old node: %v", err)
	}
	if err == nil {
		h.close()
	}
	unhold(found.node)
}

// The slave of a pseudo-terminal is opened while its master is closed. If the open succeeds,
// the file is hung up. Broken by: TTY.open that reads hangups behind openSlave.
func TestPTYOpenedDuringHangUp(t *testing.T) {
	w := newWorld(t)
	w.cfg.Jobs = &fakeJobs{sessions: map[int]int{10: 10}, groups: map[int]int{10: 10}}
	m := w.open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	p := m.h.(*ptyMaster).p
	p.locked = false
	// The task's number is asked for when the file has been counted.
	h, err := p.slave.open(call{task: hookTask{pidTask{w.task, 10}, m.Release}}, unix.O_RDWR, true)
	must(t, err)
	if !h.(*ttyHandle).dead() {
		t.Error("the slave was opened, and has not been hung up")
	}
	h.close()
}

// hookTask is a task that does something when it is asked for its number.
type hookTask struct {
	pidTask
	do func()
}

func (t hookTask) IDs() (int, int) {
	t.do()
	return t.pidTask.IDs()
}

// The last file of the slave of a pseudo-terminal is closed. Before its session loses the
// terminal, the leader of a session opens the slave, which becomes its terminal. The session
// keeps it. Broken by: unused that does not count the open files again.
func TestPTYOpenedAgain(t *testing.T) {
	w := newWorld(t)
	w.cfg.Jobs = &fakeJobs{sessions: map[int]int{10: 10}, groups: map[int]int{10: 10}}
	m := w.open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	p := m.h.(*ptyMaster).p
	p.locked = false
	open := func() handle { return sure(p.slave.open(call{task: w.task}, unix.O_RDWR|unix.O_NOCTTY, false)) }
	old := open()
	var wg sync.WaitGroup
	w.jobMu.Lock()
	wg.Go(old.close)
	for closed := false; !closed; {
		p.mu.Lock()
		closed = p.opens == 0
		p.mu.Unlock()
	}
	again := open()
	p.slave.giveLocked(10, 10)
	w.jobMu.Unlock()
	wg.Wait()
	if dev, _ := w.TerminalOf(10); dev != int(p.slave.dev) {
		t.Error("the session has lost the terminal that it has open")
	}
	again.close()
	m.Release()
}

// A file without a name keeps its one chance for a name if another thread has just taken the
// name. Broken by: Link that calls linkable before it looks at the name.
func TestLinkUnnamedTaken(t *testing.T) {
	w := newWorld(t)
	f := w.open("/", unix.O_TMPFILE|unix.O_RDWR)
	defer f.Release()
	from := At{Task: w.task, Place: w.at.Place, Dir: f}
	to := At{Task: payTask{w.task, func() { w.put("/taken", "x") }}, Place: w.at.Place}
	want(t, "link to a taken name", w.Link(from, "", to, "/taken", unix.AT_EMPTY_PATH), syscall.EEXIST)
	want(t, "link", w.Link(from, "", w.at, "/free", unix.AT_EMPTY_PATH), nil)
}

// payTask is a task that does something when it is asked who pays.
type payTask struct {
	*testTask
	do func()
}

func (t payTask) Payer() *charge.User {
	t.do()
	return t.payer
}

// renamer is a thread that has done something just before it is asked for its credentials.
type renamer struct {
	*userTask
	before func()
}

func (r *renamer) Cred() *cred.Cred {
	if r.before != nil {
		r.before()
	}
	return r.userTask.Cred()
}

// While files are renamed over a name, there is a file with that name at all times. Broken by
// an open that returns ENOENT if the file that its walk has found is gone, as another thread
// has renamed a file over it.
func TestOpenDuringRename(t *testing.T) {
	w := newWorld(t)
	w.put("/f", "0")
	w.put("/new", "1")
	calls := 0
	r := &renamer{userTask: newUserTask(0)}
	r.before = func() {
		if calls++; calls == 2 { // the walk has found the old file, and its mode is looked at
			must(t, w.Rename(w.at, "/new", w.at, "/f", 0))
		}
	}
	f, err := w.Open(At{Task: r, Place: w.at.Place}, "/f", unix.O_RDONLY, 0)
	must(t, err)
	if got := w.readAll(f); got != "1" {
		t.Errorf("the file holds %q", got)
	}
	f.Release()

	// The other calls that take a reference at the end of their walk.
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	wg.Go(func() {
		for !stop.Load() {
			w.put("/new", "1")
			must(t, w.Chmod(w.at, "/new", 0o755, 0))
			must(t, w.Rename(w.at, "/new", w.at, "/f", 0))
		}
	})
	for range 3000 {
		for what, open := range map[string]func() (*File, error){
			"open":   func() (*File, error) { return w.Open(w.at, "/f", unix.O_RDONLY, 0) },
			"O_PATH": func() (*File, error) { return w.Open(w.at, "/f", unix.O_PATH, 0) },
			"exec":   func() (*File, error) { return w.OpenExec(w.at, "/f", 0) },
		} {
			f, err := open()
			switch err {
			case nil:
				f.Release()
			case syscall.EACCES, syscall.ETXTBSY: // of a file before its chmod, or being written
			default:
				t.Fatalf("%s: %v", what, err)
			}
		}
		if err := w.Truncate(w.at, "/f", 1); err != nil && err != syscall.ETXTBSY {
			t.Fatalf("truncate: %v", err)
		}
	}
}

// askedTask is a user's task. The second time that its credentials are looked at, after a walk
// has found a file, something else happens first.
type askedTask struct {
	*userTask
	asked int
	then  func()
}

func (t *askedTask) Cred() *cred.Cred {
	if t.asked++; t.asked == 2 {
		t.then()
	}
	return t.userTask.Cred()
}

// In a sticky directory a user removes names of its own files only, also if a file of somebody
// else gets the name while unlink(2) is on its way. Broken by: Unlink that checks what its walk
// has found, and not what has the name when it is removed.
func TestUnlinkOthersFile(t *testing.T) {
	w := newWorld(t)
	must(t, w.Mkdir(w.at, "/s", 0o777))
	must(t, w.Chmod(w.at, "/s", 0o1777, 0))
	user := At{Task: newUserTask(1000), Place: w.NewPlace()}
	f, err := w.Open(user, "/s/x", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600)
	must(t, err)
	f.Release()
	task := &askedTask{userTask: newUserTask(1000), then: func() {
		must(t, w.Unlink(user, "/s/x", 0))
		w.put("/s/x", "root's")
	}}
	want(t, "unlink", w.Unlink(At{Task: task, Place: w.NewPlace()}, "/s/x", 0), syscall.EPERM)
	if task.asked < 2 || w.get("/s/x") != "root's" {
		t.Errorf("asked %d times; root's file has %q", task.asked, w.get("/s/x"))
	}
	w.removeAll("/s")
}
