package amd64

import (
	"testing"

	"grim/arch"
)

// testMemory is memory for tables: frame n is at physical (n+1)*4096.
type testMemory struct{ pages []*tablePage }

func (m *testMemory) alloc() arch.PA {
	p := new(tablePage)
	for i := range p {
		p[i] = 0xbad // frames come dirty
	}
	m.pages = append(m.pages, p)
	return arch.PA(len(m.pages)) * arch.PageSize
}

func (m *testMemory) view(pa arch.PA) *tablePage { return m.pages[pa/arch.PageSize-1] }

// walk returns what a root maps va to, found as the CPU would find it.
func (m *testMemory) walk(root arch.PA, va arch.VA) (pa arch.PA, bits arch.PTE, level int) {
	at := root
	for l := 3; ; l-- {
		e := m.view(at)[va.Index(l)]
		if e&pteP == 0 {
			return 0, 0, -1
		}
		if l == 0 || e&ptePS != 0 {
			size := arch.PTE(1) << (12 + 9*l)
			pa := e & pteAdr &^ (size - 1)
			return arch.PA(pa) + arch.PA(arch.PTE(va)&(size-1)), e &^ pteAdr, l
		}
		at = arch.PA(e & pteAdr)
	}
}

func testRoots(huge bool) (m *testMemory, shared, separate, area arch.PA) {
	m = new(testMemory)
	t := tables{alloc: m.alloc, view: m.view, huge: huge}
	shared, separate, area = t.kernelRoots(
		[]Span{{0, 0x9fc00}, {0x100000, 3<<30 - 0x100000}, {1 << 32, 1<<30 + 0x200000}},
		[]Span{{0xfee00000, 4096}, {0xfec00010, 16}},
		Image{Text: 0xffffffff80200000, EText: 0xffffffff802b2a70, Rodata: 0xffffffff802b3000, ERodata: 0xffffffff80340000,
			Data: 0xffffffff80340000, End: 0xffffffff81419000})
	return m, shared, separate, area
}

func TestKernelRoots(t *testing.T) {
	m, shared, separate, area := testRoots(true)
	for _, c := range []struct {
		name  string
		va    arch.VA
		pa    arch.PA
		bits  arch.PTE // without PS
		level int      // -1: not mapped
	}{
		{"first page", arch.DirectBase, 0, kernData, 0},
		{"last whole page of low memory", arch.DirectBase + 0x9e000, 0x9e000, kernData, 0},
		{"part of a page", arch.DirectBase + 0x9f000, 0, 0, -1},
		{"hole", arch.DirectBase + 0xa0000, 0, 0, -1},
		{"1 MB", arch.DirectBase + 0x100000, 0x100000, kernData, 0},
		{"2 MB block", arch.DirectBase + 0x2345678, 0x2345678, kernData, 1},
		{"text in the direct map", arch.DirectBase + 0x200000, 0x200000, kernRead, 0},
		{"rodata in the direct map", arch.DirectBase + 0x33ffff, 0x33ffff, kernRead, 0},
		{"data in the direct map", arch.DirectBase + 0x340000, 0x340000, kernData, 0},
		{"1 GB block", arch.DirectBase + 0x54321000, 0x54321000, kernData, 2},
		{"above 4 GB", arch.DirectBase + 1<<32 + 5, 1<<32 + 5, kernData, 2},
		{"the rest above 4 GB", arch.DirectBase + 5<<30 + 5, 5<<30 + 5, kernData, 1},
		{"behind memory", arch.DirectBase + 5<<30 + 0x200000, 0, 0, -1},
		{"local APIC", arch.DirectBase + 0xfee00000, 0xfee00000, kernDevice, 0},
		{"I/O APIC", arch.DirectBase + 0xfec00000, 0xfec00000, kernDevice, 0},
		{"text", 0xffffffff80200000, 0x200000, kernText, 0},
		{"last page of text", 0xffffffff802b2fff, 0x2b2fff, kernText, 0},
		{"rodata", 0xffffffff802b3000, 0x2b3000, kernRead, 0},
		{"data", 0xffffffff80340000, 0x340000, kernData, 0},
		{"data in blocks", 0xffffffff80400000, 0x400000, kernData, 1},
		{"end of the heap", 0xffffffff81418fff, 0x1418fff, kernData, 0},
		{"behind the heap", 0xffffffff81419000, 0, 0, -1},
		{"before text", 0xffffffff801ff000, 0, 0, -1},
		{"identity of the entry code", 0x100000, 0, 0, -1},
	} {
		pa, bits, level := m.walk(shared, c.va)
		if pa != c.pa || bits&^ptePS != c.bits || level != c.level {
			t.Errorf("%s: %#x -> %#x bits %#x level %d; want %#x %#x %d", c.name, c.va, pa, bits, level, c.pa, c.bits, c.level)
		}
	}
	m.view(area)[0] = 0x7000 | kernText
	for _, root := range []arch.PA{shared, separate} {
		if pa, _, _ := m.walk(root, areaBase); pa != 0x7000 {
			t.Errorf("entry area of root %#x leads to %#x", root, pa)
		}
	}
}

