package sys

import (
	"bytes"
	delf "debug/elf"
	"encoding/binary"
	"fmt"
	"math/rand"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc"
)

// executable builds an executable. The text is at 0x400000; its first page holds the
// headers. The data is at 0x402f80, crosses a page boundary, and is followed by a bss.
func (m *machine) executable(typ delf.Type, change func(h *delf.Header64, p []delf.Prog64)) []byte {
	base := uint64(0x400000)
	if typ == delf.ET_DYN {
		base = 0
	}
	h := delf.Header64{Type: uint16(typ), Machine: m.abi.Machine, Version: 1, Entry: base + 0x1000, Phoff: 64,
		Ehsize: 64, Phentsize: 56, Phnum: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	progs := []delf.Prog64{
		{Type: uint32(delf.PT_LOAD), Flags: uint32(delf.PF_R | delf.PF_X), Vaddr: base, Filesz: 0x1100, Memsz: 0x1100, Align: 0x1000},
		{Type: uint32(delf.PT_LOAD), Flags: uint32(delf.PF_R | delf.PF_W), Off: 0x1f80, Vaddr: base + 0x2f80, Filesz: 0x100, Memsz: 0x2100, Align: 0x1000},
	}
	if change != nil {
		change(&h, progs)
	}
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, progs)
	b.Write(make([]byte, 0x1f80-b.Len()))
	b.Write(bytes.Repeat([]byte{0xda}, 0x100))
	b.Write(bytes.Repeat([]byte{0xff}, 0x1000)) // must not be visible in the bss
	return b.Bytes()
}

// writeFile makes a file without a process.
func (m *machine) writeFile(path string, data []byte, mode uint32) {
	m.t.Helper()
	at := fs.At{Task: kernelTask{m.s}, Place: m.fs.NewPlace()}
	f, err := m.fs.Open(at, path, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, mode)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Release()
	if n, err := f.Write(at.Task, data); n != len(data) || err != nil {
		m.t.Fatal(n, err)
	}
}

// strings stores a NULL-terminated array of strings at va.
func (u *user) strings(va arch.VA, list ...string) uint64 {
	data := va + arch.VA(8*(len(list)+1))
	for i, s := range list {
		u.store(va+arch.VA(8*i), le.AppendUint64(nil, uint64(data)))
		u.store(data, append([]byte(s), 0))
		data += arch.VA(len(s) + 1)
	}
	u.store(va+arch.VA(8*len(list)), make([]byte, 8))
	return uint64(va)
}

func (u *user) cstring(va arch.VA) string {
	s, err := u.vs().CopyInString(va, 4096)
	if err != nil {
		u.m.t.Errorf("string at %#x: %v", va, err)
	}
	return s
}

// stack is the content of a program's initial stack.
type stack struct {
	argv, env []string
	aux       map[uint64]uint64
}

func (u *user) stack() stack {
	sp := arch.VA(u.u.Frame[u.m.abi.SP])
	if sp%16 != 0 {
		u.m.t.Errorf("SP %#x", sp)
	}
	st := stack{aux: map[uint64]uint64{}}
	next := func() uint64 { v := u.word(sp); sp += 8; return v }
	argc := next()
	for p := next(); p != 0; p = next() {
		st.argv = append(st.argv, u.cstring(arch.VA(p)))
	}
	for p := next(); p != 0; p = next() {
		st.env = append(st.env, u.cstring(arch.VA(p)))
	}
	for k := next(); k != 0; k = next() {
		st.aux[k] = next()
	}
	if int(argc) != len(st.argv) {
		u.m.t.Errorf("argc %d, argv %q", argc, st.argv)
	}
	return st
}

