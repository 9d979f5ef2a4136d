package fs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPTY makes a pseudo-terminal and unlocks it.
func (w *world) openPTY(flags int) (master, slave *File) {
	w.t.Helper()
	master = w.open("/dev/ptmx", unix.O_RDWR|flags)
	must(w.t, ctl(master, make(flatMemory, 4), unix.TIOCSPTLCK))
	mem := make(flatMemory, 4)
	must(w.t, ctl(master, mem, unix.TIOCGPTN))
	return master, w.open(fmt.Sprint("/dev/pts/", binary.LittleEndian.Uint32(mem)), unix.O_RDWR|unix.O_NOCTTY|flags)
}

// settings changes the termios of a terminal.
func (w *world) settings(f *File, change func(t *termios)) {
	w.t.Helper()
	mem := make(flatMemory, termiosSize)
	must(w.t, ctl(f, mem, unix.TCGETS))
	var t termios
	t.decode(mem)
	change(&t)
	copy(mem, t.encode(termiosSize))
	must(w.t, ctl(f, mem, unix.TCSETS))
}

func (w *world) reads(f *File, want string, wantErr error) {
	w.t.Helper()
	buf := make([]byte, 8192)
	n, err := f.Read(w.task, buf)
	if string(buf[:n]) != want || err != wantErr {
		w.t.Errorf("read %q, %v; want %q, %v", buf[:n], err, want, wantErr)
	}
}

func (w *world) types(f *File, s string) {
	w.t.Helper()
	if n, err := f.Write(w.task, []byte(s)); n != len(s) || err != nil {
		w.t.Errorf("write of %q: %d, %v", s, n, err)
	}
}

// A pseudo-terminal is a pair of files (pty(7)). The slave is locked at first, and has a
// name while the master is open. Bytes written at one end arrive at the other, through the
// line discipline. The close of either end is seen at the other.
func TestPTY(t *testing.T) {
	w := newWorld(t)
	m := w.open("/dev/ptmx", unix.O_RDWR|unix.O_NONBLOCK)
	_, err := w.Open(w.at, "/dev/pts/0", unix.O_RDWR, 0)
	want(t, "a locked slave", err, syscall.EIO)
	must(t, ctl(m, make(flatMemory, 4), unix.TIOCSPTLCK))
	if st, err := w.Stat(w.at, "/dev/pts/0", 0); err != nil || st.Mode != syscall.S_IFCHR|0o620 || st.Rdev != unix.Mkdev(136, 0) || st.GID != 5 {
		t.Errorf("/dev/pts/0: %+v, %v", st, err)
	}
	w.reads(m, "", syscall.EAGAIN) // no process has opened the slave yet, so there is no end of file
	s := w.open("/dev/pts/0", unix.O_RDWR|unix.O_NONBLOCK)
	if p := s.Path(); p != "/dev/pts/0" {
		t.Errorf("its path is %q", p)
	}
	w.types(m, "hel\x7f\x7f\x7fhi\tyou\x17me\x16\x03\r")
	w.reads(s, "hi\tme\x03\n", nil)
	w.reads(m, "hel\b \b\b \b\b \bhi\tyou\b \b\b \b\b \bme^\b^C\r\n", nil)
	w.types(s, "out\n")
	w.reads(m, "out\r\n", nil)
	w.types(m, "end\x04\x04")
	w.reads(s, "end", nil)
	w.reads(s, "", nil)
	if r := m.Readiness(); r&(EPOLLOUT|EPOLLHUP) != EPOLLOUT {
		t.Errorf("the master is ready for %#x", r)
	}
	s2 := w.open("/dev/pts/0", unix.O_RDWR|unix.O_NONBLOCK)
	s.Release()
	w.reads(m, "end", nil)
	w.reads(m, "", syscall.EAGAIN)
	w.types(s2, "last")
	s2.Release()
	if r := m.Readiness(); r&(EPOLLIN|EPOLLHUP) != EPOLLIN|EPOLLHUP {
		t.Errorf("without a slave the master is ready for %#x", r)
	}
	w.reads(m, "last", nil)
	w.reads(m, "", syscall.EIO)
	peer, err := m.Peer(w.task, unix.O_RDWR|unix.O_NONBLOCK)
	must(t, err)
	w.reads(m, "", syscall.EAGAIN)
	m2 := w.open("/dev/ptmx", unix.O_RDWR)
	if names := strings.Join(w.names("/dev/pts"), " "); names != "0 1" {
		t.Errorf("/dev/pts has %s", names)
	}
	m2.Release()
	m.Release()
	if names := w.names("/dev/pts"); len(names) != 0 {
		t.Errorf("/dev/pts has %s", names)
	}
	w.reads(peer, "", nil) // hung up
	_, err = peer.Write(w.task, []byte("x"))
	want(t, "write to a slave without master", err, syscall.EIO)
	want(t, "TCGETS of it", ctl(peer, make(flatMemory, termiosSize), unix.TCGETS), syscall.EIO)
	if r := peer.Readiness(); r&(EPOLLIN|EPOLLHUP|EPOLLERR) != EPOLLIN|EPOLLHUP|EPOLLERR {
		t.Errorf("it is ready for %#x", r)
	}
	peer.Release()
	if len(w.ptys) != 2 || w.ptys[0] != nil || w.ptys[1] != nil {
		t.Errorf("pseudo-terminals are left: %v", w.ptys)
	}
}

