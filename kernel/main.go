//go:build tamago

// Package kernel connects the parts of Grim: start-up order, console, the first process,
// self-tests, power-off. Policy is in mm and proc, mechanism in arch.
//
// It is also what a kernel of one's own is written with: a main package that calls Boot and
// goes on in Go, as a task of the kernel beside isolated processes. Kernel starts programs
// and waits for them (program.go), reads and writes files, serves files whose pages Go code
// has (files.go), and reaches the network (net.go). ./kernel/grim is such a main package,
// and ./kernel/lab a web server.
//
// A kernel task is a goroutine. It may do all that Go code may do, except that package os
// and system calls reach only the console: files are the Kernel's. Kernel code is not
// interrupted by user threads, and no timer interrupts it either: a task that computes for
// long must call runtime.Gosched now and then, every 10 000 instructions or so.
package kernel

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"runtime/goos"
	"strings"
	"sync"

	"grim/arch"
	"grim/boot/machine"
	"grim/kernel/cmdline"
	"grim/kernel/console"
	"grim/kernel/disk"
	"grim/kernel/fs"
	"grim/kernel/inet"
	"grim/kernel/selftest"
	"grim/kernel/sys"
	"grim/kernel/tap"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
	"grim/mm/vm"
	"grim/proc"
)

// leastMemory is the memory that the kernel needs to boot and run its tests. With less it
// prints a message and stops.
const leastMemory = 60 << 20 // 64 MB less what firmware keeps for itself

// system is the running kernel.
type system struct {
	info  *machine.Info
	opts  cmdline.Options
	board board
	spec  arch.Speculation
	out   *console.Console

	charges *charge.System
	mem     *phys.Memory
	pmaps   *pmap.System
	vm      *vm.System
	fs      *fs.FS
	disks   []disk.Device // with their partitions
	nic     *netPort      // the network device; nil: none
	share   *virtioDevice // behind which a directory of the host is; nil: none
	net     *inet.Net
	sys     *sys.System
	proc    *proc.Kernel

	report *tap.Report
}

// Kernel is the running machine. Its methods may be called by several goroutines.
type Kernel struct {
	s *system

	// mu is taken with locks of package proc held, so no other lock is taken under it.
	mu    sync.Mutex
	procs map[int32]*Process // [mu] by number: those whose exits are followed
	watch func(Step)         // [mu] see OnExitStep
}

// Boot brings the machine up after the start of the Go runtime: memory, devices, the file
// tree out of the initramfs. It must be called once, first of all. If the machine cannot
// run, Boot prints the reason and ends it.
func Boot() *Kernel {
	s := &system{report: tap.New(os.Stdout)}
	if err := s.start(); err != nil {
		s.stop("boot: " + err.Error())
	}
	crash(s.opts.Crash, s.board)
	return &Kernel{s: s, procs: map[int32]*Process{}}
}

// SelfTest runs the tests that the kernel argument selftest= selects. It must be called
// before the first Start.
func (k *Kernel) SelfTest() { selftest.Run(k.s.selfTests()) }

// RunInit runs the program of the kernel argument init= as process 1, and ends the machine
// when that process ends.
func (k *Kernel) RunInit() {
	status, err := k.s.runInit()
	if err != nil {
		k.s.stop("init: " + err.Error())
	}
	k.s.powerOff("init", status)
}

// PowerOff ends the machine, successfully if status is 0. Disks are written and unmounted
// first. The closing line of the tests counts status as a result.
func (k *Kernel) PowerOff(status int) { k.s.powerOff("main", proc.ExitStatus(status)) }

// Args returns the arguments that follow "--" on the kernel command line.
func (k *Kernel) Args() []string { return k.s.opts.Args }

// stop ends a machine that cannot continue. The reason is the last line.
func (s *system) stop(reason string) {
	fmt.Println("grim:", reason)
	s.exit(1)
}

func (s *system) exit(status int32) {
	if s.board == nil {
		exitEarly(status)
	}
	s.endDisks(status)
	if s.out != nil {
		s.out.Sync() // send the programs' output
	}
	s.board.Exit(status)
}

// start brings everything up, in the order of the dependencies.
func (s *system) start() error {
	var err error
	if s.info, err = discover(); err != nil {
		return err
	}
	if err := s.parseOptions(); err != nil {
		return err
	}
	boot := &bootMemory{free: s.info.Usable(imageRange()), tables: tableLimit}
	if total := memoryBytes(s.info.Memory); total < leastMemory {
		return fmt.Errorf("%d MB of memory: at least %d MB are needed", total>>20, (leastMemory>>20)+4)
	}
	if s.board, err = openBoard(s.info, &s.opts, boot); err != nil {
		return err
	}
	s.spec = s.board.Speculation()
	if s.spec.OnlySeparate && !s.opts.Insist {
		s.opts.Layout = arch.Separate
	}
	for _, w := range s.board.Warnings() {
		fmt.Println("grim: warning:", w)
	}
	s.console()
	if t, err := s.board.WallTime(); err == nil {
		runtime.SetWallTime(t.UnixNano())
	}
	if err := s.growHeap(boot); err != nil {
		return err
	}
	if err := s.startMemory(boot); err != nil {
		return err
	}
	s.banner()
	goos.Leave = s.leave()
	runtime.SetCPUs(s.board.CPUs())
	if err := s.startProcesses(); err != nil {
		return err
	}
	if err := s.unpack(); err != nil {
		return err
	}
	s.startDevices()
	if err := s.mountRoot(); err != nil {
		return err
	}
	s.mountShare()
	if a := s.opts.Net.NameServer; a.IsValid() {
		(&resolver{fs: s.fs}).set([]netip.Addr{a})
	}
	s.limitCharges()
	runtime.PrepareHeap(uintptr(heapBytes() / heapAhead))
	go collectWhenIdle()
	return nil
}