func equal(a []string, b ...string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") }

func TestExec(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		m.writeFile("/tmp/prog", m.executable(delf.ET_EXEC, nil), 0o755)
		m.writeFile("/tmp/pie", m.executable(delf.ET_DYN, nil), 0o755)
		m.writeFile("/tmp/script", []byte("#! /tmp/prog -x  y \nrest"), 0o755)
		var got stack
		bias := arch.VA(0)
		check := func(u *user) {
			got = u.stack()
			if b := u.load(0x402f80+bias, 0x100); !bytes.Equal(b, bytes.Repeat([]byte{0xda}, 0x100)) {
				m.t.Errorf("data % x", b[:16])
			}
			if b := u.load(0x403080+bias, 0x2000); len(bytes.Trim(b, "\x00")) != 0 {
				m.t.Error("the bss is not zero")
			}
			for va, prot := range map[arch.VA]arch.Prot{0x400000: 5, 0x402000: 3, 0x404000: 3} {
				if e := u.m.entry(u, va+bias); e.Prot != prot {
					m.t.Errorf("%#x: %v, want %v", va, e.Prot, prot)
				}
			}
			if brk := arch.VA(u.ok("brk", 0)); brk != 0x406000+bias {
				m.t.Errorf("brk %#x", brk)
			}
			if got.aux[9] != u.u.Frame[m.abi.PC] && got.aux[9] != uint64(0x401000+bias) {
				m.t.Errorf("AT_ENTRY %#x", got.aux[9])
			}
			if got.aux[3] != uint64(0x400040+bias) || got.aux[4] != 56 || got.aux[5] != 2 || got.aux[6] != 4096 {
				m.t.Errorf("aux %#x", got.aux)
			}
			if b := u.load(arch.VA(got.aux[25]), 16); b[0] != 1 || b[15] != 16 {
				m.t.Errorf("AT_RANDOM % x", b)
			}
			if u.cstring(arch.VA(got.aux[15])) != "test" || got.aux[16] != 3 {
				m.t.Error("AT_PLATFORM, AT_HWCAP")
			}
			u.want(syscall.EBADF, "close", 5) // it was close-on-exec
			u.ok("close", 4)
			if m.s.sigPage != nil && !bytes.Equal(u.load(u.vs().Marks().SigPage, 8), sigReturnARM64) {
				m.t.Error("no code at SigPage")
			}
			u.exit(7)
		}
		m.programs.Store(uint64(0x401000), check)
		m.programs.Store(uint64(0x555555555000), check)
		for _, c := range []struct {
			path string
			bias arch.VA
			argv []string
			exe  string
		}{
			{"/tmp/prog", 0, []string{"a", "b c", ""}, "/tmp/prog"},
			{"/tmp/pie", 0x555555554000 - 0x400000, []string{"a", "b c", ""}, "/tmp/pie"},
			{"/tmp/script", 0, []string{"/tmp/prog", "-x  y", "/tmp/script", "b c", ""}, "/tmp/prog"},
		} {
			bias = c.bias
			st := m.run(func(u *user) {
				for i := range uint64(6) { // descriptors 0 to 5
					u.ok("openat", cwd, u.str("/dev/null"), (i/5)*unix.O_CLOEXEC, 0)
				}
				argv := u.strings(dataVA, "a", "b c", "")
				env := u.strings(dataVA+256, "X=1", "Y=")
				u.call("execve", u.str(c.path), argv, env)
				m.t.Error("execve came back")
			})
			if st.ExitStatus() != 7 {
				m.t.Errorf("%s: status %#x", c.path, st)
			}
			if !equal(got.argv, c.argv...) || !equal(got.env, "X=1", "Y=") {
				m.t.Errorf("%s: argv %q env %q", c.path, got.argv, got.env)
			}
		}
	})
}

// randomly replaces the machine's random bytes, which are the same at each call, by real
// random bytes.
func (m *machine) randomly() {
	m.s.cfg.ASLR = true
	r := rand.New(rand.NewSource(1))
	m.s.cfg.Random = func(p []byte) {
		m.mu.Lock()
		defer m.mu.Unlock()
		r.Read(p)
	}
}

