package fs

import (
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/arch/amd64"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
	"grim/mm/vm"
	"grim/proc/cred"
)

// world is a file tree over real frames. When the test ends, everything that it made is
// removed, and every frame, inode and open file must be gone (E4). If a File is not
// released, a link count is wrong by one, or a drop is forgotten, each test of the package
// fails. (Tried: regular.drop without Unref.)
type world struct {
	*FS
	t     testing.TB
	mem   *phys.Memory
	vm    *vm.System
	at    At
	task  *testTask
	out   []byte // printed on the console; not for parallel use
	start Stats

	charges *charge.System
	paid    charge.Totals
	free    int
}

// noTLB is an MMU for address spaces that no CPU runs on.
type noTLB struct {
	arch.OneCPU
	half arch.PA
}

func (m noTLB) KernelHalf(arch.Layout) arch.PA { return m.half }
func (m noTLB) Activate(arch.Root)             {}
func (m noTLB) Deactivate()                    {}
func (m noTLB) ASIDs() int                     { return 0 }
func (m noTLB) FlushPage(arch.Root, arch.VA)   {}
func (m noTLB) FlushASID(arch.Root)            {}
func (m noTLB) FlushAll()                      {}
func (m noTLB) SyncInstructions(arch.PA, int)  {}

func newWorld(t testing.TB) *world { return newWorldOf(t, 4096, nil) }

// inBubble runs a test with a world in a bubble of testing/synctest. The clock goes on only
// when all goroutines of the test sleep. So time.AfterFunc acts while the others wait, times
// are exact however busy the host is, and the test fails at once if a wake-up is lost.
func inBubble(t *testing.T, fn func(t *testing.T, w *world)) {
	fresh := bells.New
	synctest.Test(t, func(t *testing.T) {
		bells = sync.Pool{New: fresh} // a bubble's channels are its own
		fn(t, newWorld(t))
	})
	bells = sync.Pool{New: fresh}
}

