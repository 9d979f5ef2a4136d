package selftest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

// These tests make every allocation of a small program fail once: each frame and each
// charge that the program needs, from its creation to its end.
// Broken by: cloneProcess without unmake, whose process then stays for ever; Fork of
// FDTable that forgets the new table's charge when its slots are refused; Dirty of purge
// that skips pages when there is no frame (the pager then lacks the writes).
var faultTests = faultScenarios()

func faultScenarios() (tests []test) {
	for i := range scenarios {
		s := &scenarios[i]
		tests = append(tests, test{name: "faults/" + s.name, run: s.run, layouts: s.everyWay, designs: s.everyWay})
	}
	return append(tests, test{name: "faults/exit-needs-nothing", run: exitNeedsNothing, layouts: true, designs: true, slow: true})
}

// scenario is a program with its environment. The program ends with exit status 0, or with
// callFailed if a system call returned an error. A fault for which there is no memory kills
// it.
type scenario struct {
	name string
	emit func(p *program)
	// prepare maps and writes the memory that the program needs; nil: none.
	prepare func(t *T, vs *vm.VMSpace)
	// after checks the program's results, and removes them; nil: nothing.
	after func(t *T)
	may   []proc.Status // other correct ends
	// everyWay: run it under each layout and exit design, as much of the work depends on
	// them.
	everyWay bool
}

const callFailed = 1

// argsVA is a page with structures for system calls. It is present from the beginning.
const argsVA = stackVA - 6*page

// try is call, but the program ends if the result is an error.
func (p *program) try(nr uint64, args ...uint64) {
	p.call(nr, args...)
	p.orExit(callFailed)
}

// child is clone(2) with the same check.
func (p *program) child(flags uint64, body func(*program)) {
	var c program
	body(&c)
	p.clone(flags, &c)
	p.orExit(callFailed)
}

// waitOne waits for any child.
func (p *program) waitOne() { p.try(unix.SYS_WAIT4, ^uint64(0), uint64(argsVA)+2048, 0, 0) }

const (
	atCWD    = ^uint64(99) // AT_FDCWD
	mapFixed = uint64(unix.MAP_FIXED)
	mapAnon  = mapFixed | unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	noFD     = ^uint64(0)
	rwProt   = uint64(unix.PROT_READ | unix.PROT_WRITE)
)

