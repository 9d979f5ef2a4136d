package fs

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/charge"
	"grim/mm/vm"
)

// fakeProcs has processes 7 (the caller) and 9 (a zombie).
type fakeProcs struct{ self ProcInfo }

func (p *fakeProcs) NextPID(after int) int {
	switch {
	case after < 7:
		return 7
	case after < 9:
		return 9
	}
	return 0
}

func (p *fakeProcs) Process(pid int) (ProcInfo, bool) {
	switch {
	case pid == 7 && p.self.PID == 7:
		return p.self, true
	case pid == 9:
		return ProcInfo{TID: 9, PID: 9, PPID: 7, Name: "dead", State: 'Z', Status: 256}, true
	}
	return ProcInfo{}, false
}

func (p *fakeProcs) Thread(pid, tid int) (ProcInfo, bool) {
	i, ok := p.Process(pid)
	if i.TID = tid; tid == 8 {
		i.State = 'S'
	}
	return i, ok
}

func newProcWorld(t *testing.T) (*world, *fakeProcs) {
	p := &fakeProcs{}
	w := newWorldOf(t, 1024, p)
	p.self = ProcInfo{
		TID: 7, PID: 7, PPID: 1, PGID: 7, SID: 1, Threads: []int{7, 8}, Name: "a b", State: 'R',
		Args: []byte("a b\x00-x\x00"), Auxv: func() []byte { return []byte("auxv") }, Place: w.at.Place,
		Files: NewFDTable(100, charge.Unlimited().Kernel()),
		Mem:   vm.Stats{VSize: 8 << 20, RSS: 4 << 20, PeakRSS: 5 << 20},
		UTime: 1234e7, Start: 5e9, Pending: 1 << 8,
		Maps: func(from arch.VA, n int) (l []vm.EntryInfo) {
			for _, e := range []vm.EntryInfo{
				{Start: 0x400000, End: 0x401000, Prot: arch.Read | arch.Exec, Name: "/bin/x", Inode: 77, Off: 0x1000},
				{Start: 0x7ffff0000000, End: 0x7ffff0002000, Prot: arch.Read | arch.Write, Shared: true},
			} {
				if e.End > from && len(l) < n {
					l = append(l, e)
				}
			}
			return l
		},
	}
	return w, p
}

func TestProcTexts(t *testing.T) {
	w, p := newProcWorld(t)
	defer p.self.Files.CloseAll()
	wantMaps := "00400000-00401000 r-xp 00001000 00:01 77 " + strings.Repeat(" ", 73-41) + "/bin/x\n" +
		"7ffff0000000-7ffff0002000 rw-s 00000000 00:00 0 \n"
	if got := w.get("/proc/self/maps"); got != wantMaps {
		t.Errorf("maps:\n%s", got)
	}
	if got := w.get("/proc/thread-self/cmdline"); got != "a b\x00-x\x00" {
		t.Errorf("cmdline %q", got)
	}
	if got := w.get("/proc/self/auxv"); got != "auxv" {
		t.Errorf("auxv %q", got)
	}
	stat := w.get("/proc/7/stat")
	fields := strings.Fields(stat[strings.LastIndex(stat, ")"):])
	if !strings.HasPrefix(stat, "7 (a b) R 1 7 1 ") || len(fields) != 51 {
		t.Errorf("stat has %d fields after the name: %q", len(fields), stat)
	}
	for i, v := range map[int]string{14: "1234", 20: "2", 22: "500", 23: "8388608", 24: "1024", 31: "256", 52: "0"} {
		if fields[i-2] != v {
			t.Errorf("stat field %d is %s, want %s", i, fields[i-2], v)
		}
	}
	if got := w.get("/proc/9/stat"); !strings.HasSuffix(got, " 256\n") {
		t.Errorf("a zombie's stat: %q", got)
	}
	status := w.get("/proc/self/status")
	for _, line := range []string{"Name:\ta b\n", "State:\tR (running)\n", "Threads:\t2\n", "VmRSS:\t    4096 kB\n", "VmHWM:\t    5120 kB\n"} {
		if !strings.Contains(status, line) {
			t.Errorf("no %q in status:\n%s", line, status)
		}
	}
	if got := w.get("/proc/9/status"); strings.Contains(got, "Vm") {
		t.Errorf("a zombie has memory:\n%s", got)
	}
	if got := w.get("/proc/self/statm"); got != "2048 1024 0 0 0 0 0\n" {
		t.Errorf("statm %q", got)
	}
	if got := w.get("/proc/meminfo"); !strings.HasPrefix(got, "MemTotal:  "+fmt.Sprintf("%14d kB\n", 4096)) {
		t.Errorf("meminfo %q", got)
	}
	w.ProcFile("sys/kernel/x/y", func() []byte { return []byte("deep") })
	if got := w.get("/proc/sys/kernel/x/y"); got != "deep" {
		t.Errorf("ProcFile %q", got)
	}
}