// Each run of a program has its five parts at other addresses. With ADDR_NO_RANDOMIZE,
// which fork and exec inherit, and without ASLR, the addresses stay the same.
func TestExecRandom(t *testing.T) {
	type places struct{ text, stack, mmap, brk, sig arch.VA }
	onBoth(t, func(m *machine) {
		m.litters = true
		m.randomly()
		m.writeFile("/tmp/pie", m.executable(delf.ET_DYN, nil), 0o755)
		var got places
		m.anywhere = func(u *user) { // the program's entry
			st := u.stack()
			sp, top := arch.VA(u.u.Frame[m.abi.SP]), u.vs().Marks().StackTop
			if sp > top || top-sp > 12<<10 || u.m.entry(u, sp).End != top {
				m.t.Errorf("sp %#x, stack ends at %#x", sp, top)
			}
			got = places{text: arch.VA(st.aux[9]), stack: sp, brk: arch.VA(u.ok("brk", 0)), sig: u.vs().Marks().SigPage}
			got.mmap = arch.VA(u.ok("mmap", 0, 4096, 3, unix.MAP_PRIVATE|unix.MAP_ANON, ^uint64(0), 0))
			u.exit(0)
		}
		run := func(persona uint64) places {
			m.passes(func(u *user) {
				u.ok("personality", persona)
				pid := u.fork(func(u *user) {
					u.call("execve", u.str("/tmp/pie"), u.strings(dataVA, "pie"), 0)
					m.t.Error("execve came back")
				})
				u.ok("wait4", pid, 0, 0, 0)
				if p := u.ok("personality", 0xffffffff); p != persona {
					m.t.Errorf("personality %#x", p)
				}
				u.exit(0)
			})
			return got
		}
		a, b := run(0), run(0)
		if a.text == b.text || a.stack == b.stack || a.mmap == b.mmap || a.brk == b.brk || a.sig == b.sig {
			m.t.Errorf("a part is where it was: %+x, then %+x", a, b)
		}
		// The address of one part does not reveal that of another.
		if a.text-b.text == a.brk-b.brk || a.mmap-b.mmap == a.stack-b.stack || a.sig-b.sig == a.stack-b.stack {
			m.t.Errorf("a part is at a distance from another that does not change: %+x, %+x", a, b)
		}
		c, d := run(addrNoRandomize), run(addrNoRandomize|8)
		if c != d || c.text != 0x555555555000 {
			m.t.Errorf("ADDR_NO_RANDOMIZE: %+x, then %+x", c, d)
		}
		m.s.cfg.ASLR = false
		if e := run(0); e != c {
			m.t.Errorf("without ASLR: %+x, want %+x", e, c)
		}
	})
}

// Only the superuser can map memory below mmap_min_addr; that includes programs.
func TestMmapMinAddr(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		m.writeFile("/tmp/low", m.executable(delf.ET_EXEC, func(h *delf.Header64, p []delf.Prog64) {
			h.Entry -= 0x3ff000
			p[0].Vaddr, p[1].Vaddr = p[0].Vaddr-0x3ff000, p[1].Vaddr-0x3ff000
		}), 0o755)
		const fixed = unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_FIXED
		m.anywhere = func(u *user) { u.exit(9) }
		m.passes(func(u *user) {
			u.want(syscall.EPERM, "mmap", 0, 4096, 3, fixed, 0, 0)
			u.ok("mmap", 0x1000, 4096, 3, fixed, 0, 0)
			u.ok("mremap", 0x1000, 4096, 4096, unix.MREMAP_FIXED|unix.MREMAP_MAYMOVE, 0x2000)
			pid := u.fork(func(u *user) {
				u.call("execve", u.str("/tmp/low"), u.strings(dataVA, "low"), 0)
				u.exit(1)
			})
			u.ok("wait4", pid, dataVA, 0, 0)
			if st := u.word(dataVA) & 0xffff; st != 9<<8 {
				m.t.Errorf("a low program of the superuser: status %#x", st)
			}
			u.ok("munmap", 0x2000, 4096)
			u.ok("setuid", 1000)
			u.want(syscall.EPERM, "mmap", 0x1000, 4096, 3, fixed, 0, 0)
			u.want(syscall.EPERM, "mmap", 0xf000, 4096, 3, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED_NOREPLACE, 0, 0)
			u.want(syscall.EINVAL, "mmap", 0xf001, 4096, 3, fixed, 0, 0)
			u.ok("mmap", 0x10000, 4096, 3, fixed, 0, 0)
			u.want(syscall.EPERM, "mremap", 0x10000, 4096, 4096, unix.MREMAP_FIXED|unix.MREMAP_MAYMOVE, 0xf000)
			if va := u.ok("mmap", 0x1000, 4096, 3, unix.MAP_PRIVATE|unix.MAP_ANON, 0, 0); va < 0x10000 {
				m.t.Errorf("a hint led to %#x", va)
			}
			u.want(syscall.EPERM, "execve", u.str("/tmp/low"), u.strings(dataVA, "low"), 0)
			u.exit(0)
		})
	})
}

