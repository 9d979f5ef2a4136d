package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The soak is a mixed load of everything that processes do, for some time, on all CPUs.
// Each worker is a process and chooses its operations by a seed, so that a run can be
// repeated. What the CPUs do at the same time differs from run to run. Nothing here has a time
// limit, as a busy host may take any time: a hang is found by the limit of the whole boot.

var soakTests = []test{
	{name: "soak-short", run: func() { soak(200*time.Millisecond, 1) }, slow: true},
}

func init() {
	helpers["helper-soak"] = func(args []string) {
		seconds, err1 := strconv.Atoi(args[0])
		seed, err2 := strconv.ParseUint(args[1], 10, 64)
		if err1 != nil || err2 != nil {
			fail("helper-soak SECONDS SEED")
		}
		soak(time.Duration(seconds)*time.Second, seed)
	}
	helpers["helper-soak-worker"] = soakWorker
	helpers["helper-soak-busy"] = soakBusy
}

// soak runs the workers, two for each CPU, and waits for them.
func soak(d time.Duration, seed uint64) {
	n := 2*runtime.NumCPU() + 1
	fmt.Printf("soak: %d workers for %v, seed %d\n", n, d, seed)
	dir, err := os.MkdirTemp("", "soak")
	check("mkdir", err)
	end := time.Now().Add(d)
	var outs []*bytes.Buffer
	var cmds []*exec.Cmd
	for i := range n {
		out := new(bytes.Buffer)
		cmd := self("helper-soak-worker", fmt.Sprint(seed+uint64(i)), fmt.Sprint(end.UnixNano()), filepath.Join(dir, fmt.Sprint(i)))
		cmd.Stdout, cmd.Stderr = out, out
		check("start of a worker", cmd.Start())
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	done := map[string]int{}
	failed := false
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			fmt.Fprintf(os.Stderr, "soak: worker with seed %d: %v\n%s", seed+uint64(i), err, outs[i])
			failed = true
		}
		for f := range strings.FieldsSeq(outs[i].String()) {
			if name, count, ok := strings.Cut(f, "="); ok {
				k, _ := strconv.Atoi(count)
				done[name] += k
			}
		}
	}
	check("remove", os.RemoveAll(dir))
	var line strings.Builder
	for _, o := range soakOps {
		fmt.Fprintf(&line, " %s=%d", o.name, done[o.name])
	}
	fmt.Printf("soak:%s\n", &line)
	if failed {
		fail("soak with seed %d failed", seed)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		fail("a child is left: %d, %v", pid, err)
	}
}

// soaker is a worker's state.
type soaker struct {
	*rand.Rand
	dir string
}

// soakOps are the operations of a worker. It does each several times a second.
var soakOps = []struct {
	name string
	run  func(s *soaker)
}{
	{"fork", (*soaker).fork}, {"exec", (*soaker).exec}, {"threads", (*soaker).threads},
	{"memory", (*soaker).memory}, {"file", (*soaker).file}, {"pipe", (*soaker).pipe},
	{"signal", (*soaker).signal}, {"kill", (*soaker).kill}, {"shared", (*soaker).shared},
	{"place", (*soaker).place},
}

func soakWorker(args []string) {
	seed, _ := strconv.ParseUint(args[0], 10, 64)
	ns, _ := strconv.ParseInt(args[1], 10, 64)
	end := time.Unix(0, ns)
	quiet()
	s := &soaker{Rand: rand.New(rand.NewPCG(seed, seed)), dir: args[2]}
	check("mkdir", os.Mkdir(s.dir, 0o755))
	counts := make([]int, len(soakOps))
	first := s.Perm(len(soakOps)) // each operation is done once, however slow the host is
	for turn := 0; turn < len(first) || time.Now().Before(end); turn++ {
		i := s.IntN(len(soakOps))
		if turn < len(first) {
			i = first[turn]
		}
		soakNow.Store(int32(i))
		soakOps[i].run(s)
		counts[i]++
		if turn%16 == 15 {
			runtime.GC()
		}
	}
	for i, o := range soakOps {
		fmt.Printf(" %s=%d", o.name, counts[i])
	}
}

var soakNow atomic.Int32 // the present operation, for a debugger