// A text is made again when it is read from its start. For a process that has ended, that
// is ESRCH.
func TestProcReread(t *testing.T) {
	w, p := newProcWorld(t)
	p.self.Files.CloseAll()
	f := w.open("/proc/self/cmdline", unix.O_RDONLY)
	defer f.Release()
	buf := make([]byte, 2)
	f.Read(w.task, buf)
	p.self.Args = []byte("changed\x00")
	if got := w.readAll(f); got != "b\x00-x\x00" {
		t.Errorf("the rest is %q", got)
	}
	f.Seek(0, unix.SEEK_SET)
	if got := w.readAll(f); got != "changed\x00" {
		t.Errorf("from the start: %q", got)
	}
	p.self.PID = 0
	_, err := f.Pread(w.task, buf, 0)
	want(t, "read of a gone process", err, syscall.ESRCH)
	_, err = w.Open(w.at, "/proc/7", unix.O_RDONLY, 0)
	want(t, "open of a gone process", err, syscall.ENOENT)
}

func TestProcLinks(t *testing.T) {
	w, p := newProcWorld(t)
	files := p.self.Files
	w.put("/exe", "#!")
	p.self.Exe = w.open("/exe", unix.O_RDONLY)
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	files.Install(r, 0, false)
	files.Install(wr, 5, false)
	files.Install(w.open("/exe", unix.O_RDWR), 0, false)

	read := func(path string) string {
		s, err := w.Readlink(w.at, path)
		if err != nil {
			t.Errorf("readlink %s: %v", path, err)
		}
		return s
	}
	for path, want := range map[string]string{
		"/proc/self": "7", "/proc/thread-self": "7/task/8", "/proc/self/exe": "/exe",
		"/proc/self/cwd": "/", "/proc/self/fd/1": "/exe", "/dev/stdin": "/proc/self/fd/0",
	} {
		if got := read(path); got != want {
			t.Errorf("%s -> %q, want %q", path, got, want)
		}
	}
	if got := read("/proc/self/fd/0"); !strings.HasPrefix(got, "pipe:[") {
		t.Errorf("fd/0 -> %q", got)
	}
	if got := w.names("/proc/self/fd"); !slices.Equal(got, []string{"0", "1", "5"}) {
		t.Errorf("fd: %v", got)
	}
	// The links lead to the files themselves, not to other files of the same names.
	must(t, w.Unlink(w.at, "/exe", 0))
	w.put("/exe", "impostor")
	if got := read("/proc/self/exe"); got != "/exe (deleted)" {
		t.Errorf("exe -> %q", got)
	}
	if got := w.get("/proc/self/exe"); got != "#!" {
		t.Errorf("exe reads %q", got)
	}
	st, err := w.Stat(w.at, "/proc/self/fd/1", 0)
	if err != nil || st.Size != 2 || st.Nlink != 0 {
		t.Errorf("stat of fd/1: %+v, %v", st, err)
	}
	w2 := w.open("/proc/self/fd/5", unix.O_WRONLY) // another writing end
	w2.Write(w.task, []byte("hi"))
	w2.Release()
	buf := make([]byte, 4)
	if n, err := r.Read(w.task, buf); n != 2 || err != nil {
		t.Errorf("read through a reopened pipe: %d, %v", n, err)
	}
	_, err = w.Open(w.at, "/proc/self/fd/4", unix.O_RDONLY, 0)
	want(t, "open of a closed descriptor", err, syscall.ENOENT)
	p.self.Exe.Release()
	p.self.Exe = nil
	_, err = w.Readlink(w.at, "/proc/self/exe")
	want(t, "exe of a kernel task", err, syscall.ENOENT)
	files.CloseAll()
}

