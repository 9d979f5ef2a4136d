package pmap_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"grim/arch"
	"grim/arch/amd64"
	"grim/arch/arm64"
	"grim/mm/phys"
	"grim/mm/phys/phystest"
	"grim/mm/pmap"
	"grim/mm/pmap/pmaptest"
)

var formats = []*arch.Format{&amd64.Format, &arm64.Format}

// bench is a machine for one test.
type bench struct {
	t   testing.TB
	mem *phys.Memory
	mmu *pmaptest.MMU
	sys *pmap.System
}

func newBench(t testing.TB, f *arch.Format, pages, asids int) *bench {
	t.Helper()
	mem := phystest.New(t, pages)
	mmu := pmaptest.New(mem, f, asids)
	return &bench{t, mem, mmu, pmap.NewSystem(mem, f, mmu)}
}

func (b *bench) pmap(l arch.Layout) *pmap.Pmap {
	b.t.Helper()
	p, err := b.sys.New(l)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) frame() phys.Frame {
	b.t.Helper()
	f, err := b.mem.Alloc(phys.Anon)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func (b *bench) block() phys.Frame {
	b.t.Helper()
	f, err := b.mem.AllocBlock(phys.Anon)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

// check runs every recount that there is.
func (b *bench) check(ps ...*pmap.Pmap) {
	b.t.Helper()
	for _, p := range ps {
		if err := p.Check(); err != nil {
			b.t.Fatal(err)
		}
		if err := b.mmu.Verify(p); err != nil {
			b.t.Fatal(err)
		}
		if err := b.sys.CheckKernelHalf(p); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.mem.Audit(); err != nil {
		b.t.Fatal(err)
	}
}

// page is the model's record of one mapped page.
type page struct {
	f     phys.Frame
	prot  arch.Prot
	fl    pmap.Flags
	dirty bool
}

type space struct {
	p     *pmap.Pmap
	pages map[arch.VA]page
}

// windows are the parts of the address space that the model uses: 4 MB at the bottom,
// across a 1 GB boundary, across a 512 GB boundary, and at the top of the user half.
var windows = [4]arch.VA{arch.BlockSize, 1<<30 - arch.BlockSize, 1<<39 - arch.BlockSize, arch.UserMax - 2*arch.BlockSize}

const windowPages = 2 * arch.BlockPages

type model struct {
	*bench
	s    [2]space
	refs map[phys.Frame]int
	in   []byte // operations
	free int
}

func (m *model) next() int {
	if len(m.in) == 0 {
		return 0
	}
	v := m.in[0]
	m.in = m.in[1:]
	return int(v)
}

func (m *model) va() arch.VA {
	w := windows[m.next()%len(windows)]
	return w + arch.VA((m.next()<<8|m.next())%windowPages)<<arch.PageShift
}

// span is a range of pages inside one window.
func (m *model) span() (start, end arch.VA) {
	w := windows[m.next()%len(windows)]
	a, b := m.next()<<8|m.next(), m.next()<<8|m.next()
	if a&7 == 0 {
		a &^= arch.BlockPages - 1 // often whole blocks
	}
	if b&7 == 0 {
		b &^= arch.BlockPages - 1
	}
	a, b = a%(windowPages+1), b%(windowPages+1)
	return w + arch.VA(min(a, b))<<arch.PageShift, w + arch.VA(max(a, b))<<arch.PageShift
}

func (m *model) set(s *space, va arch.VA, n page) {
	m.drop(s, va)
	if n.prot != 0 {
		n.prot |= arch.Read
	}
	if n.fl&pmap.COW != 0 {
		n.prot &^= arch.Write
	}
	n.dirty = n.dirty || n.prot&arch.Write != 0
	s.pages[va] = n
}

func (m *model) drop(s *space, va arch.VA) {
	if old, ok := s.pages[va]; ok {
		m.refs[old.f]--
		delete(s.pages, va)
	}
}

// seen is a Visitor that collects pages, to check that exactly the dirty Shared ones are
// shown.
type seen struct {
	m     *model
	pages map[arch.VA]phys.Frame
}

func (v *seen) Dirty(pages []pmap.DirtyPage) {
	for _, d := range pages {
		if _, twice := v.pages[d.VA]; twice || !v.m.mem.InUse(d.Frame) {
			v.m.t.Fatalf("visitor shown %#x, frame %#x: twice %v, or free", d.VA, d.Frame, twice)
		}
		v.pages[d.VA] = d.Frame
	}
}

func (m *model) visit(s *space, start, end arch.VA, op func(v pmap.Visitor)) {
	v := &seen{m, map[arch.VA]phys.Frame{}}
	op(v)
	for va, pg := range s.pages {
		if va < start || va >= end {
			continue
		}
		f, ok := v.pages[va]
		if want := pg.dirty && pg.fl&pmap.Shared != 0; ok != want || ok && f != pg.f {
			m.t.Fatalf("visitor saw %#x: %v frame %#x, model has %+v", va, ok, f, pg)
		}
		delete(v.pages, va)
	}
	if len(v.pages) != 0 {
		m.t.Fatalf("visitor was shown pages that are not mapped: %v", v.pages)
	}
}

// compare checks the tables against the model, page for page.
func (m *model) compare() {
	for i := range m.s {
		s := &m.s[i]
		n := 0
		s.p.Walk(0, arch.UserMax, func(va arch.VA, got pmap.Mapping) bool {
			count := 1
			if got.Block {
				count = arch.BlockPages
			}
			for k := range count {
				at := va + arch.VA(k)<<arch.PageShift
				want, ok := s.pages[at]
				if !ok || got.Frame+phys.Frame(k) != want.f || got.Prot != want.prot || got.Flags != want.fl || got.Dirty != want.dirty && want.fl&pmap.Shared != 0 {
					m.t.Fatalf("space %d, %#x: %+v, model has %+v, %v", i, at, got, want, ok)
				}
				n++
			}
			return true
		})
		if n != len(s.pages) || s.p.Stats().Resident != n {
			m.t.Fatalf("space %d: %d pages walked, %d resident, model has %d", i, n, s.p.Stats().Resident, len(s.pages))
		}
		m.check(s.p)
	}
	for f, n := range m.refs {
		if n < 0 || n > 0 && int(m.mem.Refs(f)) != n {
			m.t.Fatalf("frame %#x has %d references, want %d", f, m.mem.Refs(f), n)
		}
		if n == 0 {
			delete(m.refs, f)
		}
	}
}

func (m *model) promotable(s *space, va arch.VA) bool {
	base := va.BlockDown()
	first, ok := s.pages[base]
	if !ok || first.f%arch.BlockPages != 0 || first.prot == 0 || first.fl&(pmap.Shared|pmap.COW) != 0 {
		return false
	}
	for k := range arch.BlockPages {
		pg, ok := s.pages[base+arch.VA(k)<<arch.PageShift]
		if !ok || pg.f != first.f+phys.Frame(k) || pg.prot != first.prot || pg.fl != first.fl || m.refs[pg.f] != 1 {
			return false
		}
	}
	return true
}

func runModel(t testing.TB, f *arch.Format, asids int, in []byte) {
	m := &model{bench: newBench(t, f, 24*512, asids), refs: map[phys.Frame]int{}, in: in}
	m.free = m.mem.FreeFrames()
	m.sys.SetYield(func() { // no lock is held
		m.s[0].p.Stats()
		m.s[1].p.Stats()
	})
	layouts := [2]arch.Layout{arch.SharedUK, arch.Separate}
	for i := range m.s {
		m.s[i] = space{m.pmap(layouts[i]), map[arch.VA]page{}}
	}
	for len(m.in) > 0 {
		m.step(m.next())
		m.touch()
	}
	m.compare()
	for i := range m.s {
		s := &m.s[i]
		m.visit(s, 0, arch.UserMax, func(v pmap.Visitor) { s.p.Purge(v, func() {}) })
		m.check(s.p)
		s.p.Destroy()
	}
	m.sys.Drain()
	if n := m.mem.FreeFrames(); n != m.free {
		t.Fatalf("%d frames free at the end, %d at the start", n, m.free)
	}
	if err := m.mem.Audit(); err != nil {
		t.Fatal(err)
	}
}

// touch accesses a few pages as the CPU would, so that the TLB has entries that could
// become stale, and checks each translation.
func (m *model) touch() {
	r, on := m.mmu.Active()
	if !on {
		return
	}
	for i := range m.s {
		s := &m.s[i]
		if s.p.Root() != r {
			continue
		}
		n := 0
		for va, pg := range s.pages { // in random order
			want := arch.Prot(1 << (n % 3))
			pa, ok := m.mmu.Access(va, want)
			if !ok && want&^pg.prot == 0 {
				pa, ok = m.mmu.Access(va, want) // the first access dropped an entry with fewer rights
			}
			if ok != (want&^pg.prot == 0) || ok && pa != pg.f.PA() {
				m.t.Fatalf("space %d: access %v to %#x: %#x, %v; model has %+v", i, want, va, pa, ok, pg)
			}
			if n++; n == 6 {
				break
			}
		}
	}
}

// operations are what a step may do, by op%16. The space is s, and bits 4 to 6 of op are
// rights, or choices of the operation.
var operations = [16]func(m *model, s, other *space, prot arch.Prot){
	(*model).enter, (*model).enter, (*model).enterFrames, (*model).enterFrames,
	(*model).enterBlock, (*model).promote, (*model).demote, (*model).remove,
	(*model).remove, (*model).protect, (*model).protect, (*model).fork,
	(*model).reuse, (*model).turn, (*model).wire, (*model).move,
}

// step does one operation, and compares after most of them.
func (m *model) step(op int) {
	operations[op%16](m, &m.s[op>>7], &m.s[1-op>>7], arch.Prot(op>>4&7))
	if op%16 >= 4 || op&16 != 0 {
		m.compare()
	}
}

// enter enters a run of pages.
func (m *model) enter(s, _ *space, prot arch.Prot) {
	va := m.va()
	fl := pmap.Flags(m.next() & 7)
	for range m.next()%40 + 1 {
		f, err := m.mem.Alloc(phys.Anon)
		if err != nil || va >= arch.UserMax {
			if err == nil {
				m.mem.Unref(f)
			}
			break
		}
		if err := s.p.Enter(va, f, prot, fl); err != nil {
			m.mem.Unref(f)
			break
		}
		m.set(s, va, page{f: f, prot: prot, fl: fl})
		m.refs[f]++
		va += arch.PageSize
	}
}

// enterFrames enters the frames of one block, in order, in one or more runs.
func (m *model) enterFrames(s, _ *space, prot arch.Prot) {
	va := m.va().BlockDown()
	f, err := m.mem.AllocBlock(phys.Anon)
	if err != nil {
		return
	}
	for k := 0; k < arch.BlockPages; {
		n := min(m.next()*3+1, arch.BlockPages-k)
		at := va + arch.VA(k)<<arch.PageShift
		if _, err := fill(s.p, at, f+phys.Frame(k), n, prot, 0); err != nil {
			m.t.Fatal(err)
		}
		for ; n > 0; n-- {
			if _, there := s.pages[at]; !there {
				m.set(s, at, page{f: f + phys.Frame(k), prot: prot})
				m.refs[f+phys.Frame(k)]++
			}
			at += arch.PageSize
			k++
		}
	}
}

// enterBlock enters a block. It fails if a page of it is mapped.
func (m *model) enterBlock(s, _ *space, prot arch.Prot) {
	va := m.va().BlockDown()
	f, err := m.mem.AllocBlock(phys.Anon)
	if err != nil {
		return
	}
	empty := true
	for k := range arch.BlockPages {
		_, there := s.pages[va+arch.VA(k)<<arch.PageShift]
		empty = empty && !there
	}
	if err := s.p.EnterBlock(va, f, prot, 0); (err == nil) != empty {
		m.t.Fatalf("block at %#x: %v, empty %v", va, err, empty)
	}
	if !empty {
		m.mem.UnrefBlock(f)
		return
	}
	for k := range arch.BlockPages {
		m.set(s, va+arch.VA(k)<<arch.PageShift, page{f: f + phys.Frame(k), prot: prot})
		m.refs[f+phys.Frame(k)]++
	}
}

// promote promotes a block, if that is possible.
func (m *model) promote(s, _ *space, _ arch.Prot) {
	va := m.va()
	was, _ := s.p.Lookup(va)
	can := m.promotable(s, va)
	if got := s.p.Promote(va); got != (was.Block || can) {
		m.t.Fatalf("promote %#x: %v, was a block %v, can %v", va, got, was.Block, can)
	}
}

// demote demotes a block.
func (m *model) demote(s, _ *space, _ arch.Prot) {
	if err := s.p.Demote(m.va()); err != nil {
		m.t.Fatal(err)
	}
}

// remove removes a range.
func (m *model) remove(s, _ *space, _ arch.Prot) {
	start, end := m.span()
	m.visit(s, start, end, func(v pmap.Visitor) {
		if err := s.p.Remove(start, end, v); err != nil {
			m.t.Fatal(err)
		}
	})
	for va := start; va < end; va += arch.PageSize {
		m.drop(s, va)
	}
}

// protect changes the rights of a range.
func (m *model) protect(s, _ *space, prot arch.Prot) {
	start, end := m.span()
	if err := s.p.Protect(start, end, prot); err != nil {
		m.t.Fatal(err)
	}
	for va := start; va < end; va += arch.PageSize {
		if pg, ok := s.pages[va]; ok {
			old := pg
			pg.prot = prot
			if prot != 0 {
				pg.prot |= arch.Read
			}
			if pg.fl&pmap.COW != 0 || pg.fl&pmap.Shared != 0 && !old.dirty {
				pg.prot &^= arch.Write
			}
			pg.dirty = old.dirty || pg.prot&arch.Write != 0
			s.pages[va] = pg
		}
	}
}

// fork empties the other space, and copies one to three quarters of the space, or all, to it.
func (m *model) fork(s, other *space, prot arch.Prot) {
	m.visit(other, 0, arch.UserMax, func(v pmap.Visitor) { other.p.Purge(v, nil) })
	for va := range other.pages {
		m.drop(other, va)
	}
	start, end := m.span()
	if prot&2 != 0 {
		start, end = 0, arch.UserMax
	}
	ranges := []pmap.Range{{start, end}}
	if prot&1 != 0 { // a hole in the middle, often inside a block
		lo := start + (end-start)/3&^(arch.PageSize-1)
		hi := lo + (end-lo)/2&^(arch.PageSize-1)
		ranges = []pmap.Range{{start, lo}, {hi, end}}
	}
	in := func(va arch.VA) bool {
		return slices.ContainsFunc(ranges, func(r pmap.Range) bool { return r.Start <= va && va < r.End })
	}
	var own pmap.Own
	if prot&4 != 0 { // the first page that is not in a block
		for va := range s.pages {
			if l, _ := s.p.Lookup(va); !l.Block && in(va) && (own.VA == 0 || va < own.VA) {
				own.VA = va
			}
		}
		if f, err := m.mem.Alloc(phys.Anon); err == nil && own.VA != 0 {
			own.Frame, own.Prot = f, rw
		} else if err == nil {
			m.mem.Unref(f)
		}
	}
	if err := s.p.Copy(other.p, ranges, own, nil); err != nil {
		m.t.Fatal(err)
	}
	for va, pg := range s.pages {
		if own.Frame != 0 && va == own.VA {
			other.pages[va] = page{f: own.Frame, prot: rw, dirty: true}
			m.refs[own.Frame]++
			continue
		}
		if !in(va) {
			continue
		}
		pg.fl |= pmap.COW
		pg.prot &^= arch.Write
		s.pages[va] = pg
		pg.fl &^= pmap.Wired
		other.pages[va] = pg
		m.refs[pg.f]++
	}
}

// reuse is a write fault on a page that may be copy-on-write.
func (m *model) reuse(s, _ *space, _ arch.Prot) {
	va := m.va()
	pg, ok := s.pages[va]
	if !ok {
		return
	}
	was, _ := s.p.Lookup(va)
	only := m.refs[pg.f] == 1
	first := va
	count := 1
	if was.Block {
		first, count = va.BlockDown(), arch.BlockPages
		for k := range arch.BlockPages {
			only = only && m.refs[was.Frame&^511+phys.Frame(k)] == 1
		}
	}
	want := only && (pg.fl&pmap.COW != 0 || pg.prot&arch.Write != 0)
	if got := s.p.Reuse(va, arch.Read|arch.Write); got != want {
		m.t.Fatalf("reuse %#x: %v, want %v (%+v, %d references)", va, got, want, pg, m.refs[pg.f])
	}
	if want && pg.fl&pmap.COW != 0 {
		for k := range count {
			at := first + arch.VA(k)<<arch.PageShift
			pg := s.pages[at]
			pg.fl &^= pmap.COW
			pg.prot, pg.dirty = arch.Read|arch.Write, true
			s.pages[at] = pg
		}
	}
}

// turn loads the space, leaves it, or cleans a range.
func (m *model) turn(s, _ *space, _ arch.Prot) {
	switch m.next() % 4 {
	case 0:
		m.sys.Deactivate()
	case 1:
		start, end := m.span()
		m.visit(s, start, end, func(v pmap.Visitor) { cleanAll(s.p, start, end, v) })
		for va := start; va < end; va += arch.PageSize {
			if pg, ok := s.pages[va]; ok && pg.dirty && pg.fl&pmap.Shared != 0 {
				pg.dirty, pg.prot = false, pg.prot&^arch.Write
				s.pages[va] = pg
			}
		}
	default:
		s.p.Activate()
	}
}

// wire wires a range, or unwires it.
func (m *model) wire(s, _ *space, prot arch.Prot) {
	start, end := m.span()
	if err := s.p.Wire(start, end, prot&1 != 0, nil); err != nil {
		m.t.Fatal(err)
	}
	for va := start; va < end; va += arch.PageSize {
		if pg, ok := s.pages[va]; ok {
			pg.fl &^= pmap.Wired
			if prot&1 != 0 {
				pg.fl |= pmap.Wired
			}
			s.pages[va] = pg
		}
	}
}

// move moves a range of one window to the next window, which it empties before.
func (m *model) move(s, _ *space, _ arch.Prot) {
	i := m.next() % len(windows)
	from, to := windows[i], windows[(i+1)%len(windows)]
	if err := s.p.Remove(to, to+windowPages*arch.PageSize, nil); err != nil {
		m.t.Fatal(err)
	}
	for k := range windowPages {
		m.drop(s, to+arch.VA(k)<<arch.PageShift)
	}
	start, n := m.next()*3, m.next()*4
	if n&4 == 0 {
		start, n = 0, windowPages
	}
	n = min(n, windowPages-start)
	shift := m.next() % 3 * min(start, 7) // 0: blocks stay aligned
	from += arch.VA(start) << arch.PageShift
	to += arch.VA(start-shift) << arch.PageShift
	if err := s.p.Move(from, to, uint64(n)<<arch.PageShift); err != nil {
		m.t.Fatal(err)
	}
	for k := range n {
		off := arch.VA(k) << arch.PageShift
		if pg, ok := s.pages[from+off]; ok {
			delete(s.pages, from+off)
			s.pages[to+off] = pg
		}
	}
}

// Random operations on two address spaces, on both formats, with many, few and no
// identifiers, are compared with a map of pages.
func FuzzModel(f *testing.F) {
	seed := rand.New(rand.NewPCG(3, 4))
	for range 6 {
		b := make([]byte, 500)
		for i := range b {
			b[i] = byte(seed.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 2000 {
			return
		}
		for i, format := range formats {
			runModel(t, format, []int{0, 1, 255}[(len(in)+i)%3], in)
		}
	})
}
