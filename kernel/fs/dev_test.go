package fs

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"grim/arch"
)

func TestDevices(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name     string
		major    uint32
		minor    uint32
		read     int
		writeErr error
	}{
		{"null", 1, 3, 0, nil},
		{"zero", 1, 5, 64, nil},
		{"full", 1, 7, 64, syscall.ENOSPC},
		{"random", 1, 8, 64, nil},
		{"urandom", 1, 9, 64, nil},
	} {
		f := w.open("/dev/"+c.name, unix.O_RDWR)
		if st := f.Stat(); st.Rdev != unix.Mkdev(c.major, c.minor) || st.Mode != syscall.S_IFCHR|0o666 {
			t.Errorf("%s: %+v", c.name, st)
		}
		buf := bytes.Repeat([]byte{0xaa}, 64)
		if n, err := f.Read(w.task, buf); n != c.read || err != nil {
			t.Errorf("%s: read %d, %v", c.name, n, err)
		}
		zero := bytes.Equal(buf[:c.read], make([]byte, c.read))
		if random := strings.HasSuffix(c.name, "random"); random == zero && c.read > 0 {
			t.Errorf("%s: read %x", c.name, buf)
		}
		_, err := f.Write(w.task, buf)
		want(t, c.name+": write", err, c.writeErr)
		f.Release()
	}
	must(t, w.Mknod(w.at, "/odd", syscall.S_IFCHR|0o600, unix.Mkdev(200, 1)))
	_, err := w.Open(w.at, "/odd", unix.O_RDWR, 0)
	want(t, "open of an unknown device", err, syscall.ENXIO)
}

// flatMemory is user memory that begins at address 0.
type flatMemory []byte

func (m flatMemory) CopyIn(dst []byte, src arch.VA) error {
	if uint64(src)+uint64(len(dst)) > uint64(len(m)) {
		return syscall.EFAULT
	}
	copy(dst, m[src:])
	return nil
}

func (m flatMemory) CopyOut(dst arch.VA, src []byte) error {
	if uint64(dst)+uint64(len(src)) > uint64(len(m)) {
		return syscall.EFAULT
	}
	copy(m[dst:], src)
	return nil
}

// ctl does an ioctl with a pointer to address 0 of mem.
func ctl(f *File, mem flatMemory, req uint32) error {
	_, err := f.Ioctl(newTask(), mem, req, 0)
	return err
}

func TestTTYCanonical(t *testing.T) {
	w := newWorld(t)
	f := w.open("/dev/console", unix.O_RDWR|unix.O_NONBLOCK)
	defer f.Release()
	type sent struct {
		pgid int
		sig  syscall.Signal
	}
	var sigs []sent
	w.cfg.Interrupt = func(pgid int, sig syscall.Signal) { sigs = append(sigs, sent{pgid, sig}) }
	buf := make([]byte, 100)
	read := func(want string, wantErr error) {
		t.Helper()
		n, err := f.Read(w.task, buf)
		if string(buf[:n]) != want || err != wantErr {
			t.Errorf("read %q, %v, want %q, %v", buf[:n], err, want, wantErr)
		}
	}
	w.TTY().Input([]byte("hel"))
	read("", syscall.EAGAIN)
	w.TTY().Input([]byte("p\x7flo\rx\x15two\n"))
	read("hello\n", nil)
	read("two\n", nil)
	if got := string(w.out); got != "help\b \blo\r\nx\b \btwo\r\n" {
		t.Errorf("echo %q", got)
	}
	w.TTY().Input([]byte("par\x04\x04\n"))
	n, _ := f.Read(w.task, buf[:2])
	if string(buf[:n]) != "pa" {
		t.Errorf("short read %q", buf[:n])
	}
	read("r", nil)
	read("", nil) // the second VEOF
	read("\n", nil)
	mem := flatMemory{9, 0, 0, 0}
	must(t, ctl(f, mem, unix.TIOCSPGRP))
	w.TTY().Input([]byte("lost\x03kept\n"))
	read("kept\n", nil)
	w.TTY().Input([]byte("a line that waits\n\x1c\x1a")) // the signals flush the line, without NOFLSH
	read("", syscall.EAGAIN)
	if len(sigs) != 3 || sigs[0] != (sent{9, syscall.SIGINT}) || sigs[1].sig != syscall.SIGQUIT || sigs[2].sig != syscall.SIGTSTP {
		t.Errorf("signals %v", sigs)
	}
	w.out = nil
	w.TTY().Input(bytes.Repeat([]byte("x"), 2*ttyBacklog))
	if !bytes.HasSuffix(w.out, []byte("x\a\a")) && !bytes.HasSuffix(w.out, []byte("\a\a")) {
		t.Error("a full line does not ring")
	}
	if got := len(w.TTY().line); got != ttyBacklog-1 {
		t.Errorf("%d bytes kept", got)
	}
	must(t, ctl(f, mem, unix.TCFLSH))
	w.TTY().Input([]byte("\n"))
	read("\n", nil)
}

