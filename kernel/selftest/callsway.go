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
	"grim/proc"
)

const (
	// waitTable is for a fork with a table of 65 536 descriptors. A fork of this process
	// with one descriptor takes as long, 30 to 38 us. The reason is not known.
	waitTable = 40 * time.Microsecond
	// leastForText is the minimum memory, in pages, for a map of 20 000 entries. With 64 MB,
	// the charges for them make the kernel collect at once, and others wait for 3 ms.
	leastForText = 96 << 20 / 4096
)

// wayCase is a program of callsGiveWay.
type wayCase struct {
	name  string
	prep  func(vs *vm.VMSpace)
	emit  func(p *program)
	limit time.Duration // if it is longer than longestWait
	much  bool          // it needs leastForText
}

// procTexts are files whose text is made when they are read.
var procTexts = []string{"/proc/self/status", "/proc/self/stat", "/proc/self/limits", "/proc/self/mounts",
	"/proc/meminfo", "/proc/stat", "/proc/cpuinfo", "/proc/filesystems", "/proc/locks", "/proc/net/unix"}

// callsGiveWay: no system call keeps others waiting for long, whatever the number of
// descriptors, names, processes or watchers that it must go through.
// Broken by: a loop that does not let others run.
func callsGiveWay(t *T) {
	const (
		many  = 900 // descriptors, below the first limit
		slots = 20_000
		deep  = 3000
		cwd   = ^uint64(99)
	)
	path := func(i int) uint64 { return uint64(wayPaths) + uint64(i)*4096 }
	data := uint64(wayData)
	paths := []string{"/dev/null", "/proc/self/maps", "/tmp/deep", "d", "/tmp/deep/x", "y", "..", "/tmp/link0"}
	const textsAt = 30
	const null, maps, top, name, from, to, up, link = 0, 1, 2, 3, 4, 5, 6, 7
	// Each link has 2000 components.
	links := t.FS.NewPlace()
	const chain = 38
	for i := range chain {
		next := "/" + strings.Repeat("./", 2000) + fmt.Sprint("tmp/link", i+1)
		if i == chain-1 {
			next = "/dev/null"
		}
		t.check("symlink", t.FS.Symlink(next, fs.At{Place: links}, fmt.Sprint("/tmp/link", i)))
	}
	defer func() {
		for i := range chain {
			t.check("unlink", t.FS.Unlink(fs.At{Place: links}, fmt.Sprint("/tmp/link", i), 0))
		}
	}()
	moreFiles := func(p *program) { p.call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, path(20), 0) }
	cases := []wayCase{
		{name: "execve with long strings", emit: func(p *program) {
			p.call(unix.SYS_EXECVE, path(null), 0, path(21)) // EACCES
			p.call(unix.SYS_GETPID)
		}},
		{name: "a map of many entries as text", much: true, prep: func(vs *vm.VMSpace) {
			for i := range arch.VA(slots) {
				t.mapFlags(vs, farVA+i*page, page, arch.Read|arch.Prot(i&1)*arch.Exec, private, nil)
			}
		}, emit: func(p *program) {
			p.call(unix.SYS_OPENAT, cwd, path(maps), 0, 0)
			p.repeat(40, func() { p.call(unix.SYS_READ, 0, data, 65536) })
		}},
		{name: "many epolls watch one descriptor", emit: func(p *program) {
			p.call(unix.SYS_EVENTFD2, 0, 0)
			p.repeat(many, func() { p.call(unix.SYS_EPOLL_CREATE1, 0) })
			for i := range uint64(many) {
				p.call(unix.SYS_EPOLL_CTL, i+1, unix.EPOLL_CTL_ADD, 0, path(22))
			}
			p.call(unix.SYS_WRITE, 0, path(22), 8)
		}},
		{name: "an epoll of many ready descriptors", emit: func(p *program) {
			p.call(unix.SYS_EPOLL_CREATE1, 0)
			p.repeat(many, func() { p.call(unix.SYS_EVENTFD2, 1, 0) })
			for i := range uint64(many) {
				p.call(unix.SYS_EPOLL_CTL, 0, unix.EPOLL_CTL_ADD, i+1, path(22))
			}
			p.call(unix.SYS_EPOLL_PWAIT, 0, data, many, 0, 0, 8)
		}},
		{name: "pselect of many", emit: func(p *program) {
			p.repeat(many, func() { p.call(unix.SYS_EVENTFD2, 0, 0) })
			p.call(unix.SYS_PSELECT6, many, path(23), 0, 0, path(24), 0)
		}},
		{name: "poll of many that wait", emit: func(p *program) {
			p.call(unix.SYS_EVENTFD2, 0, 0)
			p.call(unix.SYS_PPOLL, path(25), 500, path(26), 0, 8)
		}},
		{name: "a free descriptor in a full table", emit: func(p *program) {
			moreFiles(p)
			p.call(unix.SYS_EVENTFD2, 0, 0)
			p.repeat(slots, func() { p.call(unix.SYS_DUP, 0) })
			p.call(unix.SYS_FCNTL, 0, unix.F_DUPFD, 1)
			p.call(unix.SYS_CLOSE_RANGE, 1, ^uint64(0)>>32, 0)
		}},
		{name: "a large table", limit: waitTable, emit: func(p *program) {
			moreFiles(p)
			p.call(unix.SYS_EVENTFD2, 0, 0)
			p.call(unix.SYS_DUP3, 0, 40_000, 0)
			p.call(unix.SYS_DUP3, 0, 65_535, 0)
			var child program
			child.exit(0)
			p.fork(&child)
			p.waitAny(wayData)
		}},
		{name: "poll of a full table", much: true, emit: func(p *program) {
			moreFiles(p)
			p.call(unix.SYS_EVENTFD2, 0, 0)
			p.call(unix.SYS_PPOLL, data, 65_536, path(26), 0, 8)
		}},
		{name: "links to long paths", emit: func(p *program) { p.call(unix.SYS_OPENAT, cwd, path(link), 0, 0) }},
		{name: "rename far down", emit: func(p *program) {
			p.call(unix.SYS_MKDIRAT, cwd, path(top), 0o755)
			p.call(unix.SYS_MKDIRAT, cwd, path(from), 0o755)
			p.call(unix.SYS_CHDIR, path(top))
			p.repeat(deep, func() {
				p.call(unix.SYS_MKDIRAT, cwd, path(name), 0o755)
				p.call(unix.SYS_CHDIR, path(name))
			})
			p.call(unix.SYS_RENAMEAT, cwd, path(from), cwd, path(to))
			p.call(unix.SYS_UNLINKAT, cwd, path(to), unix.AT_REMOVEDIR)
			p.repeat(deep, func() {
				p.call(unix.SYS_CHDIR, path(up))
				p.call(unix.SYS_UNLINKAT, cwd, path(name), unix.AT_REMOVEDIR)
			})
			p.call(unix.SYS_UNLINKAT, cwd, path(top), unix.AT_REMOVEDIR)
		}},
	}
	for i, text := range procTexts {
		cases = append(cases, wayCase{name: text, emit: func(p *program) {
			p.call(unix.SYS_OPENAT, cwd, path(textsAt+i), 0, 0)
			p.call(unix.SYS_READ, 0, data, 65536)
		}})
	}
	for _, c := range cases {
		if c.much && t.Mem.Total() < leastForText {
			continue
		}
		limit := max(c.limit, longestWait)
		if t.Mem.Total() < leastForText {
			limit = littleMemoryWait
		}
		var p program
		c.emit(&p)
		p.exitFailed()
		t.givesWay(c.name, limit, func() time.Duration {
			vs := t.space(&p)
			t.mapped(vs, dataVA, uint64(wayData-dataVA)+1<<20)
			put := func(va uint64, b []byte) { t.check("copy", vs.CopyOut(arch.VA(va), b)) }
			for i, s := range paths {
				put(path(i), append([]byte(s), 0))
			}
			for i, s := range procTexts {
				put(path(textsAt+i), append([]byte(s), 0))
			}
			words := func(v ...uint64) (b []byte) {
				for _, w := range v {
					b = binary.LittleEndian.AppendUint64(b, w)
				}
				return b
			}
			put(path(20), words(65536, 65536))
			env := make([]uint64, 15)
			for i := range 14 {
				env[i] = data + 1<<17
			}
			put(path(21), words(env...))
			put(path(22), words(unix.EPOLLIN, 0))
			put(path(23), []byte(strings.Repeat("\xff", many/8)))
			put(path(24), words(0, 1))
			put(path(25), []byte(strings.Repeat("\x00\x00\x00\x00\x01\x00\x00\x00", 500)))
			put(path(26), words(0, 1))
			put(data+1<<17, []byte(strings.Repeat("a", 131_000)))
			t.check("touch", vs.EnsureWritable(wayData, 1<<20))
			if c.prep != nil {
				c.prep(vs)
			}
			runtime.GC()
			var st proc.Status
			worst := waitsEvery(wayInterval, func() { st = t.run(vs) }) - wayInterval
			if st != 0 {
				t.Errorf("%s: %s", c.name, statusText(st))
			}
			return worst
		})
	}
}