// fork: a child writes to half of the memory that it has from its parent, which writes to
// the other half. Neither sees the other's writes.
func (s *soaker) fork() {
	pages := 1 + s.IntN(700)
	b := anon(pages * 4096)
	for i := range pages {
		b[i*4096] = byte(i)
	}
	child := fork(func() int {
		for i := 0; i < pages; i += 2 {
			b[i*4096] = 255
		}
		for i := 1; i < pages; i += 2 {
			if b[i*4096] != byte(i) {
				return 1
			}
		}
		return 0
	})
	for i := 0; i < pages; i += 2 {
		if b[i*4096] != byte(i) {
			fail("fork: the parent sees what its child has written")
		}
	}
	if s.IntN(2) == 0 {
		check("munmap", unix.Munmap(b))
		equal("fork: child's status", wait(child), 0)
		return
	}
	for i := range pages / 2 {
		b[(2*i+1)*4096+1] = 7
	}
	equal("fork: child's status", wait(child), 0)
	check("munmap", unix.Munmap(b))
}

// exec: a program gets words and prints them.
func (s *soaker) exec() {
	word := fmt.Sprint(s.Uint64())
	out, err := self("helper-echo", word).Output()
	check("exec", err)
	if !strings.Contains(string(out), word) {
		fail("exec: said %q instead of %q", out, word)
	}
}

// threads: some threads begin, work at the same time, and end.
func (s *soaker) threads() {
	var wg sync.WaitGroup
	var sum atomic.Int64
	n := 1 + s.IntN(8)
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread() // the thread ends with the goroutine
			b := anon(64 << 10)
			for i := range b {
				b[i] = 1
			}
			for _, x := range b {
				sum.Add(int64(x))
			}
			check("munmap", unix.Munmap(b))
		}()
	}
	wg.Wait()
	equal("threads: sum", sum.Load(), int64(n*64<<10))
}

// memory: while threads write to their parts of a mapping, other parts are unmapped,
// protected and given back.
func (s *soaker) memory() {
	const part = 64 << 10
	parts := 2 + s.IntN(6)
	b := anon(parts * part)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for p := 0; p < parts; p += 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := b[p*part : (p+1)*part]
			for n := byte(1); !stop.Load(); n++ {
				for i := 0; i < part; i += 512 {
					mine[i] = n
				}
				for i := 0; i < part; i += 512 {
					if mine[i] != n {
						fail("memory: %d at %#x, want %d", mine[i], i, n)
					}
				}
			}
		}()
	}
	for range 10 {
		p := 1 + 2*s.IntN(parts/2)
		if p >= parts {
			p = 1
		}
		other := b[p*part : (p+1)*part]
		switch s.IntN(3) {
		case 0:
			other[100] = 1
			check("mprotect", unix.Mprotect(other, unix.PROT_READ))
			equal("memory: what was written", other[100], 1)
			check("mprotect", unix.Mprotect(other, unix.PROT_READ|unix.PROT_WRITE))
		case 1:
			other[200] = 1
			check("madvise", unix.Madvise(other, unix.MADV_DONTNEED))
			equal("memory: what was given back", other[200], 0)
		case 2:
			at := uintptr(unsafe.Pointer(&other[0]))
			sysMust(unix.SYS_MUNMAP, at, part)
			got := sysMust(unix.SYS_MMAP, at, part, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED, ^uintptr(0), 0)
			equal("memory: mmap", uintptr(got), at)
			equal("memory: what is new", other[0], 0)
			other[0] = 1
		}
	}
	stop.Store(true)
	wg.Wait()
	check("munmap", unix.Munmap(b))
}

