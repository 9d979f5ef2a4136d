//go:build tamago && arm64

package arm64

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/goos"
	"slices"
	"unsafe"

	"grim/arch"
)

// defined in mmu.s

// setRoots writes TTBR0_EL1, then TTBR1_EL1, and synchronises.
func setRoots(ttbr0, ttbr1 uint64)

// replaceRoots is setRoots for a kernel half that maps the running kernel in another way.
func replaceRoots(identity, empty, ttbr0, ttbr1 uint64, code uintptr)

// replaceCodeVA returns the address of the part of it that the identity map must contain.
func replaceCodeVA() uintptr

// getRoots returns TTBR0_EL1 and TTBR1_EL1.
func getRoots() (ttbr0, ttbr1 uint64)

// Invalidations. A barrier before makes sure that table stores are seen, a barrier after
// that the invalidation is complete on return. They reach all CPUs: on a machine with one
// CPU the broadcast costs nothing. Each is made a second time if twice is set, see needsTwice.
func flushVA(arg uint64, twice bool)   // VAE1IS: ASID<<48 | VA>>12
func flushASID(arg uint64, twice bool) // ASIDE1IS: ASID<<48
func flushAll(twice bool)              // VMALLE1IS
func syncInstructions(va, n, line uintptr, civac bool)

// enablePAN clears SCTLR_EL1.SPAN and sets PSTATE.PAN; enableE0PD sets TCR_EL1.E0PD1.
func enablePAN()
func enableE0PD()

// trapCTR clears SCTLR_EL1.UCT: a program's read of CTR_EL0 traps.
func trapCTR()

// hardenEL0 takes away EL0's access to counters and debug registers, and gives it the
// virtual counter.
func hardenEL0(pmu, amu bool)

// Bytes returns n bytes of physical memory in the direct map. See Ptr.
func Bytes(pa uint64, n int) []byte {
	return unsafe.Slice((*byte)(Ptr(arch.PA(pa))), n)
}

// mmu is the part of Machine that handles address translation.
type mmu struct {
	root  arch.PA // the kernel root: an empty user half, and the kernel half
	empty arch.PA // a page of zeros, used as the kernel half of a separate root
	ram   []Span  // the ranges that the direct map has as memory
	rules coreRules

	// pool is memory of the Go heap, from which the first tables are made. It is never
	// freed. Pages are taken from its front.
	pool []byte
	keep [][]byte

	alloc func() arch.PA // returns a frame; used after New
}

// poolPages is how many pages of the heap are taken at once for tables.
const poolPages = 32

// physOfImage translates an address in the image or the first heap, which are one piece of
// physical memory.
func physOfImage(va uintptr) arch.PA {
	return arch.PA(va-uintptr(arch.KernelBase)) + arch.PA(goos.PhysBase)
}

func (u *mmu) poolPage() (arch.PA, error) {
	if len(u.pool) < arch.PageSize {
		// Allocate one page more, as the allocator does not promise alignment.
		b := make([]byte, (poolPages+1)*arch.PageSize)
		u.keep = append(u.keep, b)
		skip := -uintptr(unsafe.Pointer(&b[0])) % arch.PageSize
		u.pool = b[skip : skip+poolPages*arch.PageSize]
	}
	pa := physOfImage(uintptr(unsafe.Pointer(&u.pool[0])))
	u.pool = u.pool[arch.PageSize:]
	return pa, nil
}

// poolAt accesses a pool page before the direct map exists.
func poolAt(pa arch.PA) *[arch.Entries]arch.PTE {
	va := uintptr(pa-arch.PA(goos.PhysBase)) + uintptr(arch.KernelBase)
	return (*[arch.Entries]arch.PTE)(unsafe.Add(nil, va))
}

func directAt(pa arch.PA) *[arch.Entries]arch.PTE {
	return (*[arch.Entries]arch.PTE)(Ptr(pa))
}

// early adds mappings to the entry code's tables. Its pages are never freed, like those of
// every mmu.
var early mmu

// EarlyMap maps a device before New has made the final tables. The final tables must have
// the same window. EarlyMap takes memory of the first heap.
func EarlyMap(r Span) error { return earlyMap(r, kernelDevice) }

// EarlyMapScreen is EarlyMap for a framebuffer. Config.Screen must be the same.
func EarlyMapScreen(r Span) error { return earlyMap(r, kernelScreen) }

func earlyMap(r Span, leaf arch.PTE) error {
	t := &kernelTables{root: arch.PA(readTTBR1() - upper), alloc: early.poolPage, at: poolAt}
	if t.has(arch.DirectBase+arch.VA(r.Base), arch.PA(r.Base), r.Size, leaf) {
		return nil // the runtime's early output has used it
	}
	err := mapWindow(t, r, leaf)
	barrier()
	return err
}