// bytes8 returns a number as it is in memory.
func bytes8(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// args writes bytes to the page of arguments, at an offset.
func (t *T) args(vs *vm.VMSpace, off arch.VA, b ...byte) {
	t.check("copyout", vs.CopyOut(argsVA+off, b))
}

var scenarios = []scenario{
	{name: "fork", everyWay: true, emit: func(p *program) {
		p.touch(dataVA, page, 4)
		p.child(cloneFork, func(c *program) {
			c.touch(dataVA, page, 2)
			c.exit(0)
		})
		p.waitOne()
	}},
	{name: "vfork", emit: func(p *program) {
		p.child(cloneVfork, func(c *program) {
			c.touch(dataVA, page, 2)
			c.exit(0)
		})
		p.waitOne()
	}},
	{name: "exec", everyWay: true, emit: func(p *program) {
		p.child(cloneVfork, func(c *program) {
			c.try(unix.SYS_EXECVE, uint64(argsVA), 0, 0)
		})
		p.waitOne()
		p.touch(dataVA, 1, 20_000) // a long argument
		p.try(unix.SYS_EXECVE, uint64(argsVA), uint64(argsVA)+64, 0)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		t.args(vs, 0, []byte("/selftest\x00")...)
		t.args(vs, 64, slices.Concat(bytes8(uint64(dataVA)), bytes8(0))...)
	}},
	{name: "thread", everyWay: true, emit: func(p *program) {
		p.store(argsVA+64, 0)
		for i := range arch.VA(2) {
			p.child(cloneThread, func(c *program) {
				c.touch(dataVA+(1+i)<<30, page, 2)
				c.store(argsVA+64+i, 1)
				c.exitThread()
			})
		}
		p.await(argsVA+64, 1)
		p.await(argsVA+65, 1)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		t.mapped(vs, dataVA+1<<30, 2*page)
		t.mapped(vs, dataVA+2<<30, 2*page)
	}},
	{name: "fault", emit: func(p *program) {
		p.touch(dataVA, page, 3)
		p.touch(farVA, 1<<30, 2)
		p.load(farVA + arch.BlockSize)
		p.touch(farVA+arch.BlockSize, page, 2)
		p.load(farVA + 2*arch.BlockSize)
		p.touch(farVA+2*arch.BlockSize, page, 3)
		p.touch(farVA+3*arch.BlockSize, page, 2)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		t.mapped(vs, farVA, 2<<30)
		t.mapFlags(vs, farVA+arch.BlockSize, 2*page, readWrite, shared, nil)
		for i, flag := range []vm.MapFlags{vm.Private, vm.Shared} {
			o := t.newFile(nil, 4*pageBytes)
			_, err := o.WriteAt(make([]byte, page), 0)
			t.check("write", err)
			t.mapFlags(vs, farVA+arch.VA(2+i)*arch.BlockSize, 4*page, readWrite, vm.Fixed|flag, o)
			o.Unref()
		}
	}},
	{name: "copy-on-write", emit: func(p *program) {
		p.touch(dataVA, page, 6)
		p.touch(farVA, page, arch.BlockPages)
		p.child(cloneFork, func(c *program) {
			c.touch(dataVA, page, 6)
			c.touch(farVA, 64*page, 4)
			c.exit(0)
		})
		p.touch(dataVA, page, 6)
		p.touch(farVA, 32*page, 8)
		p.waitOne()
	}, prepare: func(t *T, vs *vm.VMSpace) { t.mapped(vs, farVA, arch.BlockSize) }},
	{name: "mmap", emit: func(p *program) {
		p.try(unix.SYS_MMAP, uint64(farVA), 40*page, rwProt, mapAnon|unix.MAP_POPULATE, noFD, 0)
		p.try(unix.SYS_MMAP, uint64(farVA)+1<<30, 8*page, rwProt, mapFixed|unix.MAP_SHARED|unix.MAP_ANONYMOUS, noFD, 0)
		p.touch(farVA+1<<30, page, 3)
		for i := range uint64(18) { // more entries than are charged at first
			p.try(unix.SYS_MPROTECT, uint64(farVA)+(2*i+1)*page, page, unix.PROT_READ)
		}
		p.try(unix.SYS_MREMAP, uint64(farVA)+2*page, page, 4*page, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, uint64(farVA)+2<<30)
		p.touch(farVA+2<<30, page, 4)
		p.try(unix.SYS_MADVISE, uint64(farVA)+8*page, 8*page, unix.MADV_DONTNEED)
		p.touch(farVA+8*page, 2*page, 3)
		p.try(unix.SYS_MLOCK, uint64(farVA)+16*page, 4*page)
		p.try(unix.SYS_MUNMAP, uint64(farVA)+5*page, 3*page)
	}},
	{name: "cut-block", emit: func(p *program) {
		p.touch(farVA, page, arch.BlockPages)
		p.try(unix.SYS_MPROTECT, uint64(farVA)+page, page, unix.PROT_READ)
		p.try(unix.SYS_MREMAP, uint64(farVA)+8*page, 8*page, 8*page, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, uint64(farVA)+1<<30)
		p.try(unix.SYS_MUNMAP, uint64(farVA)+20*page, page)
	}, prepare: func(t *T, vs *vm.VMSpace) { t.mapped(vs, farVA, arch.BlockSize) }},
	{name: "file", emit: func(p *program) {
		name, dir, link := uint64(argsVA), uint64(argsVA)+64, uint64(argsVA)+128
		p.try(unix.SYS_OPENAT, atCWD, name, unix.O_CREAT|unix.O_TRUNC|unix.O_RDWR, 0o600)
		p.try(unix.SYS_PWRITE64, 0, uint64(dataVA), 3*page, 100)
		p.try(unix.SYS_FTRUNCATE, 0, 1<<32)
		p.try(unix.SYS_PWRITE64, 0, name, 8, 1<<31)
		p.try(unix.SYS_MMAP, uint64(farVA), 8*page, rwProt, mapFixed|unix.MAP_SHARED, 0, 0)
		p.touch(farVA, page, 6)
		p.try(unix.SYS_PREAD64, 0, uint64(dataVA)+4*page, 2*page, 0)
		p.try(unix.SYS_MKDIRAT, atCWD, dir, 0o700)
		p.try(unix.SYS_SYMLINKAT, name, atCWD, link)
		p.try(unix.SYS_DUP3, 0, 200, 0)
		p.try(unix.SYS_FLOCK, 0, unix.LOCK_EX)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		for i, path := range faultFiles {
			t.args(vs, 64*arch.VA(i), append([]byte(path), 0)...)
		}
	}, after: func(t *T) {
		at := fs.At{Place: t.FS.NewPlace()}
		for i, path := range faultFiles {
			flags := 0
			if i == 1 {
				flags = unix.AT_REMOVEDIR
			}
			if err := t.FS.Unlink(at, path, flags); err != nil && err != syscall.ENOENT {
				t.Errorf("unlink %s: %v", path, err)
			}
		}
		// A store to a hole of a mapped file for which there is no page: SIGBUS, as on
		// Linux.
	}, may: []proc.Status{proc.SignalStatus(unix.SIGBUS)}},
	{name: "pipe", emit: func(p *program) {
		p.try(unix.SYS_PIPE2, uint64(argsVA), 0)
		p.child(cloneFork, func(c *program) {
			c.try(unix.SYS_CLOSE, 0)
			c.try(unix.SYS_WRITE, 1, uint64(dataVA), 3*page)
			c.exit(0)
		})
		p.try(unix.SYS_CLOSE, 1)
		p.try(unix.SYS_READ, 0, uint64(dataVA), 3*page)
		p.try(unix.SYS_READ, 0, uint64(dataVA), page)
		p.waitOne()
		p.try(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0, uint64(argsVA))
		p.try(unix.SYS_WRITE, 1, uint64(dataVA), 2*page)
		p.try(unix.SYS_READ, 2, uint64(dataVA), page)
	}},
	{name: "poll", emit: func(p *program) {
		p.try(unix.SYS_EPOLL_CREATE1, 0)
		p.try(unix.SYS_EVENTFD2, 0, 0)
		p.try(unix.SYS_TIMERFD_CREATE, unix.CLOCK_MONOTONIC, 0)
		p.try(unix.SYS_EPOLL_CTL, 0, unix.EPOLL_CTL_ADD, 1, uint64(argsVA))
		p.try(unix.SYS_EPOLL_CTL, 0, unix.EPOLL_CTL_ADD, 2, uint64(argsVA))
		p.try(unix.SYS_TIMERFD_SETTIME, 2, 0, uint64(argsVA)+32, 0)
		p.try(unix.SYS_EPOLL_PWAIT, 0, uint64(dataVA), 4, ^uint64(0), 0, 8)
		p.try(unix.SYS_WRITE, 1, uint64(argsVA)+32+8, 8)
		p.try(unix.SYS_EPOLL_PWAIT, 0, uint64(dataVA)+page, 4, ^uint64(0), 0, 8)
		p.try(unix.SYS_PPOLL, uint64(dataVA)+2*page, 600, uint64(argsVA)+512, 0, 8)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		t.args(vs, 0, unix.EPOLLIN)
		t.args(vs, 32+24, 0x40, 0x42, 0x0f) // it_value: 1 ms
		t.args(vs, 32+8, 0)
	}},
	{name: "signal", emit: func(p *program) {
		act, child := uint64(argsVA), uint64(argsVA)+64
		p.try(unix.SYS_RT_SIGACTION, uint64(unix.SIGUSR1), act, 0, 8)
		p.try(unix.SYS_RT_SIGACTION, uint64(unix.SIGCHLD), act, 0, 8)
		p.try(unix.SYS_RT_SIGACTION, 34, act, 0, 8)
		p.call(unix.SYS_KILL, 0, uint64(unix.SIGUSR1))
		p.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, child, 0, 8)
		p.call(unix.SYS_KILL, 0, 34)
		p.child(cloneFork, func(c *program) { c.exit(0) })
		p.waitOne()
		p.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, child, 0, 8)
		p.try(unix.SYS_SETITIMER, 0, child+64, 0)
		p.expect(argsVA+1024, 0x5a, 3)
		p.exit(0)
		p.at(handlerOff)
		p.touch(dataVA, page, 2)
		p.touch(argsVA+1024, 1, 1)
		p.ret()
		p.at(restorerOff)
		p.call(unix.SYS_RT_SIGRETURN)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		const restorer = 0x0400_0000
		t.args(vs, 0, slices.Concat(bytes8(uint64(codeVA)+handlerOff), bytes8(restorer), bytes8(uint64(codeVA)+restorerOff), bytes8(0))...)
		t.args(vs, 64, bytes8(1<<(unix.SIGCHLD-1)|1<<33)...)
		t.args(vs, 128, slices.Concat(bytes8(0), bytes8(0), bytes8(100), bytes8(0))...) // in 100 s
	}, may: []proc.Status{proc.SignalStatus(unix.SIGSEGV)}},
	{name: "clone", emit: func(p *program) {
		p.store(argsVA+64, 0)
		p.try(unix.SYS_EVENTFD2, 0, 0)
		p.try(unix.SYS_DUP3, 0, 100, 0) // a table that needs more than its first slots
		p.child(cloneThread&^uint64(unix.CLONE_FILES|unix.CLONE_FS), func(c *program) {
			c.store(argsVA+64, 1)
			c.exitThread()
		})
		p.child(cloneFork|unix.CLONE_PIDFD, func(c *program) { c.exit(0) })
		p.child(cloneFork|unix.CLONE_FILES, func(c *program) {
			c.try(unix.SYS_DUP3, 0, 300, 0)
			c.exit(0)
		})
		p.await(argsVA+64, 1)
		p.waitOne()
		p.waitOne()
	}},
	{name: "calls", emit: func(p *program) {
		name, out := uint64(argsVA), uint64(dataVA)
		p.try(unix.SYS_MEMFD_CREATE, name, unix.MFD_ALLOW_SEALING)
		p.try(unix.SYS_WRITE, 0, name, 3*page)
		p.try(unix.SYS_OPENAT, atCWD, name+64, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		p.try(unix.SYS_GETDENTS64, 1, out, 4*page)
		p.try(unix.SYS_PIPE2, out, 0)
		p.try(unix.SYS_FCNTL, 2, unix.F_SETPIPE_SZ, 1<<17)
		p.try(unix.SYS_LSEEK, 0, 0, 0)
		p.try(unix.SYS_SENDFILE, 3, 0, 0, 2*page)
		p.try(unix.SYS_READV, 2, name+1024, 60)
		p.try(unix.SYS_READLINKAT, atCWD, name+128, out, page)
		p.try(unix.SYS_OPENAT, atCWD, name+192, unix.O_RDONLY, 0)
		p.try(unix.SYS_READ, 4, out, 4*page)
		p.try(unix.SYS_FALLOCATE, 0, 0, 0, 8*page)
		p.try(unix.SYS_CHDIR, name+64)
		p.try(unix.SYS_GETCWD, out, page)
	}, prepare: func(t *T, vs *vm.VMSpace) {
		for i, path := range []string{"faults", "/", "/proc/self", "/proc/self/status"} {
			t.args(vs, 64*arch.VA(i), append([]byte(path), 0)...)
		}
		for i := range arch.VA(60) {
			t.args(vs, 1024+16*i, slices.Concat(bytes8(uint64(dataVA+i*64)), bytes8(64))...)
		}
	}},
	{name: "wait", everyWay: true, emit: func(p *program) {
		p.child(cloneFork, func(c *program) { c.exit(3) })
		p.child(cloneFork, func(c *program) { c.load(16) })
		p.child(cloneShared, func(c *program) { c.exit(0) })
		for range 3 {
			p.try(unix.SYS_WAITID, 0, 0, uint64(dataVA), unix.WEXITED, uint64(dataVA)+page)
		}
	}},
	{name: "dirty-shared-pages", everyWay: true, emit: func(p *program) {
		p.child(cloneFork, func(c *program) { c.writeShared(farVA, 4) })
		p.waitOne()
		p.load(farVA)
		p.writeShared(farVA+arch.BlockSize, 4)
	}, prepare: (*T).mapShared, after: (*T).checkShared},
}

