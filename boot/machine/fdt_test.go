package machine

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/u-root/u-root/pkg/dt"

	"grim/boot/overlay/early"
)

// memory is physical memory that holds a few blocks of bytes.
type memory map[uint64][]byte

func (m memory) read(pa uint64, n int) []byte {
	for base, b := range m {
		if pa >= base && pa-base <= uint64(len(b)) && uint64(n) <= uint64(len(b))-(pa-base) {
			return b[pa-base:][:n]
		}
	}
	return nil
}

const treeAt = 0x4a000000

// qemuTree is a device tree that QEMU's virt machine made (dumpdtb=, 256 MB,
// one CPU, an initramfs, a command line), stripped of padding by dtc.
func qemuTree(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestQEMUTrees(t *testing.T) {
	for _, c := range []struct {
		file string
		want Interrupts
	}{
		{"virt-gicv2.dtb", Interrupts{Kind: "gicv2", Dist: Range{0x8000000, 0x10000}, CPU: Range{0x8010000, 0x10000}}},
		{"virt-gicv3.dtb", Interrupts{Kind: "gicv3", Dist: Range{0x8000000, 0x10000}, Redist: []Range{{0x80a0000, 0xf60000}}}},
	} {
		t.Run(c.file, func(t *testing.T) {
			b := qemuTree(t, c.file)
			in, err := FromDeviceTree(memory{treeAt: b}.read, treeAt)
			if err != nil {
				t.Fatal(err)
			}
			if len(in.Seed) != 32 {
				t.Errorf("seed has %d bytes, want 32", len(in.Seed))
			}
			in.Seed = nil
			want := &Info{
				Model:       "linux,dummy-virt",
				Memory:      []Range{{0x40000000, 256 << 20}},
				Reserved:    []Range{{0, 0x1000}, {0x48000000, 0x1000}, {treeAt, 0x2000}},
				CommandLine: "layout=shared exit=purge",
				Initrd:      Range{0x48000000, 0x4c5},
				Console:     Console{Kind: "pl011", Base: 0x9000000, Size: 0x1000, IRQ: 33, Hz: 24_000_000},
				Interrupts:  c.want,
				Timer:       Timer{IRQ: 27, Level: true},
				CPUs:        []CPU{{}},
				PSCI:        "hvc",
				Clock:       Device{PL031, Range{0x9010000, 0x1000}},
			}
			for i := range uint64(32) { // places for virtio devices, from shared interrupt 16 on
				want.VirtIO = append(want.VirtIO, MMIODevice{Range{0xa000000 + 0x200*i, 0x200}, 48 + int(i)})
			}
			if !reflect.DeepEqual(in, want) {
				t.Errorf("got  %+v\nwant %+v", in, want)
			}
		})
	}
}

// TestBoardTree checks what boards have and QEMU has not: buses with ranges, one-cell
// addresses, aliases with options, a 16550 with spaced registers, disabled devices,
// reserved memory.
func TestBoardTree(t *testing.T) {
	in, err := FromDeviceTree(memory{treeAt: boardTree(t)}.read, treeAt)
	if err != nil {
		t.Fatal(err)
	}
	if in.Model != "Some Board" || len(in.CPUs) != 2 || in.PSCI != "smc" || in.Timer.Hz != 54_000_000 {
		t.Errorf("model %q, %d CPUs, PSCI %q, timer %+v", in.Model, len(in.CPUs), in.PSCI, in.Timer)
	}
	if want := (Console{Kind: MiniU, Base: 0xfe215040, Size: 0x40, IRQ: 32 + 93, Hz: 500_000_000}); in.Console != want {
		t.Errorf("console %+v, want %+v", in.Console, want)
	}
	if in.Interrupts.Kind != "gicv2" || in.Interrupts.Dist.Base != 0xff841000 || in.Interrupts.CPU.Base != 0xff842000 {
		t.Errorf("interrupts %+v", in.Interrupts)
	}
	if want := []Range{{0, 0x3b400000}, {0x40000000, 0x40000000}}; !reflect.DeepEqual(in.Memory, want) {
		t.Errorf("memory %v, want %v", in.Memory, want)
	}
	if want := []Range{{0, 0x1000}, {0x1000000, 0x10000}, {treeAt, 0x1000}}; !reflect.DeepEqual(in.Reserved, want) {
		t.Errorf("reserved %v, want %v", in.Reserved, want)
	}
	usable := []Range{{0x1000, 0x1000000 - 0x1000}, {0x1010000, 0x2000000 - 0x1010000}, {0x2100000, 0x3b400000 - 0x2100000},
		{0x40000000, treeAt - 0x40000000}, {treeAt + 0x1000, 0x80000000 - treeAt - 0x1000}}
	if got := in.Usable(Range{0x2000000, 0x100000}); !reflect.DeepEqual(got, usable) {
		t.Errorf("usable %v, want %v", got, usable)
	}
	if want := []Range{{0xfe215000, 0x1000}, {0xff841000, 0x3000}}; !reflect.DeepEqual(in.Devices(), want) {
		t.Errorf("devices %v, want %v", in.Devices(), want)
	}
}

func strs(name string, vals ...string) dt.Property {
	return dt.Property{Name: name, Value: []byte(strings.Join(vals, "\x00") + "\x00")}
}

func boardTree(t testing.TB, change ...func(*dt.Node)) []byte {
	t.Helper()
	u32 := func(name string, v ...uint32) dt.Property { return dt.PropertyU32Array(name, v) }
	n := func(name string, opts ...any) *dt.Node {
		x := dt.NewNode(name)
		for _, o := range opts {
			switch o := o.(type) {
			case dt.Property:
				x.Properties = append(x.Properties, o)
			case *dt.Node:
				x.Children = append(x.Children, o)
			}
		}
		return x
	}
	gic := n("interrupt-controller@40041000", strs("compatible", "arm,gic-400"), u32("phandle", 1),
		u32("#interrupt-cells", 3), u32("reg", 0x40041000, 0x1000, 0x40042000, 0x2000))
	root := n("", strs("model", "Some Board"), strs("compatible", "acme,board"),
		u32("#address-cells", 2), u32("#size-cells", 1), u32("interrupt-parent", 1),
		n("aliases", strs("serial1", "/soc/serial@7e215040")),
		n("chosen", strs("stdout-path", "serial1:115200n8")),
		n("memory@0", strs("device_type", "memory"), u32("reg", 0, 0, 0x3b400000, 0, 0x40000000, 0x40000000)),
		n("memory@1", strs("device_type", "memory"), strs("status", "disabled"), u32("reg", 1, 0, 0x1000)),
		n("reserved-memory", u32("#address-cells", 2), u32("#size-cells", 1),
			n("firmware@1000000", u32("reg", 0, 0x1000000, 0x10000)),
			n("dynamic", u32("size", 0x1000))),
		n("clk", strs("compatible", "fixed-clock"), u32("clock-frequency", 500_000_000), u32("phandle", 7)),
		n("cpus", u32("#address-cells", 1), u32("#size-cells", 0),
			n("cpu@0", strs("device_type", "cpu"), u32("reg", 0)), n("cpu@1", strs("device_type", "cpu"), u32("reg", 1)), n("l2-cache0")),
		n("psci", strs("compatible", "arm,psci-1.0", "arm,psci-0.2"), strs("method", "smc")),
		n("timer", strs("compatible", "arm,armv8-timer"), u32("clock-frequency", 54_000_000),
			u32("interrupts", 1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08)),
		n("soc", strs("compatible", "simple-bus"), u32("#address-cells", 1), u32("#size-cells", 1),
			u32("ranges", 0x7e000000, 0, 0xfe000000, 0x1800000, 0x40000000, 0, 0xff800000, 0x800000),
			gic,
			n("serial@7e201000", strs("compatible", "arm,pl011"), strs("status", "disabled"), u32("reg", 0x7e201000, 0x200)),
			n("serial@7e215040", strs("compatible", "brcm,bcm2835-aux-uart"), u32("reg", 0x7e215040, 0x40),
				u32("interrupts", 0, 93, 4), u32("clocks", 7))))
	for _, f := range change {
		f(root)
	}
	var b bytes.Buffer
	if _, err := (&dt.FDT{Header: dt.Header{Magic: dt.Magic, Version: 17, LastCompVersion: 16}, RootNode: root}).Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBadTrees checks that each message names the field.
func TestBadTrees(t *testing.T) {
	at := func(off int, v uint32) func([]byte) {
		return func(b []byte) { be.PutUint32(b[off:], v) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte)
		want   string
	}{
		{"magic", at(0, 1), "magic 0x1"},
		{"size", at(4, 1<<31), "totalsize is 2147483648"},
		{"structure offset", at(8, 0xfffffff0), "structure block"},
		{"strings size", at(32, 0xfffffff0), "strings block"},
		{"reservation offset", at(16, 4), "memory reservation block"},
		{"version", func(b []byte) { be.PutUint32(b[20:], 99); be.PutUint32(b[24:], 98) }, "version is 99"},
		{"token", func(b []byte) { be.PutUint32(b[be.Uint32(b[8:]):], 77) }, "token 0x4d"},
		{"property length", func(b []byte) {
			s := be.Uint32(b[8:])
			be.PutUint32(b[s+12:], 0xfffffff0)
		}, "length 0xfffffff0"},
		{"no end", func(b []byte) { be.PutUint32(b[36:], be.Uint32(b[36:])-4) }, "no end token"},
	} {
		b := bytes.Clone(boardTree(t))
		c.change(b)
		_, err := FromDeviceTree(memory{treeAt: b}.read, treeAt)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "device tree at 0x4a000000") {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*dt.Node)
		want   string
	}{
		{"no memory", func(r *dt.Node) { r.Children[2].UpdateProperty("device_type", []byte("x\x00")) }, "no RAM"},
		{"memory wraps", func(r *dt.Node) {
			r.Children[2].UpdateProperty("reg", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff})
		}, "/memory@0: reg: base 0xffffffffffff0000"},
		{"memory cut", func(r *dt.Node) { r.Children[2].UpdateProperty("reg", make([]byte, 7)) }, "/memory@0: reg has 7 bytes"},
		{"cells", func(r *dt.Node) { r.UpdateProperty("#address-cells", []byte{0, 0, 0, 200}) }, "#address-cells 200"},
		{"no RAM but what is not to be mapped", func(r *dt.Node) {
			r.Children[4].Children = append(r.Children[4].Children, &dt.Node{Name: "all@0",
				Properties: []dt.Property{{Name: "no-map"}, dt.PropertyU32Array("reg", []uint32{0, 0x2000000, 0xf0000000})}})
			r.Children[2].UpdateProperty("reg", []byte{0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0})
		}, "no RAM"},
		{"initrd hidden", func(r *dt.Node) {
			r.Children[4].Children[0].Properties = append(r.Children[4].Children[0].Properties, dt.Property{Name: "no-map"})
			r.Children[1].Properties = append(r.Children[1].Properties,
				dt.PropertyU32("linux,initrd-start", 0x100ff00), dt.PropertyU32("linux,initrd-end", 0x1020000))
		}, "lies in reserved memory"},
		{"memory over devices", func(r *dt.Node) {
			r.Children[2].UpdateProperty("reg", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0})
		}, "memory [0x0, 0xffff0000) is said to be where the device registers [0xfe215000, 0xfe216000) are"},
		{"spin table", func(r *dt.Node) {
			c := r.Children[6].Children[1]
			c.Properties = append(c.Properties, strs("enable-method", "spin-table"))
		}, "/cpus/cpu@1: property \"cpu-release-addr\""},
		{"spin table between words", func(r *dt.Node) {
			c := r.Children[6].Children[1]
			c.Properties = append(c.Properties, strs("enable-method", "spin-table"), dt.PropertyU64("cpu-release-addr", 0xdc))
		}, "/cpus/cpu@1: cpu-release-addr 0xdc is not on 8 bytes"},
		{"initrd", func(r *dt.Node) {
			r.Children[1].Properties = append(r.Children[1].Properties,
				dt.PropertyU32("linux,initrd-start", 9), dt.PropertyU64("linux,initrd-end", 8))
		}, "linux,initrd-end 0x8 is before"},
		{"psci", func(r *dt.Node) { r.Children[7].UpdateProperty("method", []byte("x\x00")) }, `method is "x"`},
		{"timer", func(r *dt.Node) { r.Children[8].UpdateProperty("interrupts", make([]byte, 12)) }, "/timer: interrupts"},
		{"no gic", func(r *dt.Node) { r.Children[9].Children = r.Children[9].Children[1:] }, "no interrupt controller"},
		{"bus", func(r *dt.Node) { r.Children[9].UpdateProperty("ranges", make([]byte, 16)) }, "address 0x7e215040 is in none of the ranges of /soc"},
	} {
		_, err := FromDeviceTree(memory{treeAt: boardTree(t, c.change)}.read, treeAt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, err := FromDeviceTree(memory{}.read, 0x1000); err == nil || !strings.Contains(err.Error(), "not readable") {
		t.Errorf("unmapped: %v", err)
	}
}

// TestCPUs: each CPU is found with its number and its start method. A CPU without a number,
// or a disabled CPU that cannot be started, is not used. The page where a CPU of a spin
// table looks for its word is not handed out. Broken by: cpu-release-addr ignored, or not
// reserved; disabled CPUs taken.
func TestCPUs(t *testing.T) {
	cpu := func(name string, ps ...dt.Property) *dt.Node {
		return dt.NewNode(name, dt.WithProperty(append(ps, dt.PropertyString("device_type", "cpu"))...))
	}
	root := dt.NewNode("", dt.WithChildren(dt.NewNode("cpus", dt.WithChildren(
		cpu("cpu@0", dt.PropertyU32("reg", 0), dt.PropertyString("enable-method", "psci")),
		cpu("cpu@100", dt.PropertyU64("reg", 1<<32|0x100), dt.PropertyString("status", "disabled"),
			dt.PropertyString("enable-method", "spin-table"), dt.PropertyU64("cpu-release-addr", 0xd8)),
		cpu("cpu@2", dt.PropertyU32("reg", 2), dt.PropertyString("status", "fail")),
		cpu("cpu@3"),
	))))
	in := &Info{}
	if err := in.fdtCPUs(&node{Node: root}); err != nil {
		t.Fatal(err)
	}
	if want := []CPU{{0, "psci", 0}, {1<<32 | 0x100, "spin-table", 0xd8}}; !slices.Equal(in.CPUs, want) || len(in.Warnings) != 1 {
		t.Errorf("%+v, warnings %q; want %+v", in.CPUs, in.Warnings, want)
	}
	in.Memory = []Range{{0, 1 << 20}}
	if err := in.finish(); err != nil {
		t.Fatal(err)
	}
	if want := []Range{{pageSize, 1<<20 - pageSize}}; !slices.Equal(in.Usable(), want) {
		t.Errorf("%v is handed out, want %v: a CPU looks at page 0", in.Usable(), want)
	}
}

// TestOverlappingReservations: if a boot loader's node overlaps one of the tree's, there is
// a warning, both are reserved, and what one of them forbids to map is not in Memory.
// Broken by: only the first of two taken.
func TestOverlappingReservations(t *testing.T) {
	in, err := FromDeviceTree(memory{treeAt: boardTree(t, func(r *dt.Node) {
		for name, p := range map[string][]dt.Property{
			"optee@100f000": {dt.PropertyU32Array("reg", []uint32{0, 0x100f000, 0x2000}), {Name: "no-map"}},
			"same@1000000":  {dt.PropertyU32Array("reg", []uint32{0, 0x1000000, 0x10000})},
		} {
			r.Children[4].Children = append(r.Children[4].Children, &dt.Node{Name: name, Properties: p})
		}
	})}.read, treeAt)
	if err != nil {
		t.Fatal(err)
	}
	warnings := strings.Join(in.Warnings, "\n")
	for _, w := range []string{
		"[0x100f000, 0x1011000) overlaps [0x1000000, 0x1010000) of /reserved-memory/firmware@1000000",
		"/reserved-memory/same@1000000: [0x1000000, 0x1010000) overlaps ",
	} {
		if !strings.Contains(warnings, w) {
			t.Errorf("warnings %q lack %q", warnings, w)
		}
	}
	if want := []Range{{0, 0x100f000}, {0x1011000, 0x3b400000 - 0x1011000}, {0x40000000, 0x40000000}}; !reflect.DeepEqual(in.Memory, want) {
		t.Errorf("memory %v, want %v", in.Memory, want)
	}
	if want := []Range{{0, 0x1000}, {0x1000000, 0x11000}, {treeAt, 0x1000}}; !reflect.DeepEqual(in.Reserved, want) {
		t.Errorf("reserved %v, want %v", in.Reserved, want)
	}
}

// TestConsoleOfBadTree: an error found after the console is shown on the console.
func TestConsoleOfBadTree(t *testing.T) {
	b := boardTree(t, func(r *dt.Node) { r.Children[8].UpdateProperty("interrupts", nil) })
	in, err := FromDeviceTree(memory{treeAt: b}.read, treeAt)
	if err == nil || in == nil || in.Console.Kind != MiniU {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestConsoleChoice: the console is what stdout-path names, if there is a driver; otherwise
// it is the first device that has a driver, with a warning.
func TestConsoleChoice(t *testing.T) {
	for _, c := range []struct {
		name, compatible string
		kind             string
		warning          string
	}{
		{"known", "cdns,uart-r1p12", Cadence, ""},
		{"second string", "acme,uart\x00arm,pl011", PL011, ""},
		{"unknown", "acme,uart", PL011, `/soc/serial@7e215040, is compatible with ["acme,uart"]: no driver`},
	} {
		b := boardTree(t, func(r *dt.Node) {
			soc := r.Children[9]
			soc.Children[1].UpdateProperty("status", []byte("okay\x00"))
			soc.Children[2].UpdateProperty("compatible", []byte(c.compatible+"\x00"))
		})
		in, err := FromDeviceTree(memory{treeAt: b}.read, treeAt)
		if err != nil {
			t.Fatal(err)
		}
		if in.Console.Kind != c.kind || strings.Contains(strings.Join(in.Warnings, "\n"), "no driver") != (c.warning != "") ||
			!strings.Contains(strings.Join(in.Warnings, "\n"), c.warning) {
			t.Errorf("%s: console %+v, warnings %q", c.name, in.Console, in.Warnings)
		}
	}
	b := boardTree(t, func(r *dt.Node) { r.Children[9].Children = r.Children[9].Children[:1] })
	if in, err := FromDeviceTree(memory{treeAt: b}.read, treeAt); in == nil || in.Console.Kind != "" ||
		err == nil || !strings.Contains(err.Error(), "no serial port that there is a driver for: compatible with one of arm,pl011, ") {
		t.Errorf("no serial port: %+v, %v", in, err)
	}
}

// TestPins: the serial port on a Raspberry Pi's header is the console, whatever the tree
// says. Package early does the same.
func TestPins(t *testing.T) {
	const alt0, alt5 = 4<<12 | 4<<15, 2<<12 | 2<<15
	pl, mini := Console{Kind: PL011, Base: 0x201000, IRQ: 1}, Console{Kind: MiniU, Base: 0x215040, IRQ: 2}
	for _, c := range []struct {
		functions  uint32
		tree, want Console
	}{
		{alt0, pl, pl}, {alt5, mini, mini},
		{alt5, pl, mini}, {alt0, mini, pl},
		{alt0 | 7<<9 | 7<<18, mini, pl}, // other pins
		{0, mini, mini}, {0, pl, pl},    // inputs
		{4<<12 | 2<<15, pl, pl}, // one of each
	} {
		in := &Info{Console: c.tree, Pins: Pins{Range{0x200000, 0xb4}, pl, mini}}
		in.PickConsole(c.functions)
		if in.Console != c.want || len(in.Warnings) != 0 != (c.tree != c.want) {
			t.Errorf("functions %#x, tree %s: %+v, %q", c.functions, c.tree.Kind, in.Console, in.Warnings)
		}
		e := early.Console{Kind: earlyKinds[c.tree.Kind], Base: c.tree.Base, PL011: pl.Base, Mini: mini.Base}
		regs := [64]uint32{1: c.functions}
		if e.Pins(unsafe.Pointer(&regs)); e.Base != c.want.Base || e.Kind != earlyKinds[c.want.Kind] {
			t.Errorf("functions %#x, tree %s: early has %+v", c.functions, c.tree.Kind, e)
		}
	}
}

// addScreen gives the board a framebuffer, in memory or beside it.
func addScreen(base uint32, more ...dt.Property) func(*dt.Node) {
	return func(r *dt.Node) {
		chosen := r.Children[1]
		chosen.Properties = append(chosen.Properties, dt.PropertyU32("#address-cells", 2), dt.PropertyU32("#size-cells", 1), dt.Property{Name: "ranges"})
		chosen.Children = append(chosen.Children, &dt.Node{Name: "framebuffer@0", Properties: append([]dt.Property{
			strs("compatible", "simple-framebuffer"), dt.PropertyU32Array("reg", []uint32{0, base, 0x10000}),
			dt.PropertyU32("width", 100), dt.PropertyU32("height", 100), dt.PropertyU32("stride", 400), strs("format", "a8r8g8b8"),
		}, more...)})
	}
}

// TestScreen: a framebuffer is found, and its memory is not used for anything else. A
// framebuffer that makes no sense gives a warning.
func TestScreen(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*dt.Node)
		want    Screen
		warning string
	}{
		{"none", func(*dt.Node) {}, Screen{}, ""},
		{"in memory", addScreen(0x2000000), Screen{Range{0x2000000, 0x10000}, 100, 100, 400, "a8r8g8b8"}, ""},
		{"beside", addScreen(0x3c000000), Screen{Range{0x3c000000, 0x10000}, 100, 100, 400, "a8r8g8b8"}, ""},
		{"disabled", addScreen(0x3c000000, strs("status", "disabled")), Screen{}, ""},
		{"by memory-region", func(r *dt.Node) {
			fw := r.Children[4].Children[0]
			fw.Properties = append(fw.Properties, dt.PropertyU32("phandle", 99))
			addScreen(0x3c000000, dt.PropertyU32("memory-region", 99))(r)
		}, Screen{Range{0x1000000, 0x10000}, 100, 100, 400, "a8r8g8b8"}, ""},
		{"not on a page", addScreen(0x3c000010), Screen{}, "/chosen/framebuffer@0: framebuffer [0x3c000010, "},
	} {
		in, err := FromDeviceTree(memory{treeAt: boardTree(t, c.change)}.read, treeAt)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if in.Screen != c.want || len(in.Warnings) != 0 != (c.warning != "") || !strings.Contains(strings.Join(in.Warnings, ""), c.warning) {
			t.Errorf("%s: %+v, %q", c.name, in.Screen, in.Warnings)
		}
		checkInfo(t, in)
		for _, m := range in.Memory {
			if in.Screen.Size != 0 && m.overlaps(in.Screen.Range) {
				t.Errorf("%s: memory %v has the framebuffer %v in it", c.name, m, in.Screen.Range)
			}
		}
	}
}

func FuzzDeviceTree(f *testing.F) {
	f.Add(qemuTree(f, "virt-gicv2.dtb"))
	f.Add(qemuTree(f, "virt-gicv3.dtb"))
	f.Add(boardTree(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := FromDeviceTree(memory{treeAt: b}.read, treeAt)
		if err == nil {
			checkInfo(t, in)
		}
	})
}

// checkInfo checks what Info promises about its lists.
func checkInfo(t *testing.T, in *Info) {
	for _, list := range [][]Range{in.Memory, in.Reserved, in.Usable(), in.Devices()} {
		last := uint64(0)
		for i, r := range list {
			if r.Base%pageSize != 0 || r.Size%pageSize != 0 || r.Size == 0 || r.End() < r.Base || r.End() > maxPA || i > 0 && r.Base < last {
				t.Fatalf("bad range %v in %v", r, list)
			}
			last = r.End()
		}
	}
	for _, u := range in.Usable() {
		for _, r := range in.Reserved {
			if u.Base < r.End() && r.Base < u.End() {
				t.Fatalf("usable %v overlaps reserved %v", u, r)
			}
		}
	}
	if len(in.CPUs) < 1 || len(in.Memory) == 0 || len(in.CommandLine) > maxCommand {
		t.Fatalf("%+v", in)
	}
}
