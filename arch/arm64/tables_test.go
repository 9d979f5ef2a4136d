package arm64

import (
	"errors"
	"strings"
	"testing"

	"grim/arch"
)

// memory has the builder's table pages, by physical address.
type memory map[arch.PA]*[arch.Entries]arch.PTE

func newTables(limit int) (*kernelTables, memory) {
	m := memory{0x1000: new([arch.Entries]arch.PTE)}
	return &kernelTables{
		root: 0x1000,
		at:   func(pa arch.PA) *[arch.Entries]arch.PTE { return m[pa] },
		alloc: func() (arch.PA, error) {
			if len(m) > limit {
				return 0, errors.New("no frame")
			}
			pa := arch.PA(0x1000 * (len(m) + 1))
			m[pa] = new([arch.Entries]arch.PTE)
			return pa, nil
		},
	}, m
}

// walk translates as the CPU does (Arm ARM D8.2). It returns the level, the output address,
// and the leaf's attributes.
func (m memory) walk(va arch.VA) (level int, pa arch.PA, attr arch.PTE, ok bool) {
	t := m[0x1000]
	for level = 3; level >= 0; level-- {
		e := t[va.Index(level)]
		size := uint64(1) << (12 + 9*level)
		switch {
		case e&1 == 0:
			return level, 0, 0, false
		case level > 0 && e&2 != 0:
			t = m[arch.PA(e&0xfffffffff000)]
		case level == 3 || level == 0 && e&2 == 0:
			return level, 0, 0, false // reserved encodings
		default:
			out := uint64(e&0xfffffffff000)&^(size-1) | uint64(va)&(size-1)
			return level, arch.PA(out), e &^ 0xfffffffff000, true
		}
	}
	return
}

// TestMapRange builds the tables of a machine with its RAM at 1 GB, and walks them.
func TestMapRange(t *testing.T) {
	tab, m := newTables(100)
	const phys = 0x40000000 // of KernelBase
	direct := func(pa uint64) arch.VA { return arch.DirectBase + arch.VA(pa) }
	for _, r := range []struct {
		va   arch.VA
		pa   arch.PA
		n    uint64
		leaf arch.PTE
	}{
		{arch.KernelBase + 0x200000, phys + 0x200000, 0x85000, kernelText},
		{arch.KernelBase + 0x285000, phys + 0x285000, 0x17b000 + 0x1a00000, kernelData},
		{direct(phys), phys, 0x200000, kernelData},
		{direct(phys + 0x200000), phys + 0x200000, 0x85000, kernelRodata},
		{direct(phys + 0x285000), phys + 0x285000, 0xc0000000 - 0x285000, kernelData},
		{direct(0x09000000), 0x09000000, 0x1000, kernelDevice},
	} {
		if err := tab.mapRange(r.va, r.pa, r.n, r.leaf); err != nil {
			t.Fatal(err)
		}
	}
	const (
		text   = 0x0040_0000_0000_0783 // UXN; AF, SH inner, AP read-only, index 0
		rodata = 0x0060_0000_0000_0783
		data   = 0x0060_0000_0000_0703
		device = 0x0060_0000_0000_0407 // SH none, index 1
		block  = 2                     // bit 1 is clear in a block
	)
	for _, c := range []struct {
		name  string
		va    arch.VA
		level int
		pa    arch.PA
		attr  arch.PTE
	}{
		{"text", arch.KernelBase + 0x200000, 0, phys + 0x200000, text},
		{"end of text", arch.KernelBase + 0x284ffc, 0, phys + 0x284ffc, text},
		{"data", arch.KernelBase + 0x285000, 0, phys + 0x285000, data},
		{"heap", arch.KernelBase + 0x1234567, 1, phys + 0x1234567, data &^ block},
		{"RAM before the image", direct(phys + 0x1fffff), 1, phys + 0x1fffff, data &^ block},
		{"image in the direct map", direct(phys + 0x200000), 0, phys + 0x200000, rodata},
		{"RAM behind it", direct(phys + 0x285000), 0, phys + 0x285000, data},
		{"RAM, 2 MB block", direct(phys + 0x400000), 1, phys + 0x400000, data &^ block},
		{"RAM, 1 GB block", direct(0x80000000), 2, 0x80000000, data &^ block},
		{"last byte", direct(0xffffffff), 2, 0xffffffff, data &^ block},
		{"device", direct(0x09000000), 0, 0x09000000, device},
	} {
		level, pa, attr, ok := m.walk(c.va)
		if !ok || level != c.level || pa != c.pa || attr != c.attr {
			t.Errorf("%s: %v level %d, %#x, attributes %#x; want level %d, %#x, %#x",
				c.name, ok, level, pa, uint64(attr), c.level, c.pa, uint64(c.attr))
		}
	}
	for _, va := range []arch.VA{
		arch.KernelBase, arch.KernelBase + 0x1ff000, arch.KernelBase + 0x1e00000,
		direct(0), direct(0x08fff000), direct(0x09001000), direct(0x100000000), 0x1000,
	} {
		if level, pa, _, ok := m.walk(va); ok {
			t.Errorf("%#x translates to %#x at level %d, want nothing", uint64(va), pa, level)
		}
	}
	for i := range arch.KernelHalf {
		if e := m[0x1000][i]; e != 0 {
			t.Errorf("user half entry %d of the kernel root is %#x", i, uint64(e))
		}
	}
}

func TestMapRangeRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		noFrames bool
		va       arch.VA
		pa       arch.PA
		n        uint64
		want     string
	}{
		{"va off a page", false, arch.DirectBase + 1, 0x200000, 0x1000, "page boundaries"},
		{"pa off a page", false, arch.DirectBase, 0x200800, 0x1000, "page boundaries"},
		{"size off a page", false, arch.DirectBase, 0x200000, 0x1001, "page boundaries"},
		{"too high", false, arch.DirectBase, 1<<47 - 0x1000, 0x2000, "beyond the direct map"},
		{"wraps", false, arch.DirectBase, 1<<64 - 0x1000, 0x2000, "beyond the direct map"},
		{"a page twice", false, arch.KernelBase, 0x200000, 0x1000, "mapped twice"},
		{"inside a block", false, arch.KernelBase + 0x200000, 0x200000, 0x1000, "mapped twice"},
		{"over a table", false, arch.KernelBase, 0x400000, 0x200000, "mapped twice"},
		{"no frames", true, arch.DirectBase, 0x200000, 0x1000, "no frame"},
	} {
		tab, _ := newTables(9)
		if err := tab.mapRange(arch.KernelBase, 0x600000, 0x1000, kernelData); err != nil {
			t.Fatal(err)
		}
		if err := tab.mapRange(arch.KernelBase+0x200000, 0x800000, 0x200000, kernelData); err != nil {
			t.Fatal(err)
		}
		if c.noFrames {
			tab.alloc = func() (arch.PA, error) { return 0, errors.New("no frame") }
		}
		err := tab.mapRange(c.va, c.pa, c.n, kernelData)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestIdentityMap: the code that replaces the kernel half is mapped at its physical
// address, also across a page boundary, executable for the kernel and not for EL0, and
// tagged with an ASID. Nothing else is mapped. It fails if the page of the last byte is
// left out.
func TestIdentityMap(t *testing.T) {
	tab, m := newTables(100)
	first := true
	alloc := func() (arch.PA, error) {
		if first {
			first = false
			return 0x1000, nil
		}
		return tab.alloc()
	}
	const code = 0x48000fe0
	root, err := identityMap(alloc, tab.at, code, replaceSize)
	if err != nil || root != 0x1000 {
		t.Fatal(root, err)
	}
	for va := arch.VA(code); va < code+replaceSize; va += 4 {
		level, pa, attr, ok := m.walk(va)
		if !ok || level != 0 || pa != arch.PA(va) || attr&ptePXN != 0 || attr&pteUXN == 0 || attr&pteUser != 0 || attr&pteRO == 0 || attr&pteNG == 0 {
			t.Fatalf("%#x: level %d, %#x, %#x, %v", uint64(va), level, uint64(pa), uint64(attr), ok)
		}
	}
	for _, va := range []arch.VA{code - arch.PageSize, code + 2*arch.PageSize, 0} {
		if _, _, _, ok := m.walk(va); ok {
			t.Errorf("%#x is mapped", uint64(va))
		}
	}
}

// TestWindows: a framebuffer is normal memory that is not cached, inner shareable, and a
// device is Device-nGnRnE memory (Arm ARM D24.2.109, MAIR_EL1). Neither is executable. Broken
// by: a kernelScreen with AttrDevice, and with AttrNormal.
func TestWindows(t *testing.T) {
	for name, c := range map[string]struct {
		leaf arch.PTE
		mair byte
	}{"screen": {kernelScreen, 0x44}, "device": {kernelDevice, 0}, "memory": {kernelData, 0xff}} {
		tab, m := newTables(100)
		const pa = 0x3e000000
		if err := tab.mapRange(arch.DirectBase+pa, pa, 0x400000, c.leaf); err != nil {
			t.Fatal(err)
		}
		_, _, attr, ok := m.walk(arch.DirectBase + pa + 0x1000)
		if got := byte(uint64(MAIR) >> (8 * (attr >> 2 & 7))); !ok || got != c.mair || attr&ptePXN == 0 || attr&pteUXN == 0 || attr&pteRO != 0 {
			t.Errorf("%s: mapped %v, MAIR attribute %#x, want %#x; entry %#x", name, ok, got, c.mair, uint64(attr))
		}
	}
}

// TestHas: a window that early output has mapped, by a block, is not mapped again.
func TestHas(t *testing.T) {
	pages := map[arch.PA]*[arch.Entries]arch.PTE{}
	alloc := func() (arch.PA, error) {
		pa := arch.PA(len(pages)+1) << arch.PageShift
		pages[pa] = new([arch.Entries]arch.PTE)
		return pa, nil
	}
	root, _ := alloc()
	k := &kernelTables{root: root, alloc: alloc, at: func(pa arch.PA) *[arch.Entries]arch.PTE { return pages[pa] }}
	const block, page = 0x4000_0000, 0x8000_3000
	for pa, n := range map[arch.PA]uint64{block: 1 << 30, page: arch.PageSize} {
		if err := k.mapRange(arch.DirectBase+arch.VA(pa), pa, n, kernelDevice); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		pa   arch.PA
		n    uint64
		leaf arch.PTE
		want bool
	}{
		{block + 0x9000000, 0x1000, kernelDevice, true}, {block + 0x9000000, 0x1000, kernelData, false},
		{block + 1<<30 - 8, 8, kernelDevice, true}, {block + 1<<30 - 8, 16, kernelDevice, false},
		{page + 0x40, 0x80, kernelDevice, true}, {page, 0x1001, kernelDevice, false}, {page + 0x1000, 8, kernelDevice, false},
	} {
		if got := k.has(arch.DirectBase+arch.VA(c.pa), c.pa, c.n, c.leaf); got != c.want {
			t.Errorf("[%#x, +%#x), %#x: %v", uint64(c.pa), c.n, uint64(c.leaf), got)
		}
	}
}