// init builds the kernel half and switches to it: the image with its permissions, the first
// heap, all RAM and the device windows.
func (u *mmu) init(ram, devices []Span, screen Span) error {
	t := &kernelTables{alloc: u.poolPage, at: poolAt}
	var err error
	if u.root, err = u.poolPage(); err != nil {
		return err
	}
	if u.empty, err = u.poolPage(); err != nil {
		return err
	}
	t.root, u.ram = u.root, ram
	text, etext, rodata, erodata, data, _ := runtime.Sections()
	up := func(a uintptr) uintptr { return uintptr(arch.VA(a).PageUp()) }
	down := func(a uintptr) uintptr { return uintptr(arch.VA(a).PageDown()) }
	heap := runtime.Heap()
	image := []struct {
		from, to uintptr
		leaf     arch.PTE
	}{
		{down(text), up(etext), kernelText},
		{down(rodata), up(erodata), kernelRodata},
		{down(data), up(heap.Limit), kernelData},
	}
	boot, fault := runtime.StackGuards()
	stackGuards = []arch.StackGuard{
		{Page: arch.VA(exceptionStackBase()).PageUp(), Stack: "exception stack (SP_EL1)"},
		{Page: arch.VA(boot), Stack: "boot stack (g0)"},
		{Page: arch.VA(fault), Stack: "fault handler's stack"},
	}
	slices.SortFunc(stackGuards, compareGuards)
	for _, s := range image {
		if err := arch.AroundGuards(stackGuards, arch.VA(s.from), arch.VA(s.to), func(from, to arch.VA) error {
			return t.mapRange(from, physOfImage(uintptr(from)), uint64(to-from), s.leaf)
		}); err != nil {
			return err
		}
	}
	// The direct map has the image's text and constants too, as read-only data.
	roFrom, roTo := physOfImage(down(text)), physOfImage(up(erodata))
	for _, r := range ram {
		if err := mapRAM(t, r, roFrom, roTo); err != nil {
			return err
		}
	}
	for _, r := range devices {
		if err := mapWindow(t, r, kernelDevice); err != nil {
			return err
		}
	}
	if err := mapWindow(t, screen, kernelScreen); err != nil {
		return err
	}
	// No further root entries will ever be made: processes copy them.
	code := physOfImage(replaceCodeVA())
	identity, err := identityMap(u.poolPage, poolAt, code, replaceSize)
	if err != nil {
		return err
	}
	replaceRoots(uint64(identity), uint64(u.empty), uint64(u.root), uint64(u.root)+upper, uintptr(code))
	return nil
}

func compareGuards(a, b arch.StackGuard) int { return cmp.Compare(a.Page, b.Page) }