// entry returns the map entry that contains va.
func (m *machine) entry(u *user, va arch.VA) vm.EntryInfo {
	for _, e := range u.vs().Entries() {
		if va >= e.Start && va < e.End {
			return e
		}
	}
	m.t.Errorf("nothing mapped at %#x", va)
	return vm.EntryInfo{}
}

// A file that cannot run leaves the caller unchanged. The end of the test checks that
// nothing leaks.
func TestExecFails(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		broken := m.executable(delf.ET_EXEC, nil)
		other := m.executable(delf.ET_EXEC, func(h *delf.Header64, p []delf.Prog64) { h.Machine ^= 0xff })
		m.writeFile("/tmp/text", []byte("not a program"), 0o755)
		m.writeFile("/tmp/empty", nil, 0o755)
		m.writeFile("/tmp/short", broken[:0x1fff], 0o755)
		m.writeFile("/tmp/other", other, 0o755)
		m.writeFile("/tmp/noexec", broken, 0o644)
		m.writeFile("/tmp/loop", []byte("#!/tmp/loop\n"), 0o755)
		m.writeFile("/tmp/gone", []byte("#!/no/such/shell\n"), 0o755)
		m.writeFile("/tmp/high", m.executable(delf.ET_EXEC, func(h *delf.Header64, p []delf.Prog64) { p[1].Vaddr = 0xffff_8000_0000_0f80 }), 0o755)
		m.writeFile("/tmp/good", broken, 0o755)
		m.passes(func(u *user) {
			for path, want := range map[string]syscall.Errno{
				"/tmp/text": syscall.ENOEXEC, "/tmp/empty": syscall.ENOEXEC, "/tmp/short": syscall.ENOEXEC,
				"/tmp/other": syscall.ENOEXEC, "/tmp/high": syscall.ENOEXEC, "/tmp/noexec": syscall.EACCES,
				"/tmp": syscall.EACCES, "/tmp/none": syscall.ENOENT, "/tmp/loop": syscall.ELOOP,
				"/tmp/gone": syscall.ENOENT, "/tmp/text/x": syscall.ENOTDIR, "": syscall.ENOENT,
			} {
				if e := errno(u.call("execve", u.str(path), u.strings(dataVA, "a"), 0)); e != want {
					m.t.Errorf("%s: %v, want %v", path, e, want)
				}
			}
			u.want(syscall.EFAULT, "execve", u.str("/tmp/good"), 0x9000_0000, 0)
			// Pointers without an end run into unmapped memory. Too many strings are too
			// big.
			long := u.strings(0x20_0000, strings.Repeat("x", 128<<10))
			u.want(syscall.E2BIG, "execve", u.str("/tmp/good"), long, 0)
			same := le.AppendUint64(nil, u.strings(dataVA, "abcdefgh")+16)
			u.store(0x20_0000, bytes.Repeat(same, 1<<17-1))
			u.want(syscall.E2BIG, "execve", u.str("/tmp/good"), 0x20_0000, 0)
		})
		// A failed Start leaks nothing either.
		if _, err := m.s.Start(StartArgs{Path: "/tmp/short"}); err != syscall.ENOEXEC {
			m.t.Error(err)
		}
		if _, err := m.s.Start(StartArgs{Path: "/tmp/good", Console: "/dev/none"}); err != syscall.ENOENT {
			m.t.Error(err)
		}
	})
}

// Start gives the program its console as 0, 1 and 2.
func TestStart(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		m.writeFile("/tmp/prog", m.executable(delf.ET_EXEC, nil), 0o755)
		m.programs.Store(uint64(0x401000), func(u *user) {
			st := u.stack()
			if !equal(st.argv, "/tmp/prog") || !equal(st.env, "A=b") {
				m.t.Errorf("%+v", st)
			}
			sp := arch.VA(u.u.Frame[m.abi.SP]) - 4096
			u.store(sp, []byte("hello\n"))
			u.ok("write", 2, uint64(sp), 6)
			u.want(syscall.EBADF, "write", 3, uint64(sp), 6)
			u.ok("getpid")
		})
		p, err := m.s.Start(StartArgs{Path: "/tmp/prog", Env: []string{"A=b"}, Init: true})
		if err != nil {
			m.t.Fatal(err)
		}
		if p.PID() != 1 {
			m.t.Errorf("init is %d", p.PID())
		}
		if st := m.wait(p); st != proc.ExitStatus(0) {
			m.t.Errorf("status %#x", st)
		}
		if m.out.String() != "hello\r\n" && m.out.String() != "hello\n" {
			m.t.Errorf("console %q", m.out.String())
		}
	})
}

