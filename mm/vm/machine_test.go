package vm

import (
	"syscall"
	"testing"
	"unsafe"

	"grim/arch"
	"grim/arch/amd64"
	"grim/arch/arm64"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// bothFormats runs a test with the page tables of both architectures.
func bothFormats(t *testing.T, fn func(t *testing.T, f *arch.Format)) {
	t.Run("amd64", func(t *testing.T) { fn(t, &amd64.Format) })
	t.Run("arm64", func(t *testing.T) { fn(t, &arm64.Format) })
}

// fakeMMU is a machine without a TLB. Package pmap's own tests are about TLBs.
type fakeMMU struct {
	arch.OneCPU
	half arch.PA
}

func (m fakeMMU) KernelHalf(arch.Layout) arch.PA { return m.half }
func (m fakeMMU) Activate(arch.Root)             {}
func (m fakeMMU) Deactivate()                    {}
func (m fakeMMU) ASIDs() int                     { return 0 }
func (m fakeMMU) FlushPage(arch.Root, arch.VA)   {}
func (m fakeMMU) FlushASID(arch.Root)            {}
func (m fakeMMU) FlushAll()                      {}
func (m fakeMMU) SyncInstructions(arch.PA, int)  {}

// machine is a System over plain memory. It records the frames and objects that it had at
// the start.
type machine struct {
	*System
	t     testing.TB
	frees int
}

// newMachine makes a machine with so many frames of RAM. When the test ends, every frame
// and every object must be back (E4).
func newMachine(t testing.TB, f *arch.Format, frames int) *machine {
	t.Helper()
	const first = 2 << 20 // below: the kernel half's root page
	size := first + frames*arch.PageSize
	arena, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(arena) })
	mem, err := phys.New(unsafe.Pointer(&arena[0]), []phys.Range{{Start: first, End: arch.PA(size)}})
	if err != nil {
		t.Fatal(err)
	}
	half := (*[arch.Entries]arch.PTE)(unsafe.Pointer(&arena[arch.PageSize]))
	for i := arch.KernelHalf; i < arch.Entries; i++ {
		half[i] = arch.PTE(i) << 40
	}
	m := &machine{t: t}
	m.System = NewSystem(Config{Mem: mem, Pmaps: pmap.NewSystem(mem, f, fakeMMU{half: arch.PageSize})})
	m.frees = mem.FreeFrames()
	t.Cleanup(func() {
		if !t.Failed() {
			m.checkBaseline()
		}
	})
	return m
}

// checkBaseline fails the test if anything is still allocated.
func (m *machine) checkBaseline() {
	m.t.Helper()
	m.pmaps.Drain()
	if err := m.mem.Audit(); err != nil {
		m.t.Errorf("audit: %v", err)
	}
	if n := m.mem.FreeFrames(); n != m.frees {
		m.t.Errorf("%d frames free, want %d as at the start", n, m.frees)
	}
	if s := m.Stats(); s != (SystemStats{}) {
		m.t.Errorf("still alive: %+v", s)
	}
	if n := m.charges.Totals(); n != (charge.Totals{}) {
		m.t.Errorf("still charged: %v", n)
	}
	if n := m.charges.References(); n != 0 {
		m.t.Errorf("%d references to users left", n)
	}
	if n := m.pool.Unpopulated(); n != 0 {
		m.t.Errorf("%d frames still reserved", n)
	}
}

// space makes an address space that is purged and released when the test ends.
func (m *machine) space() *VMSpace {
	m.t.Helper()
	vs, err := New(m.System, arch.SharedUK, m.charges.Kernel())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { m.end(vs) })
	return vs
}

// end does what a process's last thread and the reaper do.
func (m *machine) end(vs *VMSpace) {
	if m.t.Failed() {
		return
	}
	check(m.t, vs)
	vs.Purge(nil)
	if !vs.Purged() {
		m.t.Errorf("not empty after purge: %+v", vs.Stats())
	}
	if err := m.pmaps.CheckKernelHalf(vs.pm); err != nil {
		m.t.Error(err)
	}
	if !vs.Release() {
		m.t.Errorf("release was not the last")
	}
}

// store and load are user instructions: they use the page tables as the CPU would, and
// fault.
func store(vs *VMSpace, va arch.VA, b byte) error {
	for {
		vs.pm.Lock()
		if m, ok := vs.pm.LookupLocked(va); ok && m.Prot&arch.Write != 0 {
			vs.sys.mem.Bytes(m.Frame)[va&(arch.PageSize-1)] = b
			vs.pm.Unlock()
			return nil
		}
		vs.pm.Unlock()
		if err := vs.Fault(va, arch.Write); err != nil {
			return err
		}
	}
}

func load(vs *VMSpace, va arch.VA) (byte, error) {
	for {
		vs.pm.Lock()
		if m, ok := vs.pm.LookupLocked(va); ok && m.Prot&arch.Read != 0 {
			b := vs.sys.mem.Bytes(m.Frame)[va&(arch.PageSize-1)]
			vs.pm.Unlock()
			return b, nil
		}
		vs.pm.Unlock()
		if err := vs.Fault(va, arch.Read); err != nil {
			return 0, err
		}
	}
}