// mapRAM maps the whole pages of one range of RAM. The part in [roFrom, roTo) is mapped
// read-only.
func mapRAM(t *kernelTables, r Span, roFrom, roTo arch.PA) error {
	from := arch.PA(r.Base+arch.PageSize-1) &^ (arch.PageSize - 1)
	to := arch.PA(r.Base+r.Size) &^ (arch.PageSize - 1)
	cut := func(a arch.PA) arch.PA { return min(max(a, from), to) }
	for _, p := range []struct {
		from, to arch.PA
		leaf     arch.PTE
	}{
		{from, cut(roFrom), kernelData},
		{cut(roFrom), cut(roTo), kernelRodata},
		{cut(roTo), to, kernelData},
	} {
		if p.from < p.to {
			if err := t.mapRange(arch.DirectBase+arch.VA(p.from), p.from, uint64(p.to-p.from), p.leaf); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapWindow maps the pages that contain a device window.
func mapWindow(t *kernelTables, r Span, leaf arch.PTE) error {
	from := r.Base &^ (arch.PageSize - 1)
	to := (r.Base + r.Size + arch.PageSize - 1) &^ (arch.PageSize - 1)
	return t.mapRange(arch.DirectBase+arch.VA(from), arch.PA(from), to-from, leaf)
}

// live returns the kernel half in use, for additions. New tables take frames from u.alloc.
func (u *mmu) live() *kernelTables {
	return &kernelTables{root: u.root, at: directAt, alloc: func() (arch.PA, error) {
		if u.alloc == nil {
			return 0, errors.New("arm64: a page table is needed and Config.Alloc is not set")
		}
		pa := u.alloc()
		clear(directAt(pa)[:])
		return pa, nil
	}}
}

// GrowWindow maps size bytes of physical memory at va in the kernel window, writable and
// not executable, for runtime.GrowHeap. All arguments are multiples of a page. Blocks are
// used where alignment allows.
func (u *mmu) GrowWindow(va arch.VA, pa arch.PA, size uint64) error {
	if va < arch.KernelBase || uint64(va) > areaBase || size > areaBase-uint64(va) {
		return fmt.Errorf("arm64: [%#x, +%#x) is outside of the kernel window", uint64(va), size)
	}
	err := u.live().mapRange(va, pa, size, kernelData)
	// There was no translation before, and the CPU does not cache that (Arm ARM D8.14.1).
	// So only the table walks must see the stores.
	barrier()
	return err
}

// MapDevice maps [pa, pa+size) at arch.DirectBase + pa as device memory. The range must be
// in a 512 GB region that has RAM or a device of Config: processes have copies of the root
// entries, so new root entries are impossible.
func (u *mmu) MapDevice(pa arch.PA, size uint64) error {
	if directAt(u.root)[(arch.DirectBase+arch.VA(pa)).Index(arch.Levels-1)]&pteValid == 0 {
		return fmt.Errorf("arm64: device window [%#x, +%#x) is in a 512 GB region without RAM", uint64(pa), size)
	}
	err := mapWindow(u.live(), Span{uint64(pa), size}, kernelDevice)
	barrier()
	return err
}

// KernelHalf implements arch.MMU. A separate root has no kernel half: TTBR1 points to the
// kernel root instead.
func (u *mmu) KernelHalf(l arch.Layout) arch.PA {
	if l == arch.Separate {
		return u.empty
	}
	return u.root
}

// upper is the offset of the kernel half in a root page. With 47-bit halves, a TTBR covers
// 256 entries, starting at the address in it.
const upper = arch.KernelHalf * 8

// Activate implements arch.MMU. If r is active already it does nothing: a table entry that
// was invalid before may then cause one more fault.
func (u *mmu) Activate(r arch.Root) {
	c := thisCPU()
	if r == c.active && r.ASID != 0 {
		return
	}
	kernel := u.root
	if r.Layout == arch.SharedUK {
		kernel = r.Table
	}
	c.active = r
	setRoots(uint64(r.Table)|uint64(r.ASID)<<48, uint64(kernel)+upper)
	if r.ASID == 0 {
		flushASID(0, u.rules.twice)
		c.asid0 = true
	}
}

// Deactivate implements arch.MMU. With ASID 0 and an empty user half nothing is translated,
// after the TLB entries of address spaces without an ASID of their own are flushed.
func (u *mmu) Deactivate() {
	c := thisCPU()
	c.active = arch.Root{}
	setRoots(uint64(u.root), uint64(u.root)+upper)
	if c.asid0 {
		flushASID(0, u.rules.twice)
		c.asid0 = false
	}
}

// ASIDs is arch.MMU's (ID_AA64MMFR0_EL1.ASIDBits).
func (u *mmu) ASIDs() int {
	if readMMFR0()>>4&15 == 2 {
		return math.MaxUint16
	}
	return math.MaxUint8
}

// FlushPage implements arch.MMU.
func (u *mmu) FlushPage(r arch.Root, va arch.VA) {
	flushVA(uint64(r.ASID)<<48|uint64(va)>>arch.PageShift&(1<<44-1), u.rules.twice)
}

// FlushASID implements arch.MMU.
func (u *mmu) FlushASID(r arch.Root) { flushASID(uint64(r.ASID)<<48, u.rules.twice) }

// FlushAll implements arch.MMU.
func (u *mmu) FlushAll() { flushAll(u.rules.twice) }

// SyncInstructions implements arch.MMU. It cleans the data cache to the point of
// unification, through the direct map. Then it invalidates the whole instruction cache,
// because an instruction cache may be tagged with virtual addresses, and the code does not
// run at its addresses in the direct map. The step is the smallest cache line of any CPU.
// The maintenance reaches all CPUs, and is complete on return.
//
// Each CPU that then executes the code also needs a context synchronisation of its own: an
// ISB, or an exception and the return from it. Otherwise it may execute an instruction that
// it fetched before (Arm ARM B2.4.4). A CPU in the kernel synchronises when it returns to
// user mode. A CPU in user mode has fetched nothing through the page's entry, because the
// caller makes the page executable after this call. Kernel text never changes. A program
// that changes code while it stays executable must do all of this by itself, as under Linux.
func (u *mmu) SyncInstructions(pa arch.PA, n int) {
	switch {
	case n <= 0:
	case u.rules.coherent():
		barrier() // the stores have to be complete nonetheless
	default:
		syncInstructions(uintptr(Ptr(pa)), uintptr(n), u.rules.line(), u.rules.civac)
		if u.rules.stale {
			flushASID(0, u.rules.twice) // no TLB entry has it; see fetchesStale
		}
	}
}

// features sets the fields that depend on the CPU's ID registers. force has the words of the
// kernel argument mitigations=.
func (u *mmu) features(force []string) {
	u.rules.join(readMIDR(), readCTR())
	u.rules.twice = u.rules.twice || slices.Contains(force, "tlbi")
	u.rules.differ = u.rules.differ || slices.Contains(force, "ctr")
	u.featuresHere()
}

// featuresHere turns on the features of this CPU.
func (u *mmu) featuresHere() {
	if readMMFR1()>>20&15 != 0 {
		enablePAN()
	}
	if readMMFR2()>>60 != 0 {
		enableE0PD()
	}
	dfr, pfr := readDFR0(), readPFR0()
	pmu := dfr >> 8 & 15
	hardenEL0(pmu != 0 && pmu != 15, pfr>>44&15 != 0)
	if u.rules.differ {
		trapCTR()
	}
}

// LoadedRoots returns the root pages to which TTBR0_EL1 and TTBR1_EL1 point. For
// self-tests.
func (u *mmu) LoadedRoots() [2]arch.PA {
	const page = pteAdr // without the ASID, and in TTBR1 without the offset of the half
	user, kernel := getRoots()
	return [2]arch.PA{arch.PA(user) & arch.PA(page), arch.PA(kernel) & arch.PA(page)}
}