// faultFiles are the files of the scenario "file": a file, a directory and a symbolic link.
var faultFiles = []string{"/tmp/faults-file", "/tmp/faults-dir", "/tmp/faults-link"}

// Offsets in the code of the handler of the scenario "signal", and of the code to which it
// returns.
const (
	handlerOff  = 0x800
	restorerOff = 0xa00
)

// at fills the code up to an offset with bytes that cannot be executed.
func (p *program) at(off int) {
	p.code = append(p.code, make([]byte, off-len(p.code))...)
}

// sharedFiles are the files of "dirty-shared-pages": the child's and the parent's.
var sharedFiles [2]struct {
	pager    *memoryPager
	file     *vm.FileObject
	progress *vm.FileObject // byte 0: how many pages of file were written
}

// writeShared writes n pages of the file at va. After each it stores how many it has
// written. Then the program ends.
func (p *program) writeShared(va arch.VA, n int) {
	for i := range n {
		p.store(va+arch.VA(i)*page, 2)
		p.store(va+8*page, byte(i+1))
	}
	p.exit(0)
}

// mapShared maps the files. The progress of each is mapped eight pages behind it.
func (t *T) mapShared(vs *vm.VMSpace) {
	for i := range sharedFiles {
		s := &sharedFiles[i]
		s.pager = &memoryPager{}
		s.file, s.progress = t.newFile(s.pager, 8*pageBytes), t.newFile(nil, pageBytes)
		va := farVA + arch.VA(i)*arch.BlockSize
		t.mapFlags(vs, va, 8*page, readWrite, vm.Fixed|vm.Shared, s.file)
		t.mapFlags(vs, va+8*page, page, readWrite, vm.Fixed|vm.Shared, s.progress)
		t.check("copyout", vs.CopyOut(va+8*page, []byte{0}))
	}
}

