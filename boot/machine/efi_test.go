package machine

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

const efiAt = 0x13f800000

// efiDescriptor is an entry of the firmware's memory map.
type efiDescriptor struct {
	kind        uint32
	base, pages uint64
	attr        uint64
}

// efiBlockOf returns what the EFI stub leaves: the block, with everything in it.
func efiBlockOf(tree []byte, descriptors []efiDescriptor, options, command string) []byte {
	const step = 48 // larger than the fields: firmware may add some
	b := make([]byte, efiBlock)
	copy(b, efiMagic)
	pair := func(field int, off int, data []byte) {
		le.PutUint64(b[field:], efiAt+uint64(off))
		le.PutUint64(b[field+8:], uint64(len(data)))
		copy(b[off:], data)
	}
	var m []byte
	for _, d := range descriptors {
		e := make([]byte, step)
		le.PutUint32(e, d.kind)
		le.PutUint64(e[8:], d.base)
		le.PutUint64(e[24:], d.pages)
		le.PutUint64(e[32:], d.attr)
		m = append(m, e...)
	}
	var wide []byte
	for _, c := range utf16.Encode([]rune(options)) {
		wide = le.AppendUint16(wide, c)
	}
	pair(efiTree, 0x20000, tree)
	pair(efiMap, 0x4000, m)
	le.PutUint64(b[efiMap+16:], step)
	pair(efiOptions, 0x1000, wide)
	pair(efiCommand, 0x2000, []byte(command))
	le.PutUint64(b[efiInitrd:], 0x50000000)
	le.PutUint64(b[efiInitrd+8:], 0x1234)
	return b
}

func goodEFI(t testing.TB) []byte {
	return efiBlockOf(boardTree(t), []efiDescriptor{
		{7, 0x40000000, 0x10000, efiWriteBack},             // conventional
		{0, 0x50000000, 0x10, efiWriteBack},                // reserved
		{2, 0x50010000, 0xfff0, efiWriteBack},              // loader data
		{6, 0x60000000, 0x10, efiWriteBack | efiRuntime},   // runtime services
		{4, 0x60010000, 0x10, efiWriteBack},                // boot services data
		{7, 0x70000000, 0x10, 0},                           // not write-back
		{11, 0x9000000, 1, efiRuntime},                     // device
		{3, 0x1_00000000, 0x40000, efiWriteBack | 1<<4},    // above 4 GB
		{14, 0x2_00000000, 0x40000, efiWriteBack | 0x8000}, // persistent
	}, "", "selftest=quick\n layout=shared\n")
}

