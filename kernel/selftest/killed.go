package selftest

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
)

// longestEnd is how much longer a process may take to end after a fatal signal than if it
// sleeps: 25 us until the call looks at its signals, and what the call has to give back.
const longestEnd = 40 * time.Microsecond

// callsKilled: a fatal signal ends a call at once, however much the program has asked for.
// Each call here takes some hundred microseconds or more. The time from the signal to the
// end of the process is compared with that of a process which sleeps instead.
// Broken by: sysMincore, poll's loops, Sync or wireAll that do not ask whether the thread is
// to end.
func callsKilled(t *T) {
	const (
		cwd    = ^uint64(99)
		links  = 38
		names  = 1500
		fds    = 65_536
		slots  = 8000
		bytes  = 2 << 20
		vary   = farVA           // what only some calls map
		marker = dataVA          // the program is about to make its call
		paths  = dataVA + 2*page // and structures
		data   = wayData
	)
	path := func(i int) uint64 { return uint64(paths) + uint64(i)*4096 }
	const dir = "/tmp/killed"
	at := fs.At{Place: t.FS.NewPlace()}
	t.check("mkdir", t.FS.Mkdir(at, dir, 0o755))
	for i := range names {
		t.check("symlink", t.FS.Symlink("x", at, fmt.Sprint(dir, "/", i)))
	}
	for i := range links {
		next := "/" + strings.Repeat("./", 2000) + fmt.Sprint("tmp/killed.", i+1)
		t.check("symlink", t.FS.Symlink(next, at, fmt.Sprint("/tmp/killed.", i)))
	}
	defer func() {
		for i := range names {
			t.check("unlink", t.FS.Unlink(at, fmt.Sprint(dir, "/", i), 0))
		}
		for i := range links {
			t.check("unlink", t.FS.Unlink(at, fmt.Sprint("/tmp/killed.", i), 0))
		}
		t.check("rmdir", t.FS.Unlink(at, dir, unix.AT_REMOVEDIR))
	}()
	texts := []string{dir, "/dev/zero", "/proc/self/maps", "/tmp/killed.0", "/dev/null", "/dev/urandom", ""}
	const list, zero, maps, chain, null, random = 0, 1, 2, 3, 4, 5
	limits, env := path(20), path(21)
	open := func(p *program, i int, flags uint64) { p.call(unix.SYS_OPENAT, cwd, path(i), flags, 0) }
	memory := func(vs *vm.VMSpace) {
		w := way{t: t, vs: vs}
		w.t.mapped(vs, vary, 4*bytes)
		t.check("touch", vs.EnsureWritable(vary, 4*bytes))
		for va := vary; va < vary+4*bytes; va += arch.BlockSize {
			t.check("no block", vs.Pmap().Demote(va))
		}
	}
	for _, c := range []struct {
		name string
		prep func(vs *vm.VMSpace)
		emit func(p *program) // descriptors
		call func(p *program)
	}{
		{"getdents", nil, func(p *program) { open(p, list, 0) },
			func(p *program) {
				p.repeat(6, func() { p.call(unix.SYS_GETDENTS64, 0, uint64(data), 65536) })
			}},
		{"read of /dev/zero", nil, func(p *program) { open(p, zero, 0) },
			func(p *program) { p.call(unix.SYS_READ, 0, uint64(data), bytes) }},
		{"read of /dev/urandom", nil, func(p *program) { open(p, random, 0) },
			func(p *program) { p.call(unix.SYS_READ, 0, uint64(data), bytes) }},
		{"getrandom", nil, nil, func(p *program) { p.call(unix.SYS_GETRANDOM, uint64(data), bytes, 0) }},
		{"poll", nil, func(p *program) {
			p.call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, limits, 0)
			p.call(unix.SYS_EVENTFD2, 0, 0)
		}, func(p *program) { p.call(unix.SYS_PPOLL, uint64(data), fds, 0, 0, 8) }},
		{"a path of links", nil, nil, func(p *program) { open(p, chain, 0) }},
		{"execve", nil, nil, func(p *program) { p.call(unix.SYS_EXECVE, path(null), 0, env) }},
		{"/proc/self/maps", func(vs *vm.VMSpace) {
			for i := range arch.VA(slots) {
				t.mapFlags(vs, vary+i*page, page, arch.Read|arch.Prot(i&1)*arch.Exec, private, nil)
			}
		}, func(p *program) { open(p, maps, 0) },
			func(p *program) { p.call(unix.SYS_READ, 0, uint64(data), bytes) }},
		{"madvise POPULATE_WRITE", func(vs *vm.VMSpace) { t.mapped(vs, vary, bytes/2); t.mapped(vs, vary+bytes/2, bytes) }, nil,
			func(p *program) { p.call(unix.SYS_MADVISE, uint64(vary), bytes, unix.MADV_POPULATE_WRITE) }},
		{"madvise POPULATE_READ", memory, nil,
			func(p *program) { p.call(unix.SYS_MADVISE, uint64(vary), 4*bytes, unix.MADV_POPULATE_READ) }},
		{"mincore", memory, nil, func(p *program) { p.call(unix.SYS_MINCORE, uint64(vary), 4*bytes, uint64(data)) }},
		{"mlockall", memory, nil, func(p *program) { p.call(unix.SYS_MLOCKALL, unix.MCL_CURRENT) }},
		{"msync", func(vs *vm.VMSpace) {
			f := t.newFile(nil, 4*bytes)
			t.mapFlags(vs, vary, 4*bytes, readWrite, vm.Fixed|vm.Shared, f)
			f.Unref()
			t.check("touch", vs.EnsureWritable(vary, 4*bytes))
		}, nil, func(p *program) { p.call(unix.SYS_MSYNC, uint64(vary), 4*bytes, unix.MS_SYNC) }},
	} {
		if c.name == "poll" && t.Mem.Total() < leastForText {
			continue // a table of so many descriptors is refused
		}
		took := func(call func(p *program)) time.Duration {
			var p program
			if c.emit != nil {
				c.emit(&p)
			}
			p.store(marker, 1)
			call(&p)
			p.exit(0)
			vs := t.space(&p)
			begun := t.newFile(nil, page)
			t.mapFlags(vs, marker, page, readWrite, vm.Fixed|vm.Shared, begun)
			t.mapped(vs, marker+page, uint64(data-marker-page)+bytes)
			t.check("touch", vs.EnsureWritable(marker, uint64(data-marker)+bytes))
			put := func(va uint64, b []byte) { t.check("copy", vs.CopyOut(arch.VA(va), b)) }
			for i, s := range texts {
				put(path(i), append([]byte(s), 0))
			}
			put(limits, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, fds), fds))
			for i := range uint64(14) {
				put(env+8*i, binary.LittleEndian.AppendUint64(nil, uint64(data)+1<<17))
			}
			put(uint64(data)+1<<17, []byte(strings.Repeat("a", 131_000)+"\x00"))
			put(uint64(data)+1<<18, make([]byte, 1))
			if c.prep != nil {
				c.prep(vs)
			}
			runtime.GC()
			proc := t.start(vs)
			for t.fileByte(begun, 0) == 0 {
				time.Sleep(10 * time.Microsecond) // then this goroutine is woken in the middle of the call
			}
			begin := time.Now()
			t.check("kill", proc.Signal(siginfo(unix.SIGKILL)))
			st := proc.Wait().Status
			d := time.Since(begin)
			begun.Unref()
			if !st.Signaled() || st.Signal() != unix.SIGKILL {
				t.Errorf("%s: %s", c.name, statusText(st))
			}
			return d
		}
		asleep := took((*program).pause)
		inCall := took(c.call)
		if inCall-asleep > longestEnd {
			t.Errorf("%s goes on for %v after SIGKILL", c.name, inCall-asleep)
		}
	}
}