// checkShared (E1) is called when both processes have ended and have been waited for. The
// pager and read(2) must have all writes.
func (t *T) checkShared() {
	for i := range sharedFiles {
		s := &sharedFiles[i]
		for j := range int64(t.fileByte(s.progress, 0)) {
			var c byte
			var b []byte
			arrived := func() bool {
				s.pager.mu.Lock()
				b = s.pager.pages[j]
				s.pager.mu.Unlock()
				c = t.fileByte(s.file, j*pageBytes)
				return c == 2 && b != nil && b[0] == 2
			}
			if t.Design.Breach(exit.E1) != nil {
				soon(5*time.Second, arrived) // not necessarily before wait(2), but at some time
			}
			if !arrived() {
				t.Errorf("file %d, page %d was written before the exit: read(2) gives %d, the pager has %d bytes of it", i, j, c, len(b))
			}
		}
		s.file.Unref()
		s.progress.Unref()
	}
}

// allocation is a kind of frame or of charge.
type allocation struct {
	isCharge bool
	owner    phys.Owner
	sort     phys.Sort
	kind     charge.Kind
}

func (a allocation) String() string {
	if a.isCharge {
		return "charge of " + a.kind.String()
	}
	return fmt.Sprintf("%v for %v", a.sort, a.owner)
}