// Reads of raw input wait as VMIN and VTIME say (termios(3)). The test fails if a read
// counts VTIME from the call where VMIN is not 0, and if poll ignores VMIN.
func TestTTYRaw(t *testing.T) { inBubble(t, testTTYRaw) }

func testTTYRaw(t *testing.T, w *world) {
	m, s := w.openPTY(0)
	defer m.Release()
	defer s.Release()
	mode := func(vmin, vtime byte) {
		w.settings(s, func(o *termios) {
			o.lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
			o.cc[unix.VMIN], o.cc[unix.VTIME] = vmin, vtime
		})
	}
	later := func(d time.Duration, text string) {
		time.AfterFunc(d, func() { w.types(m, text) })
	}
	took := func(want time.Duration, f func()) {
		t.Helper()
		start := time.Now()
		f()
		if d := time.Since(start); d.Round(time.Microsecond) != want {
			t.Errorf("took %v, want %v", d, want)
		}
	}
	mode(0, 0)
	w.reads(s, "", nil)
	mode(3, 0)
	later(30*time.Millisecond, "b\x03")
	w.types(m, "a")
	if s.Readiness()&EPOLLIN != 0 {
		t.Error("ready with one of three bytes")
	}
	took(30*time.Millisecond, func() { w.reads(s, "ab\x03", nil) })
	mode(0, 2)
	took(200*time.Millisecond, func() { w.reads(s, "", nil) })
	later(20*time.Millisecond, "x")
	w.reads(s, "x", nil)
	mode(5, 1)
	later(250*time.Millisecond, "yz") // the time runs only from the first byte on
	took(350*time.Millisecond, func() { w.reads(s, "yz", nil) })
	mode(1, 0)
	big := strings.Repeat("0123456789", 1000)
	go w.types(m, big) // waits for room
	for got := 0; got < len(big); {
		buf := make([]byte, 777)
		n, err := s.Read(w.task, buf)
		if err != nil || string(buf[:n]) != big[got:got+n] {
			t.Fatalf("at %d: %q, %v", got, buf[:n], err)
		}
		got += n
	}
}

// Output processing, ^S and ^Q, and packet mode.
func TestTTYOutput(t *testing.T) {
	w := newWorld(t)
	m, s := w.openPTY(unix.O_NONBLOCK)
	defer m.Release()
	defer s.Release()
	w.settings(s, func(o *termios) { o.oflag |= unix.XTABS | unix.OLCUC })
	w.types(s, "a\tb\n\té")
	w.reads(m, "A       B\r\n        é", nil)
	w.settings(s, func(o *termios) { o.oflag = unix.OPOST | unix.OCRNL | unix.ONOCR })
	w.types(s, "\rx\ry\n")
	w.reads(m, "\nx\ny\n", nil)
	must(t, ctl(m, flatMemory{1, 0, 0, 0}, unix.TIOCPKT))
	w.types(m, "\x13")
	w.reads(m, "\x04", nil) // TIOCPKT_STOP
	if s.Readiness()&EPOLLOUT != 0 {
		t.Error("ready for output after ^S")
	}
	_, err := s.Write(w.task, []byte("x"))
	want(t, "write after ^S", err, syscall.EAGAIN)
	w.types(m, "\x11")
	w.types(s, "x")
	w.reads(m, "\x08", nil) // TIOCPKT_START
	w.reads(m, "\x00x", nil)
}