func (s *system) parseOptions() error {
	opts, warnings, err := cmdline.Parse(s.info.CommandLine)
	for _, w := range warnings {
		fmt.Println("grim: warning:", w)
	}
	s.opts = opts
	return err
}

// imageRange returns the kernel image with its first heap.
func imageRange() machine.Range {
	end := uint64(runtime.Heap().Limit) - uint64(arch.KernelBase)
	return machine.Range{Base: goos.PhysBase, Size: end}
}

func memoryBytes(rs []machine.Range) (n uint64) {
	for _, r := range rs {
		n += r.Size
	}
	return n
}

// console moves output, the runtime's hooks and randomness to the board.
func (s *system) console() {
	s.out = console.New(s.board, func() {
		if s.fs != nil {
			s.fs.TTY().Sent()
		}
	})
	goos.Printk = func(c byte) {
		if c == '\n' {
			s.out.Sync('\r')
		}
		s.out.Sync(c)
	}
	goos.Exit = s.exit
	goos.Idle = s.board.Idle
	if s.board.CPUs() > 1 {
		goos.Task, goos.Wake, goos.Stop = s.board.Task, s.board.Wake, s.board.StopOthers
		goos.ProcID = func() uint64 { return uint64(runtime.ThisCPU()) }
	}
	goos.RandomData = newGenerator(s.info.Seed, s.board.Random, s.board.Jitter).fill
	runtime.Reseed()
}

// growHeap gives the Go heap its share of memory, directly behind the first heap.
func (s *system) growHeap(boot *bootMemory) error {
	limit := uint64(runtime.Heap().Limit)
	// The first heap may end inside a 2 MB block. Fill that block with pages, so that
	// blocks can follow.
	size := heapSize(boot.bytes()) + (-limit)%arch.BlockSize
	for size > 0 {
		n := uint64(arch.BlockSize)
		if r := (-limit) % arch.BlockSize; r != 0 {
			n = r
		}
		pa, err := boot.take(n, n&-n, math.MaxUint64)
		if err != nil {
			return fmt.Errorf("memory for the kernel's heap: %w", err)
		}
		if err := s.board.MapHeap(arch.VA(limit), pa, n, boot.page); err != nil {
			return err
		}
		limit += n
		size -= n
	}
	runtime.GrowHeap(uintptr(limit))
	limitCollections()
	return nil
}

// startMemory gives the rest of the memory to the frame allocator and sets up mm.
func (s *system) startMemory(boot *bootMemory) error {
	var err error
	if s.mem, err = phys.New(direct(0), boot.ranges()); err != nil {
		return err
	}
	s.mem.SetPageOps(s.board.PageOps())
	s.pmaps = pmap.NewSystem(s.mem, pageFormat(), s.board)
	s.pmaps.SetBarrier(s.spec.Barrier)
	s.charges = charge.New(charge.Config{})
	s.vm = vm.NewSystem(vm.Config{
		Mem: s.mem, Pmaps: s.pmaps, RAM: memoryBytes(s.info.Memory), Charges: s.charges, Yield: runtime.Yield, NoBlocks: !s.opts.HugePages,
	})
	return nil
}

// leave is goos.Leave: nil with one CPU.
func (s *system) leave() func() {
	if s.board.CPUs() == 1 {
		return nil
	}
	return s.pmaps.Leave
}

func (s *system) banner() {
	st := s.mem.Stats()
	h := runtime.Heap()
	fmt.Printf("Grim, %s, %s\nmachine: %s\ncpu: %s\n", runtime.GOARCH, runtime.Version(), s.info.Model, s.board.DescribeCPU())
	if n := len(s.info.CPUs); n > 1 {
		fmt.Printf("CPUs: %d found, %d run\n", n, s.board.CPUs())
	}
	fmt.Printf("memory: %d MB, %d MB for processes, %d MB kernel heap\n",
		memoryBytes(s.info.Memory)>>20, st.Total>>8, (h.Limit-h.Base)>>20)
	why := ""
	switch {
	case s.spec.OnlySeparate && s.opts.Insist:
		why = " (open to Meltdown)"
	case s.spec.OnlySeparate:
		why = " (because of Meltdown)"
	}
	fmt.Printf("layout: %s%s, exit: %s, 2 MB blocks: %s, random addresses: %s\n",
		s.opts.Layout, why, s.opts.Exit, onOff(s.opts.HugePages), onOff(s.opts.ASLR))
	if w := s.opts.Exit.Warning(); w != "" {
		fmt.Println("warning:", w)
	}
	fmt.Println("speculation:", speculationText(s.spec.On, s.spec.Open))
}

// speculationText returns the banner's line on speculation.
func speculationText(on, open []string) string {
	text := "nothing to turn on"
	if len(on) > 0 {
		text = strings.Join(on, ", ")
	}
	if len(open) > 0 {
		text += "; open to " + strings.Join(open, ", ")
	}
	return text
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// powerOff closes the report and ends the machine. The machine's status is success if every
// test has passed and the named part has ended well.
func (s *system) powerOff(name string, status proc.Status) {
	if text := unknownText(s.sys.UnknownCalls()); text != "" {
		fmt.Println(text)
	}
	if status != 0 {
		s.report.Result(name, []string{"ended with " + describe(status)})
	} else {
		s.report.Result(name, nil)
	}
	if s.report.Close() {
		s.exit(0)
	}
	s.exit(1)
}

// describe returns a description of the end of a process.
func describe(st proc.Status) string {
	if st.Signaled() {
		return "signal " + st.Signal().String()
	}
	return fmt.Sprint("status ", st.ExitStatus())
}
