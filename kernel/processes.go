//go:build tamago

package kernel

import (
	"fmt"
	"runtime"
	"runtime/goos"
	"syscall"
	"time"

	"grim/arch"
	"grim/kernel/fs"
	"grim/kernel/selftest"
	"grim/kernel/sys"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

// startProcesses sets up system calls, files and the process side, in the order of the
// dependencies. The system calls get the other two last, before the first process.
func (s *system) startProcesses() error {
	var err error
	s.sys, err = sys.New(sys.Config{
		ABI: s.board.ABI(), VM: s.vm,
		Wall:         func() int64 { return time.Now().UnixNano() },
		SetWall:      runtime.SetWallTime,
		Memory:       s.memory,
		Random:       goos.RandomData,
		OpenDisk:     s.openDisk,
		Reboot:       s.reboot,
		Yield:        runtime.Yield,
		Version:      "grim",
		CPU:          s.board.UserCPU(),
		CPUs:         s.board.CPUs(),
		ASLR:         s.opts.ASLR,
		FPU:          s.board.FPU(),
		OnlySeparate: s.spec.OnlySeparate && !s.opts.Insist,
	})
	if err != nil {
		return err
	}
	s.fs, err = fs.New(fs.Config{
		NewPages:  s.newPages,
		NewStored: s.newStored,
		Frames:    s.mem,
		Yield:     runtime.Yield,
		Monotonic: runtime.Nanotime,
		Console:   s.out,
		Interrupt: s.interrupt,
		HangUp:    func(sid int) { s.proc.HangUp(sid) },
		Proc:      s.sys.ProcSource(),
		SignalIO:  s.sys.SignalIO,
		Jobs:      s.sys.Jobs(),
		Memory:    s.memory,
		Charges:   s.charges,

		VolumeBytes: int64(heapBytes() / 8),
	})
	if err != nil {
		return err
	}
	s.proc, err = proc.New(proc.Config{
		Machine: s.board, Memory: s.mem, Pmaps: s.pmaps, VM: s.vm,
		Syscalls: s.sys, Signals: s.sys, SessionEnd: s.fs.EndSession,
		Design: s.opts.Exit, Layout: s.opts.Layout, Slice: s.opts.Slice,
		Log:   func(line string) { fmt.Println("grim:", line) },
		Clock: runtime.Nanotime, Timers: runtime.TimerWords, TimerWords: runtime.SetTimerWords,
		Waits: waits, Yield: runtime.Yield,
	})
	if err != nil {
		return err
	}
	// A thread that has blocked outside of package proc, on a lock or a pager, would
	// otherwise assume that the timer still ends its slice.
	idle := s.board.Idle
	goos.Idle = func(until int64) {
		idle(until)
		s.proc.TimerMoved()
	}
	s.sys.Attach(s.proc, s.fs)
	s.procFiles()
	s.startNetwork()
	go s.readConsole()
	go s.out.Run()
	return nil
}

// waits is runtime.Waits, whose bits are those of proc.Waiting.
func waits() proc.Waiting { return proc.Waiting(runtime.Waits()) }

const _ = -(uint(runtime.WaitsUrgent^proc.WaitsUrgent) | uint(runtime.WaitsWoken^proc.WaitsWoken) |
	uint(runtime.WaitsCut^proc.WaitsCut) | uint(runtime.WaitsLast^proc.WaitsLast))

// procFiles adds the texts to /proc that need more than package fs.
func (s *system) procFiles() {
	s.fs.ProcFile("exits", s.exits)
	s.fs.ProcFile("sys/kernel/osrelease", func() []byte { return []byte(sys.Release + "\n") })
	s.fs.ProcSetting("heap", heapText, collectHeap)
	s.fs.ProcFile("version", func() []byte { return versionText(sys.Release, runtime.Version()) })
	s.fs.ProcFile("sys/kernel/randomize_va_space", func() []byte { return randomizeText(s.opts.ASLR) })
	s.fs.ProcFile("uptime", func() []byte { return uptimeText(runtime.Nanotime()) })
	s.fs.ProcFile("cmdline", func() []byte { return []byte(s.info.CommandLine + "\n") })
	s.fs.ProcFile("cpuinfo", func() []byte { return cpuinfoText(s.board.DescribeCPU(), s.board.CPUs()) })
	s.fs.ProcFile("stat", func() []byte {
		return statText(s.proc.Totals(), s.board.CPUs(), runtime.Nanotime(), time.Now().Unix())
	})
	s.fs.ProcFile("loadavg", func() []byte { return loadText(s.proc.Totals()) })
	s.fs.ProcFile("vmstat", func() []byte { return vmstatText(s.proc.Totals(), s.mem.FreeFrames()) })
	s.fs.ProcFile("interrupts", func() []byte {
		counts := make([]arch.Counts, s.board.CPUs())
		for i := range counts {
			counts[i] = s.board.Counts(i)
		}
		return interruptsText(counts)
	})
	for _, name := range []string{"online", "possible", "present"} {
		s.fs.SysFile("devices/system/cpu/"+name, func() []byte { return rangeText(s.board.CPUs()) })
	}
	for i := range s.board.CPUs() {
		s.fs.SysFile(fmt.Sprintf("devices/system/cpu/cpu%d/online", i), func() []byte { return []byte("1\n") })
	}
	s.fs.SysFile("devices/system/node/online", func() []byte { return []byte("0\n") })
	s.fs.SysFile("devices/system/node/node0/cpulist", func() []byte { return rangeText(s.board.CPUs()) })
}

func (s *system) newPages(name string, payer *charge.User) (fs.Pages, error) {
	return vm.NewUserFile(s.vm, name, nil, payer)
}

func (s *system) newStored(name string, st vm.Store, size int64) (*vm.FileObject, error) {
	return vm.NewStoredFile(s.vm, name, st, size)
}

// interrupt sends the signal that the console's line discipline requests to the foreground
// group.
func (s *system) interrupt(pgid int, sig syscall.Signal) {
	if pgid != 0 {
		// It is no error if the group has ended in the meantime.
		_ = s.proc.SignalGroup(pgid, &proc.Siginfo{Signo: sig})
	}
}

// readConsole passes typed bytes to the terminal, for ever.
func (s *system) readConsole() {
	var b [64]byte
	for {
		n, err := s.board.Read(b[:])
		if err != nil {
			fmt.Println("grim: console input:", err)
			return
		}
		s.fs.TTY().Input(b[:n])
	}
}

func (s *system) memory() (total, free uint64) {
	return uint64(s.mem.Total()) << arch.PageShift, uint64(s.mem.FreeFrames()) << arch.PageShift
}

func (s *system) exits() []byte {
	events, _ := s.proc.Events(0)
	return exitsText(events)
}

// reboot implements reboot(2). The tests' verdict is printed first.
func (s *system) reboot(restart bool) {
	if restart {
		s.out.Sync()
		s.board.Restart()
	}
	s.powerOff("init", 0)
}

// unpack fills the root file system. It gives the archive's memory to the frame allocator,
// block after block, as soon as it is not needed any more. So a tree and its archive need
// not fit into memory together.
func (s *system) unpack() error {
	r := s.info.Initrd
	if r.Size == 0 {
		return fmt.Errorf("the boot loader handed over no initramfs: give QEMU -initrd")
	}
	next := (arch.PA(r.Base) + arch.PageSize - 1) &^ (arch.PageSize - 1)
	free := func(end arch.PA) {
		if next < end {
			// An error means that the range is outside of all known memory. Then only this
			// range is lost.
			_ = s.mem.Add(phys.Range{Start: next, End: end})
			next = end
		}
	}
	err := s.fs.Unpack(directBytes(arch.PA(r.Base), r.Size), func(upTo int) {
		free((arch.PA(r.Base) + arch.PA(upTo)) &^ (arch.BlockSize - 1))
	})
	if err != nil {
		return err
	}
	free(arch.PA(r.Base+r.Size) &^ (arch.PageSize - 1))
	s.fs.Limit(s.fs.Limits())
	return nil
}

// selfTests returns the parts of the kernel that the self-tests may use.
func (s *system) selfTests() *selftest.Env {
	return &selftest.Env{
		Machine: s.board, Mem: s.mem, Pmaps: s.pmaps, VM: s.vm, FS: s.fs, Proc: s.proc,
		Layout: s.opts.Layout, Design: s.opts.Exit, Select: s.opts.SelfTest, Report: s.report,
		NewFiles: s.sys.NewFiles, HeapBytes: heapBytes(), Virtual: s.opts.Virtual,
		Image: image(), KernelRights: kernelRights, Format: pageFormat(),
		OnExitStep: s.proc.SetTrace, Standing: s.net.Goroutines, Pin: runtime.Pin, Unpin: runtime.Unpin,
		Soak: s.opts.Soak, Seed: s.seed(), Exits: uint64(s.opts.Exits), ConsoleWaits: s.out.Waits,
		Exec: func(path string, args []string, layout arch.Layout, d *exit.Design) (*proc.Process, error) {
			return s.sys.Start(sys.StartArgs{
				Path: path, Argv: append([]string{path}, args...), Env: environment, Layout: layout, Design: d,
			})
		},
	}
}

// seed returns the seed of the mixed load.
func (s *system) seed() uint64 {
	if s.opts.Seed != 0 {
		return s.opts.Seed
	}
	return uint64(time.Now().UnixNano()) % 1_000_000
}

// image returns the addresses of the kernel's text and constants.
func image() selftest.Image {
	text, etext, rodata, erodata, data, end := runtime.Sections()
	return selftest.Image{
		Text: arch.VA(text), EText: arch.VA(etext),
		Rodata: arch.VA(rodata), ERodata: arch.VA(erodata),
		Data: arch.VA(data), End: arch.VA(end),
		Guards: stackGuards(),
	}
}

// environment is the environment of the programs that the kernel starts.
var environment = []string{"PATH=/bin", "HOME=/root", "TERM=vt100"}

// runInit runs the first process to its end.
func (s *system) runInit() (proc.Status, error) {
	p, err := s.sys.Start(sys.StartArgs{
		Path: s.opts.Init, Argv: append([]string{s.opts.Init}, s.opts.Args...), Env: environment,
		Layout: s.opts.Layout, Init: true,
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.opts.Init, err)
	}
	return p.Wait().Status, nil
}