func TestProcTree(t *testing.T) {
	w, p := newProcWorld(t)
	p.self.Files.CloseAll()
	names := w.names("/proc")
	for _, name := range []string{"meminfo", "self", "sys", "7", "9"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s in /proc: %v", name, names)
		}
	}
	if got := w.names("/proc/self/task"); !slices.Equal(got, []string{"7", "8"}) {
		t.Errorf("task: %v", got)
	}
	must(t, w.Chdir(w.at, "/proc/self/task"))
	if got, err := w.at.Place.Getcwd(); got != "/proc/7/task" || err != nil {
		t.Errorf("getcwd %q, %v", got, err)
	}
	must(t, w.Chdir(w.at, "../../.."))
	if got, _ := w.at.Place.Getcwd(); got != "/" {
		t.Errorf("getcwd %q", got)
	}
	a, _ := w.Stat(w.at, "/proc/7/maps", 0)
	b, _ := w.Stat(w.at, "/proc/7/maps", 0)
	c, _ := w.Stat(w.at, "/proc/9/maps", 0)
	if a.Ino != b.Ino || a.Ino == c.Ino {
		t.Errorf("inode numbers %d %d %d", a.Ino, b.Ino, c.Ino)
	}
	w.put("/f", "")
	for what, err := range map[string]error{
		"unlink": w.Unlink(w.at, "/proc/7/maps", 0),
		"chmod":  w.Chmod(w.at, "/proc/7/maps", 0, 0),
		"rename": w.Rename(w.at, "/proc/7/maps", w.at, "/proc/x", 0),
	} {
		want(t, what, err, syscall.EPERM)
	}
	for what, err := range map[string]error{
		"mkdir":      w.Mkdir(w.at, "/proc/x", 0o755),
		"link":       w.Link(w.at, "/f", w.at, "/proc/x", 0),
		"symlink in": w.Symlink("x", w.at, "/proc/x"),
	} {
		want(t, what, err, syscall.ENOENT)
	}
	want(t, "rmdir /proc", w.Unlink(w.at, "/proc", unix.AT_REMOVEDIR), syscall.EBUSY)
	want(t, "rename /proc", w.Rename(w.at, "/proc", w.at, "/x", 0), syscall.EBUSY)
	want(t, "rename into /proc", w.Rename(w.at, "/f", w.at, "/proc/x", 0), syscall.EXDEV)
	want(t, "link out of /proc", w.Link(w.at, "/proc/7/maps", w.at, "/x", 0), syscall.EXDEV)
	f := w.open("/proc/7/stat", unix.O_RDWR) // root may
	_, err := f.Write(w.task, []byte("x"))
	want(t, "write", err, syscall.EIO)
	f.Release()
	for _, path := range []string{"/proc/07", "/proc/-7", "/proc/8", "/proc/7/nothing", "/proc/7/fd/x"} {
		_, err := w.Stat(w.at, path, 0)
		want(t, path, err, syscall.ENOENT)
	}
}

