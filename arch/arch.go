// Package arch is the contract between the kernel and the machine: the types, the
// page-table format as data, and the few operations that need the CPU. It holds no machine
// code, so everything above it builds and is tested on any host. grim/arch/amd64 and
// grim/arch/arm64 implement it.
//
// Nothing here knows of processes, map entries or system-call numbers.
//
// Context: kernel Go code runs with interrupts disabled. Interrupts are taken in user mode
// (Run returns Interrupt) and in the idle hook only. After start-up no method of this
// contract allocates on the Go heap, and none blocks, unless its comment says so.
package arch

import "unsafe"

// PA is a physical address.
type PA uint64

// VA is a virtual address. An address that came from user code need not be valid: only
// package mm/vm turns it into memory.
type VA uint64

// Sizes, the same on both architectures: 4 KB granule, 9 bits a level, 4 levels.
const (
	PageShift  = 12
	PageSize   = 1 << PageShift
	BlockShift = 21 // a level-1 leaf: 2 MB
	BlockSize  = 1 << BlockShift
	BlockPages = BlockSize / PageSize
	Entries    = 512 // entries of a table page
	Levels     = 4   // level 3 is the root, level 0 holds 4 KB leaves
)

// The address map of DESIGN.md section 2.
const (
	UserMin    VA = 0x1000             // VM_MIN_ADDRESS: page 0 is never mapped
	UserMax    VA = 1 << 47            // VM_MAXUSER_ADDRESS, exclusive
	DirectBase VA = 0xffff800000000000 // + PA: direct map of RAM and devices
	KernelBase VA = 0xffffffff80000000 // 2 GB window: image and Go heap
	KernelHalf    = Entries / 2        // first root entry of the kernel half
)

// PageDown and PageUp round to a page boundary. PageUp wraps to 0 past the last page.
func (a VA) PageDown() VA { return a &^ (PageSize - 1) }
func (a VA) PageUp() VA   { return (a + PageSize - 1) &^ (PageSize - 1) }

// BlockDown rounds down to a 2 MB boundary.
func (a VA) BlockDown() VA { return a &^ (BlockSize - 1) }

// Index returns the index of the entry that translates a in a table of the given level.
func (a VA) Index(level int) int {
	return int(a>>(PageShift+9*uint(level))) & (Entries - 1)
}

// Layout says how a process root and the kernel half relate (DESIGN.md section 3).
type Layout uint8

const (
	// SharedUK: one root page holds both halves. The kernel half's entries point at tables
	// that all processes share.
	SharedUK Layout = iota
	// Separate: a process root holds the user half only. Where the CPU needs a trampoline
	// it also holds the minimum mapped for that.
	Separate
)

// String gives the spelling used on the kernel command line.
func (l Layout) String() string {
	if l == Separate {
		return "separate"
	}
	return "shared"
}

// Prot is the access that a mapping allows, or that an instruction wants.
type Prot uint8

const (
	Read Prot = 1 << iota
	Write
	Exec
)

// String returns the form of /proc/self/maps: "rwx", with dashes for what is missing.
func (p Prot) String() string {
	b := [3]byte{'-', '-', '-'}
	for i, c := range [3]byte{'r', 'w', 'x'} {
		if p&(1<<i) != 0 {
			b[i] = c
		}
	}
	return string(b[:])
}

// Root is what the CPU needs to walk a process's tables.
type Root struct {
	Table  PA     // the root page
	ASID   uint16 // address-space identifier (ASID, PCID); 0 where there are none
	Layout Layout
}

// MMU is the machine's side of package mm/pmap. All methods act on the calling CPU; flushes
// act on all CPUs if Broadcast is true. If it is false, package pmap makes other CPUs
// flush.
type MMU interface {
	// CPUs is the number of CPUs that may run user code; it does not change. CPU is the
	// number of the calling CPU, from 0.
	CPUs() int
	CPU() int
	// Broadcast reports whether FlushPage, FlushASID and FlushAll reach all CPUs, and are
	// complete on all of them on return. With one CPU it is true.
	Broadcast() bool
	// Interrupt makes the given CPU trap soon if it is in user mode. It does not wait.
	Interrupt(cpu int)
	// Pause is called in a loop that waits for another CPU, to let it run.
	Pause()
	// KernelHalf is a root page for the layout. Its upper 256 entries (KernelHalf..511) are
	// copied into every new root of that layout and never change afterwards.
	KernelHalf(l Layout) PA
	// Activate makes r the root of the user half. It keeps the TLB entries of r.ASID if
	// that is not 0; otherwise it flushes all user entries.
	Activate(r Root)
	// Deactivate moves to the bare kernel root, under which no user address translates. If
	// there are no ASIDs it also drops all user entries, walk caches included.
	Deactivate()
	// ASIDs is the number of identifiers, 0 not counted; 0 if there are none.
	ASIDs() int
	// FlushPage drops the translation of the user page va of r's address space, and the
	// walk-cache entries above it. It is complete on return.
	FlushPage(r Root, va VA)
	// FlushASID drops all translations and walk-cache entries of r's address space, or all
	// user entries if r.ASID is 0. It is complete on return.
	FlushASID(r Root)
	// FlushAll drops all translations of every address space, those of the kernel included.
	FlushAll()
	// SyncInstructions makes instructions just written to [pa, pa+n) visible to instruction
	// fetch in every address space. n is at most one 2 MB block.
	SyncInstructions(pa PA, n int)
}

// OneCPU is the part of MMU that is about CPUs, for a machine with one CPU.
type OneCPU struct{}

func (OneCPU) CPUs() int       { return 1 }
func (OneCPU) CPU() int        { return 0 }
func (OneCPU) Broadcast() bool { return true }
func (OneCPU) Interrupt(n int) { panic("arch: an interrupt to another CPU, and there is one") }
func (OneCPU) Pause()          {}

// PageOps clear and copy whole pages, which is most of the cost of a fault. Pages are
// aligned, mapped, and do not overlap. If a function is nil, plain Go code is used instead.
type PageOps struct {
	Clear func(p unsafe.Pointer)
	Copy  func(dst, src unsafe.Pointer)
}

// Machine is the whole contract as package proc and the kernel see it.
type Machine interface {
	MMU
	// ABI names the registers of a Frame.
	ABI() *ABI
	// InitUser resets u to the state at a program's first instruction: all registers but pc
	// and sp are zero, FPU/SIMD is at its reset state.
	InitUser(u *UArea, pc, sp VA)
	// CopyUser makes dst a copy of src's user state (fork, clone), FPU/SIMD and
	// TLS base included.
	CopyUser(dst, src *UArea)
	// Run enters user mode with u's registers on the active root, which the caller has
	// activated. It returns when the CPU traps, with u.Frame and u.Trap filled in. The
	// goroutine's stack does not move meanwhile.
	Run(u *UArea)
	// Dispatch acknowledges and handles every pending interrupt. Device interrupts go to
	// the function given to Interrupts at start-up; a timer interrupt is only acknowledged.
	// It is called after Run has returned Interrupt, and by the idle hook.
	Dispatch()
	// SetTimer programs the one-shot timer interrupt for deadline, in nanoseconds of the
	// runtime's nanotime. If that is in the past the interrupt comes at once. math.MaxInt64
	// disarms the timer.
	SetTimer(deadline int64)
}
