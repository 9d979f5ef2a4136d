package sys

import (
	delf "debug/elf"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"grim/arch"
)

// allocations returns the bytes that kernel code has allocated on the Go heap, by line: the
// first line of Grim on the stack. Allocations of test files are left out.
func allocations() map[string]int64 {
	runtime.GC() // the profile describes the state before the last collection
	runtime.GC()
	var records []runtime.MemProfileRecord
	for n, ok := runtime.MemProfile(nil, true); !ok; {
		records = make([]runtime.MemProfileRecord, n+100)
		if n, ok = runtime.MemProfile(records, true); ok {
			records = records[:n]
		}
	}
	out := map[string]int64{}
	for i := range records {
		frames := runtime.CallersFrames(records[i].Stack())
		site, count := "", true
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if site == "" && strings.HasPrefix(f.Function, "grim/") {
				site = fmt.Sprintf("%s %s:%d", f.Function, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
				count = !strings.HasSuffix(f.File, "_test.go")
			}
			switch {
			case strings.HasSuffix(f.Function, "sys.(*user).vs"): // the test machine looks up the running thread
				count = false
			case f.Function == "sync.(*Pool).Get": // filled now and then, by chance with the race detector
				count = false
			}
		}
		if count && site != "" {
			out[site] += records[i].AllocObjects
		}
	}
	return out
}

// TestAllocations counts the allocations of hot paths on the Go heap after a warm-up. Each
// allocation brings the next collection nearer, and a collection may come in the middle of
// a fork or exit. The limits are the present numbers. It fails with joined for the
// arguments of every program (executable.program), with a closure passed to Exec, and with
// fmt.Sprintf for the label of every pipe.
func TestAllocations(t *testing.T) {
	old := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	defer func() { runtime.MemProfileRate = old }()
	const warm, n = 20, 100
	for _, c := range []struct {
		name string
		most float64
		run  func(u *user)
	}{
		{"fork, exit and wait", 4, func(u *user) {
			u.fork(func(u *user) {})
			u.ok("wait4", ^uint64(0), 0x20_0000, 0, 0)
		}},
		{"fork, exec, exit and wait", 8, func(u *user) {
			u.fork(func(u *user) {
				u.call("execve", u.str("/tmp/prog"), u.strings(dataVA, "prog", "arg"), u.strings(dataVA+4096, "PATH=/bin", "HOME=/"))
			})
			u.ok("wait4", ^uint64(0), 0x20_0000, 0, 0)
		}},
		{"map, touch and unmap", 0, func(u *user) {
			va := u.ok("mmap", 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON, ^uint64(0), 0)
			u.vs().EnsureWritable(arch.VA(va), 64<<10)
			u.ok("munmap", va, 64<<10)
		}},
		{"pipe", 3, func(u *user) {
			u.ok("pipe2", 0x20_0000, 0)
			r, w := uint64(le.Uint32(u.load(0x20_0000, 4))), uint64(le.Uint32(u.load(0x20_0004, 4)))
			u.ok("write", w, dataVA, 100)
			u.ok("read", r, dataVA, 100)
			u.ok("close", r)
			u.ok("close", w)
		}},
		{"open, read, write and close", 2, func(u *user) {
			fd := u.ok("openat", 0, u.str("/tmp/file"), uint64(syscall.O_RDWR), 0)
			u.ok("pread64", fd, dataVA, 4096, 0)
			u.ok("pwrite64", fd, dataVA, 4096, 0)
			u.ok("close", fd)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, 0, 4096)
			m.litters = true
			m.writeFile("/tmp/prog", m.executable(delf.ET_EXEC, nil), 0o755)
			m.writeFile("/tmp/file", make([]byte, 8192), 0o644)
			m.anywhere = func(u *user) {}
			var before, after map[string]int64
			m.passes(func(u *user) {
				for range warm {
					c.run(u)
				}
				before = allocations()
				for range n {
					c.run(u)
				}
				after = allocations()
			})
			sum, list := 0.0, ""
			var sites []string
			for site := range after {
				sites = append(sites, site)
			}
			slices.Sort(sites)
			for _, site := range sites {
				if d := float64(after[site]-before[site]) / n; d >= 0.05 {
					sum += d
					list += fmt.Sprintf("\n%6.2f  %s", d, site)
				}
			}
			if sum > c.most+0.3 { // other goroutines allocate now and then
				t.Errorf("%.2f allocations each time, at most %.2f are allowed:%s", sum, c.most, list)
			}
		})
	}
}