// file: written data is read back, by read and through a mapping.
func (s *soaker) file() {
	name := filepath.Join(s.dir, "file")
	data := make([]byte, 1+s.IntN(100_000))
	x := byte(s.Uint32())
	for i := range data {
		data[i] = x + byte(i>>8)
	}
	check("write", os.WriteFile(name, data, 0o644))
	check("rename", os.Rename(name, name+"2"))
	got, err := os.ReadFile(name + "2")
	check("read", err)
	if !bytes.Equal(got, data) {
		fail("file: %d bytes written, others read", len(data))
	}
	fd, err := unix.Open(name+"2", unix.O_RDWR|unix.O_CLOEXEC, 0)
	check("open", err)
	m, err := unix.Mmap(fd, 0, len(data), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check("mmap", err)
	at := s.IntN(len(data))
	m[at]++
	check("munmap", unix.Munmap(m))
	var one [1]byte
	_, err = unix.Pread(fd, one[:], int64(at))
	check("pread", err)
	equal("file: what a mapping wrote", one[0], data[at]+1)
	check("close", unix.Close(fd))
	check("unlink", os.Remove(name+"2"))
}

// pipe: the input of a program comes back as its output.
func (s *soaker) pipe() {
	cmd := self("helper-soak-busy", "copy")
	in, err := cmd.StdinPipe()
	check("pipe", err)
	out, err := cmd.StdoutPipe()
	check("pipe", err)
	check("start", cmd.Start())
	data := bytes.Repeat([]byte{byte(s.Uint32())}, 1+s.IntN(200_000))
	go func() {
		_, err := in.Write(data)
		check("write", err)
		in.Close()
	}()
	got, err := io.ReadAll(out)
	check("read", err)
	check("wait", cmd.Wait())
	if !bytes.Equal(got, data) {
		fail("pipe: %d bytes in, %d out", len(data), len(got))
	}
}

// signal: each signal is received. It is sent only after the one before has been received.
func (s *soaker) signal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGUSR1)
	for range 1 + s.IntN(20) {
		check("kill", unix.Kill(os.Getpid(), unix.SIGUSR1))
		<-c
	}
	signal.Stop(c)
}

// kill: a process whose threads run on all CPUs is killed, or ends by itself.
func (s *soaker) kill() {
	how := []string{"run", "exit", "exec"}[s.IntN(3)]
	cmd := self("helper-soak-busy", how)
	check("start", cmd.Start())
	if how != "run" {
		check("kill: wait", cmd.Wait())
		return
	}
	time.Sleep(time.Duration(s.IntN(8000)) * time.Microsecond)
	check("kill", cmd.Process.Kill())
	_ = cmd.Wait()
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		fail("kill: status %#x", ws)
	}
}

// soakBusy is a process whose threads compute, and change their memory, until the process
// ends.
func soakBusy(args []string) {
	if args[0] == "copy" {
		_, err := io.Copy(os.Stdout, os.Stdin)
		check("copy", err)
		return
	}
	for range runtime.NumCPU() + 1 {
		go func() {
			for {
				b := anon(256 << 10)
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				check("munmap", unix.Munmap(b))
			}
		}()
	}
	if args[0] == "run" {
		select {} // until it is killed
	}
	time.Sleep(2 * time.Millisecond)
	if args[0] == "exec" {
		check("exec", unix.Exec("/proc/self/exe", []string{"utest", "helper-echo", "x"}, os.Environ()))
	}
}

// shared: a child and its parent add to the same word, and wait in different ways.
func (s *soaker) shared() {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	check("mmap", err)
	turn := (*uint32)(unsafe.Pointer(&b[0]))
	n := uint32(2 * (1 + s.IntN(50)))
	child := fork(func() int { pass(turn, 1, n); return 0 })
	pass(turn, 0, n)
	equal("shared: child's status", wait(child), 0)
	equal("shared: turns", atomic.LoadUint32(turn), n)
	check("munmap", unix.Munmap(b))
}

// pass adds 1 to turn whenever turn is even (me 0) or odd (me 1), until it is end. If a
// wake-up is lost, both processes sleep for ever.
func pass(turn *uint32, me, end uint32) {
	const wait, wake = 0, 1
	for {
		v := atomic.LoadUint32(turn)
		if v == end {
			return
		}
		if v%2 == me {
			atomic.AddUint32(turn, 1)
			syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(turn)), wake, 1, 0, 0, 0)
			continue
		}
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(turn)), wait, uintptr(v), 0, 0, 0)
	}
}

// place: the worker moves from CPU to CPU, and changes its scheduling.
func (s *soaker) place() {
	all := affinity()
	for range 1 + s.IntN(5) {
		i := s.IntN(64)
		if all>>i&1 != 0 {
			setAffinity(1 << i)
			equal("place: the CPU", rawCPU(), i)
		}
	}
	setAffinity(all)
	setPolicy([]int{0, 3, 5}[s.IntN(3)], 0)
	for begin := time.Now(); time.Since(begin) < time.Millisecond; {
	}
	setPolicy(0, 0)
}