// injection counts allocations and refuses some of them.
type injection struct {
	mu     sync.Mutex
	asked  map[allocation]int
	refuse func(a allocation, n int) bool // whether to refuse the n-th of a kind, from 1
	hit    bool                           // something was refused
}

func (in *injection) take(a allocation) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.asked[a]++
	if !in.refuse(a, in.asked[a]) {
		return false
	}
	in.hit = true
	return true
}

// inject begins to count, and to refuse the allocations that refuse selects.
func (t *T) inject(refuse func(a allocation, n int) bool) *injection {
	in := &injection{asked: map[allocation]int{}, refuse: refuse}
	t.Mem.Refuse(func(o phys.Owner, s phys.Sort) bool { return in.take(allocation{owner: o, sort: s}) })
	t.VM.Charges().Refuse(func(k charge.Kind, _ int64) bool { return in.take(allocation{isCharge: true, kind: k}) })
	return in
}

// injectNone ends an injection.
func (t *T) injectNone() {
	t.Mem.Refuse(nil)
	t.VM.Charges().Refuse(nil)
}

// run runs the scenario without a fault, to see what it allocates. Then it runs it once for
// every allocation, which fails, and again without a fault after each kind.
func (s *scenario) run(t *T) {
	var elf, p program
	elf.exit(0)
	t.writeProgram(&elf)
	s.emit(&p)
	p.exit(0)
	at := "the start"
	t.Cleanup(func() {
		t.injectNone()
		if len(t.reasons) > 0 {
			t.Errorf("that was %s", at)
		}
	})
	clean := func() *injection {
		at = "without a refusal, after " + at
		in, st := t.faulty(s, &p, func(allocation, int) bool { return false })
		if st != 0 {
			t.Errorf("the program: %s", statusText(st))
		}
		return in
	}
	clean() // objects that are made at the first use are no leak
	t.eventually("no process is left", func() bool { return t.Proc.Counts().Processes == 0 })
	before := t.census()
	asked := clean().asked
	t.settles(before)
	runs := 0
	for a := range asked {
		for n := 1; len(t.reasons) == 0; n++ {
			at = fmt.Sprintf("with %v number %d refused", a, n)
			in, st := t.faulty(s, &p, func(b allocation, m int) bool { return b == a && m == n })
			runs++
			if !in.hit {
				if st != 0 {
					t.Errorf("the program, to which nothing was refused: %s", statusText(st))
				}
				break
			}
			if st != 0 && st != proc.ExitStatus(callFailed) && st != proc.SignalStatus(unix.SIGKILL) && !slices.Contains(s.may, st) {
				t.Errorf("the program: %s", statusText(st))
			}
			t.settles(before)
		}
		if len(t.reasons) == 0 {
			clean()
			t.settles(before)
		}
	}
	if runs < 5 {
		t.Errorf("%d allocations: nothing was tested", runs)
	}
	fmt.Printf("# faults/%s: %d runs, %d sorts of allocations\n", s.name, runs, len(asked))
}