func TestTTYSettings(t *testing.T) {
	w := newWorld(t)
	f := w.open("/dev/tty", unix.O_RDWR|unix.O_NONBLOCK)
	defer f.Release()
	mem := make(flatMemory, termiosSize)
	must(t, ctl(f, mem, unix.TCGETS))
	if lflag := binary.LittleEndian.Uint32(mem[12:]); lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != unix.ICANON|unix.ECHO|unix.ISIG {
		t.Errorf("c_lflag %#x", lflag)
	}
	if mem[17+unix.VINTR] != 3 || mem[17+unix.VMIN] != 1 {
		t.Errorf("c_cc % x", mem[17:])
	}
	w.TTY().Input([]byte("ab"))
	binary.LittleEndian.PutUint32(mem[4:], 0)  // c_oflag
	binary.LittleEndian.PutUint32(mem[12:], 0) // c_lflag: raw
	must(t, ctl(f, mem, unix.TCSETS))
	w.out = nil
	w.TTY().Input([]byte("c\x03"))
	buf := make([]byte, 10)
	if n, err := f.Read(w.task, buf); string(buf[:n]) != "ab"+"c\x03" || err != nil {
		t.Errorf("raw read %q, %v", buf[:n], err)
	}
	f.Write(w.task, []byte("x\n"))
	if string(w.out) != "x\n" {
		t.Errorf("raw output %q", w.out)
	}
	must(t, ctl(f, make(flatMemory, 8), unix.TIOCGWINSZ))
	want(t, "TCGETS into 8 bytes", ctl(f, make(flatMemory, 8), unix.TCGETS), syscall.EFAULT)
	want(t, "unknown ioctl", ctl(f, mem, 0x9999), syscall.ENOTTY)
	null := w.open("/dev/null", unix.O_RDWR)
	defer null.Release()
	want(t, "TCGETS of /dev/null", ctl(null, mem, unix.TCGETS), syscall.ENOTTY)
	must(t, ctl(null, flatMemory{1, 0, 0, 0}, fionbio))
	if null.Flags()&unix.O_NONBLOCK == 0 {
		t.Error("FIONBIO without effect")
	}
}

// oneSession is Jobs of a machine on which all processes are in one session.
type oneSession struct{ sid int }

func (j oneSession) SessionOf(int) int    { return j.sid }
func (j oneSession) GroupSession(int) int { return j.sid }
func (j oneSession) GroupOf(int) int      { return j.sid }

func (j oneSession) Background(Task, syscall.Signal) error { return nil }

// /dev/tty is the caller's controlling terminal, or ENXIO if it has none. The caller cannot
// see the groups of another session's terminal either.
func TestDevTTY(t *testing.T) {
	w := newWorld(t)
	w.cfg.Jobs = oneSession{7}
	f := w.open("/dev/console", unix.O_RDWR)
	defer f.Release()
	for _, sid := range []int{0, 8} { // of no session, of another session
		w.TTY().Control(sid, sid)
		_, err := w.Open(w.at, "/dev/tty", unix.O_RDWR, 0)
		want(t, "open of /dev/tty", err, syscall.ENXIO)
		for _, req := range []uint32{unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCGSID, unix.TIOCNOTTY} {
			want(t, "of another session", ctl(f, flatMemory{9, 0, 0, 0}, req), syscall.ENOTTY)
		}
	}
	w.TTY().Control(7, 7)
	w.open("/dev/tty", unix.O_RDWR).Release()
	must(t, ctl(f, make(flatMemory, 4), unix.TIOCGPGRP))
}

// slowOutput is a console with limited room.
type slowOutput struct {
	mu   sync.Mutex
	y    *TTY
	out  []byte
	held int
	size int
}

func (o *slowOutput) Write(p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held+len(p) > o.size {
		return false
	}
	o.held += len(p)
	o.out = append(o.out, p...)
	return true
}

func (o *slowOutput) Room() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size - o.held
}

func (o *slowOutput) Pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held
}

// drain empties the ring.
func (o *slowOutput) drain() {
	o.mu.Lock()
	o.held = 0
	o.mu.Unlock()
	o.y.Sent()
}

// If the console is full, writers sleep until a signal ends them, and the terminal is not
// ready. Writes of two threads are not mixed. tcdrain waits, and TIOCOUTQ counts.
func TestTTYSlowOutput(t *testing.T) { inBubble(t, testTTYSlowOutput) }

func testTTYSlowOutput(t *testing.T, w *world) {
	o := &slowOutput{y: w.TTY(), size: 1000}
	w.cfg.Console = o
	f := w.open("/dev/console", unix.O_RDWR)
	defer f.Release()
	long := bytes.Repeat([]byte("abcdefg\n"), 400)
	done := make(chan int)
	write := func(task Task) {
		n, err := f.Write(task, long)
		if err != nil && (err != syscall.EINTR || n != 0) {
			t.Error(n, err)
		}
		done <- n
	}
	first, second := newTask(), newTask()
	go write(first)
	synctest.Wait()
	if f.Readiness()&EPOLLOUT != 0 {
		t.Error("ready for output while a writer waits for room")
	}
	go write(second)
	second.interrupt <- struct{}{} // while it waits for its turn or for room
	_, err := f.Ioctl(w.task, make(flatMemory, 4), unix.TIOCOUTQ, 0)
	must(t, err)
	mem := make(flatMemory, 4)
	must(t, ctl(f, mem, unix.TIOCOUTQ))
	if n := int(binary.LittleEndian.Uint32(mem)); n < 700 || n > 1000 {
		t.Errorf("TIOCOUTQ: %d", n)
	}
	drained := make(chan error)
	go func() { _, err := f.Ioctl(newTask(), nil, unix.TCSBRK, 1); drained <- err }()
	total := 0
	for returned := 0; returned < 3; {
		select {
		case n := <-done:
			returned++
			total += n
		case err := <-drained:
			returned++
			must(t, err)
		case <-time.After(time.Millisecond):
			o.drain()
		}
	}
	o.drain()
	if got := bytes.Count(o.out, []byte("\r\n")); got < total/8 || total < len(long) {
		t.Errorf("%d lines out, %d bytes written", got, total)
	}
	f.SetFlags(unix.O_NONBLOCK)
	if n, err := f.Write(w.task, long); n == 0 || n == len(long) || err != nil {
		t.Errorf("a write that does not wait: %d, %v", n, err)
	}
	_, err = f.Write(w.task, long)
	want(t, "a write without room", err, syscall.EAGAIN)
}