// A leader that opens a terminal gets it for its session. Readers in the background, and
// with TOSTOP writers, get a signal. The close of the master and the end of the leader are
// signalled. The test fails if adopt does not look at other sessions, if check lets every
// group through, and if signals go to a group that has ended.
func TestPTYJobs(t *testing.T) {
	w := newWorld(t)
	jobs := &fakeJobs{sessions: map[int]int{10: 10, 11: 10, 20: 20}, groups: map[int]int{10: 10, 11: 10, 20: 20}, answer: syscall.EINTR}
	w.cfg.Jobs = jobs
	var told []string
	w.cfg.Interrupt = func(pgid int, sig syscall.Signal) { told = append(told, fmt.Sprintf("%d %v", pgid, sig)) }
	w.cfg.HangUp = func(sid int) { told = append(told, fmt.Sprintf("%d hung up", sid)) }
	saw := func(want ...string) {
		t.Helper()
		if strings.Join(told, ",") != strings.Join(want, ",") {
			t.Errorf("told %q, want %q", told, want)
		}
		told = nil
	}
	as := func(pid int) At {
		at := w.at
		at.Task = pidTask{w.task, pid}
		return at
	}
	m := w.open("/dev/ptmx", unix.O_RDWR|unix.O_NONBLOCK)
	must(t, ctl(m, make(flatMemory, 4), unix.TIOCSPTLCK))
	open := func(pid, flags int) *File {
		f, err := w.Open(as(pid), "/dev/pts/0", unix.O_RDWR|unix.O_NONBLOCK|flags, 0)
		must(t, err)
		return f
	}
	for _, f := range []*File{open(11, 0), open(10, unix.O_NOCTTY)} {
		f.Release()
	}
	if dev, _ := w.TerminalOf(10); dev != 0 {
		t.Errorf("session 10 has terminal %#x", dev)
	}
	s := open(10, 0)
	open(20, 0).Release() // taken
	if dev, pgid := w.TerminalOf(10); dev != int(unix.Mkdev(136, 0)) || pgid != 10 {
		t.Errorf("session 10 has terminal %#x, group %d", dev, pgid)
	}
	tty, err := w.Open(as(11), "/dev/tty", unix.O_RDWR|unix.O_NONBLOCK, 0)
	must(t, err)
	_, err = w.Open(as(20), "/dev/tty", unix.O_RDWR, 0)
	want(t, "/dev/tty of session 20", err, syscall.ENXIO)

	buf := make([]byte, 10)
	_, err = tty.Read(as(11).Task, buf)
	want(t, "read in the background", err, syscall.EINTR)
	_, err = tty.Ioctl(as(11).Task, flatMemory{11, 0, 0, 0}, unix.TIOCSPGRP, 0)
	want(t, "TIOCSPGRP in the background", err, syscall.EINTR)
	w.types(m, "\x03")
	saw("10 interrupt")
	if fmt.Sprint(jobs.front) != fmt.Sprint([]syscall.Signal{syscall.SIGTTIN, syscall.SIGTTOU}) {
		t.Errorf("signals in the background: %v", jobs.front)
	}
	jobs.answer = nil // the process ignores the signals
	_, err = tty.Read(as(11).Task, buf)
	want(t, "read without SIGTTIN", err, syscall.EIO)
	_, err = tty.Ioctl(as(11).Task, flatMemory{11, 0, 0, 0}, unix.TIOCSPGRP, 0)
	must(t, err)
	must(t, ctl(m, flatMemory{9, 0, 9, 0, 0, 0, 0, 0}, unix.TIOCSWINSZ))
	must(t, ctl(m, flatMemory{9, 0, 9, 0, 0, 0, 0, 0}, unix.TIOCSWINSZ))
	saw("11 window changed")
	mem := make(flatMemory, 4)
	must(t, ctl(m, mem, unix.TIOCGPGRP))
	if mem[0] != 11 {
		t.Errorf("the master says group %d", mem[0])
	}

	w.EndSession(10)
	saw("11 hangup")
	w.types(s, "x")
	s.Release()
	tty.Release()
	s = open(20, 0)
	jobs.groups[20] = 0 // the group has ended, and its number may belong to another group
	w.types(m, "\x03")
	saw()
	m.Release()
	saw("20 hung up")
	if dev, _ := w.TerminalOf(20); dev != 0 {
		t.Errorf("session 20 has terminal %#x", dev)
	}
	s.Release()
}

// When output is stopped and started on two CPUs, the last change of which the master in
// packet mode learns is the last change.
func TestTTYFlowOrder(t *testing.T) {
	w := newWorld(t)
	m, s := w.openPTY(unix.O_NONBLOCK)
	defer m.Release()
	defer s.Release()
	must(t, ctl(m, flatMemory{1, 0, 0, 0}, unix.TIOCPKT))
	p := m.h.(*ptyMaster).p
	for range 2000 {
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				for k := range 4 {
					p.slave.flow((i+k)%2 == 0)
				}
			})
		}
		wg.Wait()
		p.mu.Lock()
		told := p.changes
		p.mu.Unlock()
		if want := map[bool]byte{true: unix.TIOCPKT_STOP, false: unix.TIOCPKT_START}[p.slave.stopped]; told != 0 && told != want {
			t.Fatalf("the master was told %#x last; stopped is %v", told, p.slave.stopped)
		}
	}
}