// faulty runs the scenario's program once, including its spawn.
func (t *T) faulty(s *scenario, p *program, refuse func(a allocation, n int) bool) (*injection, proc.Status) {
	vs := t.space(p)
	t.mapped(vs, dataVA, 32*page)
	t.args(vs, 0, 0)
	if s.prepare != nil {
		s.prepare(t, vs)
	}
	files, err := t.NewFiles()
	t.check("descriptor table", err)
	in := t.inject(refuse)
	q, err := t.Proc.Spawn(proc.SpawnArgs{
		Name: "selftest", VM: vs, PC: codeVA, SP: stackVA - 64, Files: files, Design: t.Design,
	})
	st := proc.ExitStatus(callFailed)
	if err != nil {
		t.injectNone()
		files.CloseAll()
		end(vs)
	} else {
		t.within(10*time.Second, "the program ends", q.Exited)
		st = q.Wait().Status
		t.within(10*time.Second, "its children end", func() bool { return t.Proc.Counts().Processes == 0 })
		t.quiet()
		t.injectNone()
	}
	if s.after != nil {
		s.after(t)
	}
	return in, st
}

// Data of exitNeedsNothing in a page that parent and child share.
const (
	controlVA = farVA + 64*page
	readyVA   = controlVA       // the child has arrived at its wait; 2 bytes behind: the parent
	goVA      = controlVA + 1   // the child may continue
	headVA    = controlVA + 64  // list of robust futexes: one entry
	robustVA  = controlVA + 128 // the entry; its futex is 8 bytes behind
	tidVA     = controlVA + 256 // clear_child_tid
)

// exitNeedsNothing: an exit, its purge, the reaper's part and the wait need no memory. No
// frame is free and every charge is refused. A child with threads, a robust futex, open
// pipes, a copied block and dirty pages of a slow file ends, its parent gets its status and
// SIGCHLD, and everything is back. The same is tested with a child of vfork(2). The kernel
// does not even try to allocate, except for the siginfo of SIGCHLD, which may be lost.
// Broken by: an Alloc in Purge, and a Take in die ("asked for on the way out"); add of
// sigQueue that gives up if the charge is refused (exit status 81).
func exitNeedsNothing(t *T) {
	for _, flags := range []uint64{cloneFork, cloneVfork} {
		before := t.census()
		t.exitWithNothing(flags)
		if len(t.reasons) > 0 {
			t.Errorf("that was clone with flags %#x", flags)
			return
		}
		t.settles(before)
	}
}

