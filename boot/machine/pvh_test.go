package machine

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// The addresses at which pc puts things.
const (
	infoAt = 0x1000
	memAt  = 0x1100
	modAt  = 0x1300
	cmdAt  = 0x1ff0 // crosses the end of its page
	rsdpAt = 0xf0000
	xsdtAt = 0x7fe0000
	madtAt = 0x7fe1000
)

// pc returns the physical memory of a PC: 128 MB, two modules, ACPI.
func pc() memory {
	low := make([]byte, 0x3000)
	put32 := func(b []byte, off int, v ...uint32) {
		for i, x := range v {
			le.PutUint32(b[off+4*i:], x)
		}
	}
	put64 := func(b []byte, off int, v ...uint64) {
		for i, x := range v {
			le.PutUint64(b[off+8*i:], x)
		}
	}
	put32(low, infoAt, pvhMagic, 1, 0, 2)
	put64(low, infoAt+16, modAt, cmdAt, rsdpAt, memAt)
	put32(low, infoAt+48, 4)
	for i, e := range [][3]uint64{{0, 0x9fc00, 1}, {0xf0000, 0x10000, 2}, {0x100000, 0x7ee0000, 1}, {0x7fe0000, 0x20000, 3}} {
		put64(low, memAt+i*pvhMemSize, e[0], e[1], e[2])
	}
	put64(low, modAt, 0x7000000, 12345, 0, 0, 0x6000000, 0x1000, 0, 0)
	copy(low[cmdAt:], "layout=separate exit=reaper\x00")

	rsdp := make([]byte, rsdpSize2)
	copy(rsdp, "RSD PTR ")
	rsdp[15] = 2
	put64(rsdp, 24, xsdtAt)
	rsdp[8] -= sum(rsdp[:rsdpSize1])
	rsdp[32] -= sum(rsdp)

	madt := binaryTable("APIC", join(
		[]byte{0, 0, 0xe1, 0xfe, madtPCAT, 0, 0, 0}, // local APICs at 0xfee10000
		[]byte{madtLAPIC, 8, 0, 3, 1, 0, 0, 0},
		[]byte{madtX2APIC, 16, 0, 0, 0x23, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0},
		[]byte{madtX2APIC, 16, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, // the same CPU as the first
		[]byte{madtLAPIC, 8, 1, 1, 0, 0, 0, 0},                           // disabled
		[]byte{madtLAPIC, 8, 2, 2, 2, 0, 0, 0},                           // online capable
		[]byte{madtIOAPIC, 12, 0, 0, 0, 0, 0xc1, 0xfe, 0, 0, 0, 0},
		[]byte{madtIOAPIC, 12, 1, 0, 0, 0, 0xc2, 0xfe, 24, 0, 0, 0},
		[]byte{madtOverride, 10, 0, 0, 2, 0, 0, 0, 0, 0},
		[]byte{madtOverride, 10, 0, 4, 9, 0, 0, 0, 0xf, 0},
	))
	return memory{
		0:      low,
		rsdpAt: rsdp,
		xsdtAt: binaryTable("XSDT", join(le.AppendUint64(nil, 0xdead), le.AppendUint64(nil, madtAt))),
		madtAt: madt,
	}
}

func join(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

// binaryTable returns an ACPI table with a correct checksum.
func binaryTable(sig string, body []byte) []byte {
	t := append(make([]byte, sdtHeader), body...)
	copy(t, sig)
	le.PutUint32(t[4:], uint32(len(t)))
	t[9] -= sum(t)
	return t
}

// TestPVH. Broken by counting a processor that is online capable, or listed twice.
func TestPVH(t *testing.T) {
	in, err := FromPVH(pc().read, infoAt)
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{
		Model:       "PC (PVH)",
		Memory:      []Range{{0, 0x9f000}, {0x100000, 0x7ee0000}},
		Reserved:    []Range{{0, 0x1000}, {0xf0000, 0x10000}, {0x6000000, 0x1000}, {0x7000000, 0x4000}, {0x7fe0000, 0x20000}},
		CommandLine: "layout=separate exit=reaper",
		Initrd:      Range{0x7000000, 12345},
		Console:     Console{Kind: "16550-port", Base: 0x3f8, Size: 8, IRQ: 9, Hz: 1_843_200, RegWidth: 1},
		Interrupts: Interrupts{
			Kind: "ioapic",
			Dist: Range{0xfec10000, 4096},
			CPU:  Range{0xfee10000, 4096},
			PIC:  true,
		},
		CPUs: []CPU{{ID: 3}, {ID: 0x123}},
		RSDP: rsdpAt,
	}
	for i := range want.Interrupts.ISA {
		want.Interrupts.ISA[i].GSI = uint32(i)
	}
	want.Interrupts.ISA[0].GSI = 2
	want.Interrupts.ISA[4] = ISALine{9, true, true}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
	checkInfo(t, in)
}

// TestPVHWithoutACPI: microvm with acpi=off.
func TestPVHWithoutACPI(t *testing.T) {
	m := pc()
	le.PutUint64(m[0][infoAt+32:], 0)
	in, err := FromPVH(m.read, infoAt)
	if err != nil {
		t.Fatal(err)
	}
	if in.Interrupts.CPU.Base != 0xfee00000 || in.Interrupts.Dist.Base != 0xfec00000 || in.Console.IRQ != 4 || !in.Interrupts.PIC || len(in.CPUs) != 1 {
		t.Errorf("%+v", in)
	}
}

func TestBadPVH(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m memory)
		want   string
	}{
		{"magic", func(m memory) { m[0][infoAt] = 0 }, "magic 0x336ec500"},
		{"version", func(m memory) { m[0][infoAt+4] = 0 }, "version 0"},
		{"map empty", func(m memory) { m[0][infoAt+48] = 0 }, "memmap_entries is 0"},
		{"map huge", func(m memory) { m[0][infoAt+51] = 0xff }, "memmap_entries is 4278190084"},
		{"map nowhere", func(m memory) { m[0][infoAt+47] = 0xff }, "memmap_paddr 0xff00000000001100"},
		{"entry wraps", func(m memory) { le.PutUint64(m[0][memAt+8:], 1<<63) }, "memory map entry 0"},
		{"no RAM", func(m memory) { m[0][memAt+16] = 2; m[0][memAt+2*pvhMemSize+16] = 2 }, "no RAM"},
		{"modules", func(m memory) { m[0][infoAt+12] = 200 }, "nr_modules is 200"},
		{"module wraps", func(m memory) { le.PutUint64(m[0][modAt:], ^uint64(0)) }, "module 0: base 0xffffffffffffffff"},
		{"command line nowhere", func(m memory) { m[0][infoAt+30] = 0xff }, "cmdline_paddr"},
		{"command line endless", func(m memory) {
			m[0] = append(m[0], bytes.Repeat([]byte{'x'}, 0x4000)...)
			le.PutUint64(m[0][infoAt+24:], 0x3000)
		}, "longer than 4096"},
		{"rsdp", func(m memory) { m[rsdpAt][0] = 0 }, "rsdp_paddr 0xf0000"},
		{"root table sum", func(m memory) { m[xsdtAt][10]++ }, `"XSDT" at 0x7fe0000: checksum`},
		{"madt length", func(m memory) { m[madtAt][6] = 0xff }, `"APIC" at 0x7fe1000: length`},
		{"madt entry", func(m memory) { m[madtAt][madtFixed+1] = 0; m[madtAt][9] += 8 }, "entry at offset 44"},
		{"madt override", func(m memory) {
			b := m[madtAt]
			b[len(b)-7] = 16
			b[9] -= 12
		}, "override of ISA interrupt 16"},
	} {
		m := pc()
		c.change(m)
		_, err := FromPVH(m.read, infoAt)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "PVH start info at 0x1000") {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// FuzzPVH changes the low page and the MADT, and corrects the checksums.
func FuzzPVH(f *testing.F) {
	m := pc()
	f.Add(m[0][infoAt:0x1400], m[madtAt][sdtHeader:])
	f.Fuzz(func(t *testing.T, info, body []byte) {
		m := pc()
		copy(m[0][infoAt:], info)
		m[madtAt] = binaryTable("APIC", body)
		in, err := FromPVH(m.read, infoAt)
		if err == nil {
			checkInfo(t, in)
		}
	})
}

// TestInitramfsBesideMemory: QEMU 10 loads the initramfs of its microvm machine over a page
// that the memory map leaves out. All of it can be mapped, and nothing else uses it. Broken
// by: an initramfs that is not taken for memory; the kernel was seen to fault on it.
func TestInitramfsBesideMemory(t *testing.T) {
	m := pc()
	le.PutUint64(m[0][memAt+2*pvhMemSize+8:], 0x6ee0000+0x20000+0x3000) // RAM ends inside of it
	le.PutUint64(m[0][modAt:], 0x7000000)
	le.PutUint64(m[0][modAt+8:], 0x3114)
	in, err := FromPVH(m.read, infoAt)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Range{{0, 0x9f000}, {0x100000, 0x7004000 - 0x100000}}; !reflect.DeepEqual(in.Memory, want) {
		t.Errorf("memory %v, want %v", in.Memory, want)
	}
	for _, u := range in.Usable() {
		if u.overlaps(Range{0x7000000, 0x4000}) {
			t.Errorf("usable %v", u)
		}
	}
}