// A setting shows its value, takes a new value with or without a newline, and returns the
// error of a bad value.
func TestProcSetting(t *testing.T) {
	w, p := newProcWorld(t)
	defer p.self.Files.CloseAll()
	p.self.Settings = []ProcSetting{{Name: "knob", Value: "on", Set: func(_ Task, v string) error {
		if v != "on" && v != "off" {
			return syscall.EINVAL
		}
		p.self.Settings[0].Value = v
		return nil
	}}}
	if got := w.get("/proc/self/knob"); got != "on\n" {
		t.Errorf("value %q", got)
	}
	f := w.open("/proc/self/knob", unix.O_WRONLY|unix.O_TRUNC|unix.O_CREAT)
	defer f.Release()
	if _, err := f.Write(w.at.Task, []byte("off\n")); err != nil || p.self.Settings[0].Value != "off" {
		t.Errorf("write: %v, value %q", err, p.self.Settings[0].Value)
	}
	if _, err := f.Write(w.at.Task, []byte("maybe")); err != syscall.EINVAL {
		t.Errorf("write of a bad value: %v, want EINVAL", err)
	}
}

// Sets of CPUs are shown as Linux shows them.
func TestSetText(t *testing.T) {
	for set, want := range map[uint64]string{0: "", 1: "0", 3: "0-1", 0xf: "0-3", 5: "0,2", 0xb7: "0-2,4-5,7", 1 << 63: "63", ^uint64(0): "0-63"} {
		if got := setText(set); got != want {
			t.Errorf("%#x: %q, want %q", set, got, want)
		}
	}
}

// A file of /proc/PID that shows memory is one of the address space that the process had at
// the open. The other private files are checked at each read: after the open the process may
// have executed a set-user-ID program. And a file of /proc/PID is of one process: another one
// may have its number by now.
//
// Broken by files that are checked at the open only, by links of fd that are not checked, and
// by entries that know nothing of their process but its number.
func TestProcChanges(t *testing.T) {
	w, p := newProcWorld(t)
	defer p.self.Files.CloseAll()
	p.self.Files.Install(w.open("/", unix.O_RDONLY), 0, false)
	var denied error
	p.self.Space, p.self.Env = 1, []byte("A=1\x00")
	p.self.MayTrace = func(Task) (uint64, error) { return p.self.Space, denied }
	files := map[string]*File{}
	for _, name := range []string{"auxv", "environ", "maps", "io", "stat", "fdinfo/0", "fd"} {
		f := w.open("/proc/7/"+name, unix.O_RDONLY)
		defer f.Release()
		files[name] = f
	}
	at := w.at
	at.Dir = files["fd"]
	if _, err := w.Readlink(at, "0"); err != nil {
		t.Errorf("fd/0: %v", err)
	}
	read := func(name string) (int, error) { return files[name].Pread(w.task, make([]byte, 4), 0) }
	for name := range files {
		if name == "fd" {
			continue
		}
		if n, err := read(name); n != 4 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	p.self.Space, denied = 2, syscall.EACCES
	for _, name := range []string{"auxv", "environ", "maps"} {
		if n, err := read(name); n != 0 || err != nil {
			t.Errorf("%s of another program: %d, %v, want nothing", name, n, err)
		}
	}
	for _, name := range []string{"io", "fdinfo/0"} {
		_, err := read(name)
		want(t, name, err, syscall.EACCES)
	}
	_, err := w.Readlink(at, "0")
	want(t, "readlink of fd/0", err, syscall.EACCES)
	_, err = w.Open(at, "0", unix.O_RDONLY, 0)
	want(t, "open of fd/0", err, syscall.EACCES)
	denied = nil
	p.self.Space = 1
	p.self.Start++
	for _, name := range []string{"auxv", "environ", "maps", "io", "stat", "fdinfo/0"} {
		_, err := read(name)
		want(t, name+" of another process with the number", err, syscall.ESRCH)
	}
	_, err = w.Readlink(at, "0")
	want(t, "fd/0 of another process with the number", err, syscall.ENOENT)
}