// A separate root must lead to the entry area and to nothing else.
func TestSeparateRoot(t *testing.T) {
	m, _, separate, area := testRoots(true)
	for i, e := range m.view(separate) {
		if (e != 0) != (i == arch.Entries-1) {
			t.Errorf("root entry %d is %#x", i, e)
		}
	}
	at := separate
	for l := 3; l > 0; l-- {
		for i, e := range m.view(at) {
			if (e != 0) != (i == arch.Entries-1) {
				t.Errorf("level %d entry %d is %#x", l, i, e)
			}
		}
		at = arch.PA(m.view(at)[arch.Entries-1] & pteAdr)
	}
	if at != area {
		t.Errorf("ends at table %#x, want %#x", at, area)
	}
}

// No mapping is both writable and executable, none is for user mode, and none is global.
func TestKernelPermissions(t *testing.T) {
	for _, huge := range []bool{false, true} {
		m, shared, _, _ := testRoots(huge)
		var leaves int
		var visit func(at arch.PA, level int)
		visit = func(at arch.PA, level int) {
			for i, e := range m.view(at) {
				switch {
				case e&pteP == 0:
					if e != 0 {
						t.Errorf("level %d entry %d is %#x: not present, not zero", level, i, e)
					}
				case level == 0 || e&ptePS != 0:
					leaves++
					if e&pteRW != 0 && e&pteNX == 0 {
						t.Errorf("leaf %#x is writable and executable", e)
					}
					if e&(pteUS|1<<8) != 0 {
						t.Errorf("leaf %#x is for user mode or global", e)
					}
					if level == 2 && !huge {
						t.Errorf("1 GB leaf %#x on a CPU without", e)
					}
				default:
					visit(arch.PA(e&pteAdr), level-1)
				}
			}
		}
		visit(shared, 3)
		if leaves == 0 {
			t.Error("no leaf found")
		}
	}
}

func TestEnterRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(*tables, arch.PA)
	}{
		{"part of a page", func(t *tables, r arch.PA) { t.enter(r, 0x1000, 0x1000, 0x800, kernData) }},
		{"mapped otherwise", func(t *tables, r arch.PA) { t.enter(r, arch.DirectBase, 0x1000, 0x1000, kernData) }},
		{"inside of a block", func(t *tables, r arch.PA) { t.enter(r, arch.DirectBase+0x201000, 0x201000, 0x1000, kernDevice) }},
	} {
		m := new(testMemory)
		tab := tables{alloc: m.alloc, view: m.view}
		root := tab.page()
		tab.enter(root, arch.DirectBase, 0, 0x400000, kernData)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", c.name)
				}
			}()
			c.f(&tab, root)
		}()
	}
}