// Start takes a program from bytes, with the files, the directory, the limits and the user
// that it is given.
func TestStartImage(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		at := fs.At{Task: m.s.KernelTask(), Place: m.fs.NewPlace()}
		if err := m.fs.Mkdir(at, "/tmp/dir", 0o755); err != nil {
			m.t.Fatal(err)
		}
		r, w, err := m.fs.Pipe(at.Task, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		m.programs.Store(uint64(0x401000), func(u *user) {
			if st := u.stack(); !equal(st.argv, "prog", "a") || st.aux[11] != 7 {
				m.t.Errorf("%+v", st)
			}
			sp := arch.VA(u.u.Frame[m.abi.SP]) - 4096
			u.want(syscall.EBADF, "read", 0, uint64(sp), 1)
			u.ok("getcwd", uint64(sp), 100)
			if dir := u.cstring(sp); dir != "/tmp/dir" {
				m.t.Errorf("it is in %s", dir)
			}
			u.ok("write", 1, uint64(sp), 8)
			u.ok("dup", 1) // it is 0
			u.want(syscall.EMFILE, "dup", 1)
			if uid := u.ok("getuid"); uid != 7 {
				m.t.Errorf("user %d", uid)
			}
		})
		limits := map[int]proc.Rlimit{unix.RLIMIT_NOFILE: {Cur: 2, Max: 2}}
		image := m.executable(delf.ET_EXEC, nil)
		started := 0
		p, err := m.s.Start(StartArgs{
			Path: "prog", Image: image, Argv: []string{"prog", "a"}, Dir: "/tmp/dir", Files: []*fs.File{nil, w}, Limits: limits,
			Cred:    &proc.Cred{UID: 7, EUID: 7, SUID: 7, FSUID: 7},
			Started: func(p *proc.Process) { started = p.PID() },
		})
		if err != nil {
			m.t.Fatal(err)
		}
		w.Release()
		if st := m.wait(p); st != proc.ExitStatus(0) || started != p.PID() {
			m.t.Errorf("status %#x, Started was called with %d, it is %d", st, started, p.PID())
		}
		b := make([]byte, 100)
		if n, err := r.Read(at.Task, b); string(b[:n]) != "/tmp/dir" || err != nil {
			m.t.Errorf("%q, %v", b[:n], err)
		}
		if n, err := r.Read(at.Task, b); n != 0 || err != nil {
			m.t.Errorf("the pipe has no end: %d bytes, %v", n, err)
		}
		r.Release()
		for name, a := range map[string]StartArgs{
			"a limit that is none":    {Image: image, Limits: map[int]proc.Rlimit{99: {}}},
			"a limit above its top":   {Image: image, Limits: map[int]proc.Rlimit{unix.RLIMIT_AS: {Cur: 2, Max: 1}}},
			"too many descriptors":    {Image: image, Limits: map[int]proc.Rlimit{unix.RLIMIT_NOFILE: {Cur: 1, Max: fs.MaxFDs + 1}}},
			"no program":              {Image: []byte("text"), Files: []*fs.File{}},
			"a script without a path": {Image: []byte("#!/tmp/good\n"), Files: []*fs.File{}},
			"no directory":            {Image: image, Dir: "/none"},
		} {
			if p, err := m.s.Start(a); err == nil {
				m.t.Errorf("%s: no error", name)
				m.wait(p)
			}
		}
	})
}