// newWorldOf makes a world with this number of frames of RAM.
func newWorldOf(t testing.TB, frames int, proc ProcSource) *world {
	t.Helper()
	const first = 2 << 20 // below: the kernel half's root page
	size := first + frames*arch.PageSize
	arena, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(arena) })
	mem, err := phys.New(unsafe.Pointer(&arena[0]), []phys.Range{{Start: first, End: arch.PA(size)}})
	if err != nil {
		t.Fatal(err)
	}
	charges := charge.Unlimited()
	w := &world{t: t, mem: mem, charges: charges}
	w.vm = vm.NewSystem(vm.Config{Mem: mem, Pmaps: pmap.NewSystem(mem, &amd64.Format, noTLB{half: arch.PageSize}), Charges: charges})
	w.FS, err = New(Config{
		NewPages: func(name string, payer *charge.User) (Pages, error) {
			return vm.NewUserFile(w.vm, name, nil, payer)
		},
		NewStored: func(name string, st vm.Store, size int64) (*vm.FileObject, error) {
			return vm.NewStoredFile(w.vm, name, st, size)
		},
		Frames:  mem,
		Charges: charges,
		Console: OutputFunc(func(p []byte) { w.out = append(w.out, p...) }),
		Proc:    proc,
		Memory: func() (uint64, uint64) {
			return uint64(mem.Total()) * arch.PageSize, uint64(mem.FreeFrames()) * arch.PageSize
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.task = newTask()
	w.task.payer = charges.User(0)
	w.at = At{Task: w.task, Place: w.NewPlace()}
	w.at.Place.Umask(0)
	w.start, w.free, w.paid = w.Stats(), mem.FreeFrames(), charges.Totals()
	t.Cleanup(w.end)
	return w
}

// end removes everything that the test has made and compares with the start.
func (w *world) end() {
	if w.t.Failed() {
		return
	}
	for _, name := range w.names("/") {
		if name != "dev" && name != "proc" && name != "sys" && name != "tmp" {
			w.removeAll("/" + name)
		}
	}
	if s := w.Stats(); s != w.start {
		w.t.Errorf("alive at the end: %+v, at the start: %+v", s, w.start)
	}
	if n := w.charges.Totals(); n != w.paid {
		w.t.Errorf("charged at the end: %v, at the start: %v", n, w.paid)
	}
	if n := w.mem.FreeFrames(); w.free >= 0 && n != w.free {
		w.t.Errorf("%d frames free, want %d as at the start", n, w.free)
	}
	if err := w.mem.Audit(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) removeAll(path string) {
	err := w.Unlink(w.at, path, 0)
	if err == syscall.EISDIR {
		for _, name := range w.names(path) {
			w.removeAll(path + "/" + name)
		}
		err = w.Unlink(w.at, path, unix.AT_REMOVEDIR)
	}
	if err != nil {
		w.t.Errorf("remove %s: %v", path, err)
	}
}

// names returns the names in a directory, in order, without the dots.
func (w *world) names(path string) []string {
	w.t.Helper()
	f := w.open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	defer f.Release()
	var names []string
	buf := make([]byte, 256) // small, so that it takes several reads
	for {
		n, err := f.Getdents(w.task, buf, arrives)
		if err != nil {
			w.t.Fatalf("getdents %s: %v", path, err)
		}
		if n == 0 {
			return names
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
}

// arrives is a deliver function for Getdents that takes everything.
func arrives(p []byte) (int, error) { return len(p), nil }

// open opens or makes a file, or ends the test.
func (w *world) open(path string, flags int) *File {
	w.t.Helper()
	f, err := w.Open(w.at, path, flags, 0o666)
	if err != nil {
		w.t.Fatalf("open %s: %v", path, err)
	}
	return f
}

// put makes a file with a text. get reads it.
func (w *world) put(path, text string) {
	w.t.Helper()
	f := w.open(path, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY)
	defer f.Release()
	if n, err := f.Write(w.task, []byte(text)); n != len(text) || err != nil {
		w.t.Fatalf("write %s: %d, %v", path, n, err)
	}
}

func (w *world) get(path string) string {
	w.t.Helper()
	f := w.open(path, unix.O_RDONLY)
	defer f.Release()
	return w.readAll(f)
}

func (w *world) readAll(f *File) string {
	w.t.Helper()
	var text []byte
	buf := make([]byte, 1000)
	for {
		n, err := f.Read(w.task, buf)
		if err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			return string(text)
		}
		text = append(text, buf[:n]...)
	}
}

// stranger is the user of tasks that were made without a world.
var stranger = charge.Unlimited().User(0)

// testTask is a thread that a test can interrupt.
type testTask struct {
	start     time.Time
	interrupt chan struct{}
	limit     int64 // RLIMIT_FSIZE; 0: none
	signals   int   // SIGXFSZ
	payer     *charge.User
}

func newTask() *testTask {
	return &testTask{start: time.Now(), interrupt: make(chan struct{}, 1), payer: stranger}
}

func (t *testTask) now() int64 { return 1 + int64(time.Since(t.start)) }

func (t *testTask) Pause() error { return nil }

func (t *testTask) Cred() *cred.Cred { return testRoot }

var testRoot = cred.Root()

func (t *testTask) FileLimit() int64 {
	if t.limit != 0 {
		return t.limit
	}
	return Never
}

func (t *testTask) OpenLimit() int { return 1024 }

func (t *testTask) TooLarge() { t.signals++ }

// Payer returns the user of the world's tasks.
func (t *testTask) Payer() *charge.User { return t.payer }

func (t *testTask) IDs() (int, int) { return 7, 8 }

func (t *testTask) Sleep(ch <-chan struct{}, deadline int64) error {
	var late <-chan time.Time
	if deadline != Never {
		late = time.After(time.Duration(deadline - t.now()))
	}
	select {
	case <-ch:
		return nil
	case <-t.interrupt:
		return syscall.EINTR
	case <-late:
		return syscall.ETIMEDOUT
	}
}

// mapFile maps the first n bytes of f, shared and writable, in an address space of its own.
func (w *world) mapFile(f *File, n uint64) (*vm.VMSpace, arch.VA) {
	w.t.Helper()
	o, err := f.Object()
	must(w.t, err)
	defer o.Unref()
	vs, err := vm.New(w.vm, arch.SharedUK, w.vm.Charges().Kernel())
	must(w.t, err)
	va, err := vs.Map(0, n, arch.Read|arch.Write, vm.Shared, o, 0)
	must(w.t, err)
	return vs, va
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err is errno (nil: success).
func want(t testing.TB, what string, err error, errno error) {
	t.Helper()
	if err != errno {
		t.Errorf("%s: %v, want %v", what, err, errno)
	}
}