func mustMap(t testing.TB, vs *VMSpace, addr arch.VA, n uint64, prot arch.Prot, flags MapFlags, obj Object, off int64) arch.VA {
	t.Helper()
	va, err := vs.Map(addr, n, prot, flags, obj, off)
	if err != nil {
		t.Fatalf("map %#x+%#x: %v", addr, n, err)
	}
	return va
}

func mustStore(t testing.TB, vs *VMSpace, va arch.VA, b byte) {
	t.Helper()
	if err := store(vs, va, b); err != nil {
		t.Fatalf("store at %#x: %v", va, err)
	}
}

func wantLoad(t testing.TB, vs *VMSpace, va arch.VA, want byte) {
	t.Helper()
	if b, err := load(vs, va); err != nil || b != want {
		t.Fatalf("load at %#x: %d, %v; want %d", va, b, err, want)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if err != want {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

const rw = arch.Read | arch.Write

// check recounts everything about a map: the order, the tree, the gaps, the sums, the
// objects' lists, and that no page lies outside an entry.
func check(t testing.TB, vs *VMSpace) {
	t.Helper()
	vs.mu.Lock()
	defer vs.mu.Unlock()
	saved := vs.sizes
	vs.sizes = sizes{peakTotal: saved.peakTotal, peakPages: saved.peakPages}
	n := 0
	var prev *entry
	for e := vs.tree.first; e != nil; e = e.next {
		if e.prev != prev || e.start >= e.end || prev != nil && prev.end > e.start || e.space != vs {
			t.Fatalf("entry %#x..%#x: list broken", e.start, e.end)
		}
		if prev != nil && prev.continues(e) {
			t.Errorf("entries at %#x and %#x could be one", prev.start, e.start)
		}
		if e.obj != nil {
			found, writable := false, 0
			m := e.obj.Mapped()
			m.mu.Lock()
			for x := m.head; x != nil; x = x.mapNext {
				found = found || x == e
				if x.mayWriteObject() {
					writable++
				}
			}
			if m.writable != writable {
				t.Errorf("entry %#x: its object counts %d mappings that can write, has %d", e.start, m.writable, writable)
			}
			m.mu.Unlock()
			if !found {
				t.Errorf("entry %#x: its object does not know it", e.start)
			}
		}
		if vs.tree.find(e.start) != e || vs.tree.find(e.end-1) != e {
			t.Errorf("entry %#x: not found by its address", e.start)
		}
		vs.count(e, 1)
		prev = e
		n++
	}
	if vs.tree.last != prev || vs.tree.n != n {
		t.Errorf("map says %d entries, has %d", vs.tree.n, n)
	}
	if vs.paid < n || vs.paid > n+4*entryStep {
		t.Errorf("%d entries paid for, there are %d", vs.paid, n)
	}
	if used := vs.payer.Used(charge.Heap); used < vs.charged() {
		t.Errorf("the user has been charged %d bytes, the space %d", used, vs.charged())
	}
	if vs.sizes != saved {
		t.Errorf("sizes %+v, recount %+v", saved, vs.sizes)
	}
	checkTree(t, vs.tree.root)
	vs.pm.Walk(0, arch.UserMax, func(va arch.VA, m pmap.Mapping) bool {
		e := vs.tree.find(va)
		if e == nil {
			t.Errorf("page at %#x without an entry", va)
			return false
		}
		if p := m.Prot; p&^hardware(e.prot) != 0 {
			t.Errorf("page at %#x allows %v, entry %v", va, p, e.prot)
		}
		if m.Block && (e.end < va+arch.BlockSize) {
			t.Errorf("block at %#x reaches past its entry", va)
		}
		return true
	})
}

func checkTree(t testing.TB, e *entry) (height int32, gap uint64) {
	if e == nil {
		return 0, 0
	}
	lh, lg := checkTree(t, e.left)
	rh, rg := checkTree(t, e.right)
	lo := arch.UserMin
	if e.prev != nil {
		lo = e.prev.end
	}
	own := uint64(0)
	if e.floor() > lo {
		own = uint64(e.floor() - lo)
	}
	if g := max(lg, rg, own); e.gap != own || e.maxGap != g {
		t.Errorf("entry %#x: gap %#x, largest %#x; want %#x, %#x", e.start, e.gap, e.maxGap, own, g)
	}
	if d := lh - rh; e.height != max(lh, rh)+1 || d < -1 || d > 1 {
		t.Errorf("entry %#x: height %d over %d and %d", e.start, e.height, lh, rh)
	}
	return e.height, e.maxGap
}

// formats are the formats of both architectures, for tests that alternate between them.
var formats = [2]*arch.Format{&amd64.Format, &arm64.Format}