// Programs with arbitrary damage are refused or run. Nothing stays mapped of a program that
// is refused half way.
func TestStartDamaged(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		seed := rand.Int63()
		m.t.Logf("seed %d", seed)
		r := rand.New(rand.NewSource(seed))
		good := m.executable(delf.ET_EXEC, nil)
		m.writeFile("/tmp/p", good, 0o755)
		m.anywhere = func(u *user) {}
		free, refused := -1, 0
		for range 300 {
			b := bytes.Clone(good)
			for range 1 + r.Intn(3) {
				b[16+r.Intn(64+2*56-16)] = byte(r.Int())
			}
			m.writeFile("/tmp/p", b, 0o755)
			p, err := m.s.Start(StartArgs{Path: "/tmp/p"})
			if err == nil { // it starts at some address
				m.wait(p)
				continue
			}
			if refused++; err != syscall.ENOEXEC && err != syscall.ENOENT && err != syscall.ENOMEM { // ENOMEM: it is larger than RAM
				m.t.Fatalf("% x: %v", b[:176], err)
			}
			m.pm.Drain()
			if n := m.mem.FreeFrames(); free < 0 {
				free = n
			} else if n < free-8 { // dead processes of the other design may wait for the reaper
				m.t.Fatalf("%d frames free, were %d", n, free)
			}
		}
		if refused == 0 {
			m.t.Error("none was refused: the test tests nothing")
		}
	})
}

// The page tables record the user whose code runs on them, through setuid(2), fork(2) and
// execve(2), because branch predictors are flushed between users. Each line fails without
// the call that it names.
func TestPredictorDomains(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		m.writeFile("/tmp/prog", m.executable(delf.ET_EXEC, nil), 0o755)
		domain := func(u *user) uint64 { return u.vs().Pmap().Domain() }
		m.programs.Store(uint64(0x401000), func(u *user) {
			if d := domain(u); d != 1000 {
				m.t.Errorf("after execve: domain %#x", d)
			}
			u.exit(0)
		})
		m.passes(func(u *user) {
			if d := domain(u); d != 0 {
				m.t.Errorf("root: domain %#x", d)
			}
			u.ok("setresuid", ^uint64(0), 1000, ^uint64(0))
			mixed := domain(u)
			if mixed>>32 != 1 {
				m.t.Errorf("a process with two user numbers: domain %#x", mixed)
			}
			u.ok("setresuid", 0, 0, 0)
			u.ok("setuid", 1000)
			pid := u.fork(func(u *user) {
				if d := domain(u); d != 1000 {
					m.t.Errorf("after fork: domain %#x", d)
				}
				u.call("execve", u.str("/tmp/prog"), u.strings(dataVA, "prog"), 0)
				m.t.Error("execve came back")
			})
			u.ok("wait4", pid, 0, 0, 0)
			u.exit(0)
		})
	})
}

// If the shared layout is vulnerable to Meltdown, no process can choose it.
func TestOnlySeparate(t *testing.T) {
	onBoth(t, func(m *machine) {
		for _, only := range []bool{false, true} {
			m.s.cfg.OnlySeparate = only
			m.passes(func(u *user) {
				fd := u.ok("openat", cwd, u.str("/proc/self/layout"), unix.O_WRONLY, 0)
				u.ok("write", fd, u.str("separate"), 8)
				if only {
					u.want(syscall.EINVAL, "write", fd, u.str("shared"), 6)
				} else {
					u.ok("write", fd, u.str("shared"), 6)
				}
				u.exit(0)
			})
		}
	})
}

// interpreted builds a program that names an interpreter.
func (m *machine) interpreted(typ delf.Type, interp string) []byte {
	b := m.executable(typ, nil)
	le.PutUint16(b[56:], 3) // e_phnum
	var p bytes.Buffer
	binary.Write(&p, binary.LittleEndian, delf.Prog64{Type: uint32(delf.PT_INTERP), Off: 0x400, Filesz: uint64(len(interp) + 1)})
	copy(b[64+2*56:], p.Bytes())
	copy(b[0x400:], interp+"\x00")
	return b
}