func TestEFI(t *testing.T) {
	in, err := FromArm64(memory{efiAt: goodEFI(t)}.read, efiAt)
	if err != nil {
		t.Fatal(err)
	}
	checkInfo(t, in)
	want := []Range{{0x40000000, 0x10000000}, {0x50010000, 0xfff0000}, {0x60010000, 0x10000}, {0x1_00000000, 0x40000000}}
	if !reflect.DeepEqual(in.Memory, want) {
		t.Errorf("memory %v, want %v: the tree's own does not count", in.Memory, want)
	}
	if in.CommandLine != "selftest=quick layout=shared" || in.Initrd != (Range{0x50000000, 0x1234}) || in.Model != "Some Board" {
		t.Errorf("command line %q, initrd %v, model %q", in.CommandLine, in.Initrd, in.Model)
	}
	for _, r := range []Range{{efiAt, efiBlock}, {0x50000000, 0x2000}} {
		for _, u := range in.Usable() {
			if u.overlaps(r) {
				t.Errorf("%v is usable, and %v in use", u, r)
			}
		}
	}
	b := efiBlockOf(boardTree(t), []efiDescriptor{{7, 0x40000000, 0x10000, efiWriteBack}}, "exit=reaper ä\x00", "exit=purge")
	if in, err = FromArm64(memory{efiAt: b}.read, efiAt); err != nil || in.CommandLine != "exit=reaper ä" {
		t.Errorf("command line of the boot manager: %+v, %v", in, err)
	}
	// A display that firmware has turned on, and a display that makes no sense.
	b = goodEFI(t)
	for i, v := range []uint32{0x51000000, 0, 0x300000, 0, 1024, 768, 1, 1024} {
		le.PutUint32(b[efiScreen+4*i:], v)
	}
	screen := Screen{Range{0x51000000, 0x300000}, 1024, 768, 4096, "x8r8g8b8"}
	if in, err = FromArm64(memory{efiAt: b}.read, efiAt); err != nil || in.Screen != screen || memoryHas(in, 0x51000000) {
		t.Errorf("screen %+v, %v, memory %v", in.Screen, err, in.Memory)
	}
	b[0x20000] = 0 // the tree
	if in, err = FromArm64(memory{efiAt: b}.read, efiAt); err == nil || in == nil || in.Screen != screen {
		t.Errorf("no tree: %+v, %v", in, err)
	}
	b = goodEFI(t)
	le.PutUint64(b[efiScreen:], 12)
	le.PutUint64(b[efiScreen+8:], 12)
	if in, err = FromArm64(memory{efiAt: b}.read, efiAt); err != nil || in.Screen.Size != 0 || len(in.Warnings) != 1 {
		t.Errorf("bad screen: %+v, %v", in, err)
	}
	// Without the magic number it is a device tree.
	if in, err = FromArm64(memory{treeAt: boardTree(t)}.read, treeAt); err != nil || in.Model != "Some Board" {
		t.Errorf("device tree: %v, %v", in, err)
	}
}

func memoryHas(in *Info, pa uint64) bool {
	return slices.ContainsFunc(in.Memory, func(r Range) bool { return r.overlaps(Range{pa, 1}) })
}

func TestBadEFI(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func([]byte)
		want   string
	}{
		{"tree", func(b []byte) { b[0x20000] = 0 }, "EFI, device tree at 0x13f820000: magic"},
		{"tree nowhere", func(b []byte) { le.PutUint64(b[efiTree:], 1) }, "not readable"},
		{"map", func(b []byte) { le.PutUint64(b[efiMap:], 1) }, "memory map at 0x1 is not readable"},
		{"map size", func(b []byte) { le.PutUint64(b[efiMap+8:], 1<<40) }, "memory map of 1099511627776 bytes"},
		{"step", func(b []byte) { le.PutUint64(b[efiMap+16:], 8) }, "descriptors of 8"},
		{"pages", func(b []byte) { le.PutUint64(b[0x4000+24:], 1<<60) }, "memory map entry 0"},
		{"no memory", func(b []byte) { le.PutUint64(b[efiMap+8:], 0) }, "no RAM"},
		{"command", func(b []byte) { le.PutUint64(b[efiCommand+8:], 1<<20) }, "command line of 1048576 bytes"},
		{"initrd", func(b []byte) { le.PutUint64(b[efiInitrd:], ^uint64(0)) }, "EFI: initramfs"},
	} {
		b := goodEFI(t)
		c.change(b)
		if _, err := FromArm64(memory{efiAt: b}.read, efiAt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// FuzzEFI changes the block's head and the memory map.
func FuzzEFI(f *testing.F) {
	b := goodEFI(f)
	f.Add(b[:efiFields], b[0x4000:0x4200], "options")
	f.Fuzz(func(t *testing.T, head, m []byte, options string) {
		b := goodEFI(t)
		copy(b[len(efiMagic):efiFields], head)
		copy(b[0x4000:0x8000], m)
		copy(b[0x1000:0x2000], options)
		in, err := FromArm64(memory{efiAt: b}.read, efiAt)
		if err == nil {
			checkInfo(t, in)
		}
		if in != nil && bytes.Contains([]byte(in.CommandLine), []byte{0}) {
			t.Errorf("command line %q", in.CommandLine)
		}
	})
}