func (t *T) exitWithNothing(flags uint64) {
	var p program
	p.touch(dataVA, page, 8)
	p.try(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uint64(argsVA), 0, 8)
	p.child(flags, func(c *program) {
		c.touch(dataVA, page, 6)
		c.touch(farVA, page, 4)                // the file of the slow pager
		c.touch(farVA+arch.BlockSize, page, 3) // in a block; after fork(2), copied
		c.try(unix.SYS_PIPE2, uint64(dataVA)+page, 0)
		c.try(unix.SYS_WRITE, 1, uint64(dataVA), 2*page)
		c.try(unix.SYS_SET_TID_ADDRESS, uint64(tidVA))
		c.try(unix.SYS_SET_ROBUST_LIST, uint64(headVA), 24)
		c.child(cloneThread, (*program).pause)
		c.child(cloneThread, func(th *program) {
			th.call(unix.SYS_FUTEX, uint64(dataVA)+3*page+4, 0, 0, 0)
			th.exit(80)
		})
		c.store(readyVA, 1)
		c.await(goVA, 1)
		c.exit(5)
	})
	status := dataVA + 7*page // not touched by the child
	p.touch(status, page, 1)  // so it is the parent's own page before memory is used up, unless the parent sleeps in vfork
	p.store(readyVA+2, 1)
	p.try(unix.SYS_WAIT4, ^uint64(0), uint64(status), 0, uint64(status)+64)
	p.call(unix.SYS_RT_SIGTIMEDWAIT, uint64(argsVA), 0, uint64(argsVA)+64, 8)
	p.orExit(81)
	p.exitByte(status + 1)

	pager := &memoryPager{delay: time.Millisecond}
	file := t.newFile(pager, 8*pageBytes)
	defer file.Unref()
	control := t.newFile(nil, pageBytes)
	defer control.Unref()
	vs := t.space(&p)
	t.mapped(vs, dataVA, 32*page)
	t.args(vs, 0, 0, 0, 1<<(unix.SIGCHLD-1-16)) // a set; from 64 on, a time of 0
	t.mapFlags(vs, farVA, 8*page, readWrite, vm.Fixed|vm.Shared, file)
	t.mapFlags(vs, controlVA, page, readWrite, vm.Fixed|vm.Shared, control)
	t.mappedBlock(vs, farVA+arch.BlockSize)
	t.check("copyout", vs.CopyOut(goVA, []byte{0}))
	t.check("robust list", vs.WriteUint64(headVA, uint64(robustVA)))
	t.check("robust list", vs.WriteUint64(headVA+8, 8))
	t.check("robust list", vs.WriteUint64(robustVA, uint64(headVA)))
	vs.Ref()
	parent := t.start(vs)
	t.eventually("the child waits", func() bool {
		return t.byteAt(vs, readyVA) == 1 && (flags == cloneVfork || t.byteAt(vs, readyVA+2) == 1)
	})
	time.Sleep(3 * time.Millisecond) // let its threads, and the parent, fall asleep
	child := t.children(parent)[0]
	t.check("robust futex", vs.WriteUint32(robustVA+8, uint32(child.PID())))

	frames := t.takeAll()
	in := t.inject(func(allocation, int) bool { return true })
	t.check("copyout", vs.CopyOut(goVA, []byte{1}))
	r, ended := waitFor(parent, 10*time.Second)
	t.injectNone()
	b := phys.Batch{M: t.Mem}
	for _, f := range frames {
		b.Unref(f)
	}
	b.Flush()
	if !ended {
		t.Errorf("parent (%v) and child (%v) have not ended without memory", parent.State(), child.State())
		t.kill(child)
		t.kill(parent)
		r = parent.Wait()
	}
	t.quiet()
	if b := t.fileByte(control, int64(robustVA-controlVA)+8+3); b != 0x40 { // FUTEX_OWNER_DIED
		t.Errorf("the upper byte of the robust futex is %#x", b)
	}
	if !vs.Release() {
		t.Errorf("somebody still has the space")
	}
	if ended && r.Status != proc.ExitStatus(5) {
		t.Errorf("parent: %s, want the child's 5", statusText(r.Status))
	}
	for a, n := range in.asked {
		if a != (allocation{isCharge: true, kind: charge.Signal}) {
			t.Errorf("%v asked for %d times on the way out", a, n)
		}
	}
	for i := range int64(4) {
		if c := t.fileByte(file, i*pageBytes); c != 0x5a || len(pager.pages[i]) == 0 {
			t.Errorf("page %d of the file is %#x after the exit; the pager has %d bytes of it", i, c, len(pager.pages[i]))
		}
	}
}

// takeAll allocates every frame, including reserved ones.
func (t *T) takeAll() (frames []phys.Frame) {
	t.Pmaps.Drain()
	frames = make([]phys.Frame, 0, t.Mem.Total())
	for {
		f, err := t.Mem.Alloc(phys.Kernel)
		if err != nil {
			return frames
		}
		frames = append(frames, f)
	}
}