// A dynamic program starts in its interpreter. The interpreter gets the program's addresses
// (AT_PHDR, AT_ENTRY) and its own (AT_BASE); /proc/self/auxv has the same values. The test
// fails with AT_BASE 0, and with a start at the program's own entry.
func TestExecDynamic(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		m.writeFile("/tmp/ld.so", m.executable(delf.ET_DYN, nil), 0o755)
		m.writeFile("/tmp/fixed-ld.so", m.executable(delf.ET_EXEC, func(h *delf.Header64, p []delf.Prog64) {
			p[0].Vaddr, p[1].Vaddr, h.Entry = 0x700000, 0x702f80, 0x701000
		}), 0o755)
		m.writeFile("/tmp/prog", m.interpreted(delf.ET_EXEC, "/tmp/ld.so"), 0o755)
		m.writeFile("/tmp/pie", m.interpreted(delf.ET_DYN, "ld.so"), 0o755) // relative to /tmp
		m.writeFile("/tmp/both", m.interpreted(delf.ET_EXEC, "/tmp/fixed-ld.so"), 0o755)
		for _, c := range []struct {
			path  string
			bias  arch.VA // of the program
			fixed bool    // the interpreter's address is fixed
		}{{"/tmp/prog", 0, false}, {"/tmp/pie", 0x555555554000 - 0x400000, false}, {"/tmp/both", 0, true}} {
			ran := false
			m.anywhere = func(u *user) {
				ran = true
				st, pc := u.stack(), arch.VA(u.u.Frame[m.abi.PC])
				base := arch.VA(st.aux[7])
				if c.fixed != (base == 0) || pc != base+0x1000 && !c.fixed || c.fixed && pc != 0x701000 {
					m.t.Errorf("%s: AT_BASE %#x, first instruction at %#x", c.path, base, pc)
				}
				if st.aux[9] != uint64(0x401000+c.bias) || st.aux[3] != uint64(0x400040+c.bias) || st.aux[5] != 3 {
					m.t.Errorf("%s: aux %#x", c.path, st.aux)
				}
				for _, va := range []arch.VA{0x402f80 + c.bias, pc + 0x1f80} {
					if b := u.load(va, 0x100); !bytes.Equal(b, bytes.Repeat([]byte{0xda}, 0x100)) {
						m.t.Errorf("%s: data at %#x: % x", c.path, va, b[:16])
					}
				}
				sp := arch.VA(u.u.Frame[m.abi.SP]) - 4096
				u.store(sp, []byte("/proc/self/auxv\x00"))
				fd := u.ok("openat", cwd, uint64(sp), unix.O_RDONLY, 0)
				n := u.ok("read", fd, uint64(sp), 1024)
				aux := map[uint64]uint64{}
				for i := arch.VA(0); i < arch.VA(n); i += 16 {
					aux[u.word(sp+i)] = u.word(sp + i + 8)
				}
				delete(aux, 0)
				if n != uint64(16*(len(st.aux)+1)) || fmt.Sprint(aux) != fmt.Sprint(st.aux) {
					m.t.Errorf("%s: /proc/self/auxv: %d bytes, %#x, want %#x", c.path, n, aux, st.aux)
				}
				u.exit(7)
			}
			m.programs.Clear()
			st := m.run(func(u *user) {
				u.ok("chdir", u.str("/tmp"))
				u.call("execve", u.str(c.path), u.strings(dataVA, "a"), 0)
				m.t.Error("execve came back")
			})
			if st.ExitStatus() != 7 || !ran {
				m.t.Errorf("%s: status %#x", c.path, st)
			}
		}
		m.anywhere = nil
	})
}

// A problem with the interpreter is the error of execve(2). The test fails with ENOEXEC for
// an interpreter that is no program.
func TestExecBadInterpreter(t *testing.T) {
	onBoth(t, func(m *machine) {
		m.litters = true
		other := m.executable(delf.ET_DYN, func(h *delf.Header64, p []delf.Prog64) { h.Machine ^= 0xff })
		m.writeFile("/tmp/text", []byte(strings.Repeat("not a program", 20)), 0o755)
		m.writeFile("/tmp/short", []byte("\x7fELF"), 0o755)
		m.writeFile("/tmp/noexec", m.executable(delf.ET_DYN, nil), 0o644)
		m.writeFile("/tmp/other", other, 0o755)
		m.passes(func(u *user) {
			for interp, want := range map[string]syscall.Errno{
				"/none": syscall.ENOENT, "/tmp": syscall.EACCES, "/tmp/noexec": syscall.EACCES, "/tmp/text": syscall.ELIBBAD,
				"/tmp/short": syscall.EIO, "/tmp/other": syscall.ELIBBAD, "/tmp/text/x": syscall.ENOTDIR,
			} {
				m.writeFile("/tmp/prog", m.interpreted(delf.ET_EXEC, interp), 0o755)
				if e := errno(u.call("execve", u.str("/tmp/prog"), u.strings(dataVA, "a"), 0)); e != want {
					m.t.Errorf("%s: %v, want %v", interp, e, want)
				}
			}
			u.exit(0)
		})
	})
}
