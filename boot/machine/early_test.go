package machine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/u-root/u-root/pkg/dt"

	"grim/boot/overlay/early"
)

// earlyFind returns what the entry code finds in a tree.
func earlyFind(b []byte) (c early.Console) {
	b = bytes.Clone(b) // copied to a word boundary
	early.FindIn(unsafe.Pointer(&b[0]), &c)
	return c
}

var earlyKinds = map[string]uint32{"": early.None, SBSA: early.SBSA, PL011: early.PL011, UART16: early.UART16, MiniU: early.MiniU, Cadence: early.Cadence, IMX: early.IMX}

// sameConsole checks that the entry code and the kernel find the same.
func sameConsole(t *testing.T, name string, b []byte) {
	t.Helper()
	in, _ := FromDeviceTree(memory{treeAt: b}.read, treeAt)
	if in == nil {
		t.Fatalf("%s: the tree cannot be read", name)
	}
	c := earlyFind(b)
	psci := map[string]uint32{"": early.NoPSCI, "hvc": early.HVC, "smc": early.SMC}[in.PSCI]
	if in.Console.Kind == "" {
		psci = c.PSCI // the kernel does not look further
	}
	if c.GPIO != in.Pins.GPIO.Base || c.GPIO != 0 && (c.PL011 != in.Pins.PL011.Base || c.Mini != in.Pins.Mini.Base) {
		t.Errorf("%s: early %+v, the kernel has pins %+v", name, c, in.Pins)
	}
	kind := earlyKinds[in.Console.Kind]
	if kind == early.UART16 && in.Console.RegWidth == 1 {
		kind = early.UART8
	}
	if c.Kind != kind || c.Base != in.Console.Base || c.Shift != uint32(in.Console.RegShift) || c.PSCI != psci {
		t.Errorf("%s: early %+v, the kernel has %+v, PSCI %q", name, c, in.Console, in.PSCI)
	}
}

// TestEarlyConsole: the entry code's reader and this package find the same console, in all
// the trees that there are, and for every string that a driver is bound by. Seen to fail
// without the buses' ranges, and with an alias not followed.
func TestEarlyConsole(t *testing.T) {
	sameConsole(t, "board", boardTree(t))
	for _, f := range []string{"virt-gicv2.dtb", "virt-gicv3.dtb"} {
		sameConsole(t, f, qemuTree(t, f))
	}
	files, _ := filepath.Glob(boardTrees + "/*.dtb")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if b = bytes.Clone(b); earlyFind(b).Kind == early.None {
			t.Errorf("%s: no console", f)
		}
		sameConsole(t, f, b)
	}
	change := func(name string, f func(*dt.Node)) { sameConsole(t, name, boardTree(t, f)) }
	for _, b := range consoles {
		change(b.compatible, func(r *dt.Node) {
			u := r.Children[9].Children[2]
			u.UpdateProperty("compatible", []byte("acme,best\x00"+b.compatible+"\x00"))
			u.Properties = append(u.Properties, dt.PropertyU32("reg-io-width", 4), dt.PropertyU32("reg-shift", 2))
		})
	}
	for _, x := range [][2]uint32{{1, 0}, {1, 2}, {4, 0}, {4, 2}, {2, 1}, {1, 4}} {
		change(fmt.Sprint("16550, access and shift ", x), func(r *dt.Node) {
			u := r.Children[9].Children[2]
			u.UpdateProperty("compatible", []byte("ns16550a\x00"))
			u.Properties = append(u.Properties, dt.PropertyU32("reg-io-width", x[0]), dt.PropertyU32("reg-shift", x[1]))
		})
	}
	path := func(s string) func(*dt.Node) {
		return func(r *dt.Node) { r.Children[1].UpdateProperty("stdout-path", []byte(s+"\x00")) }
	}
	change("a path", path("/soc/serial@7e215040:115200"))
	change("a path without unit address", path("/soc/serial"))
	change("a path to nowhere", path("/soc/serial@1"))
	change("an alias that is not there", path("serial7"))
	change("no path", path(""))
	change("a disabled console", func(r *dt.Node) {
		u := r.Children[9].Children[2]
		u.Properties = append(u.Properties, strs("status", "disabled"))
		r.Children[9].Children[1].UpdateProperty("status", []byte("ok\x00"))
	})
	change("no console", func(r *dt.Node) { r.Children[9].Children = r.Children[9].Children[:1] })
}

// TestEarlyDamage: a tree that the kernel refuses still gives its console, if the damage
// comes after the console. The console of another tree is never taken.
func TestEarlyDamage(t *testing.T) {
	good := earlyFind(boardTree(t))
	b := boardTree(t)
	at := bytes.Index(b, []byte("brcm,bcm2835-aux-uart"))
	end := int(be.Uint32(b[8:]) + be.Uint32(b[36:]))
	be.PutUint32(b[end-4:], 77) // instead of the end token
	if _, err := FromDeviceTree(memory{treeAt: b}.read, treeAt); err == nil || !strings.Contains(err.Error(), "token 0x4d") {
		t.Fatalf("error %v", err)
	}
	if c := earlyFind(b); c != good {
		t.Errorf("damage at the end: %+v, want %+v", c, good)
	}
	if at < 0 || at > end {
		t.Fatal("where is the console?")
	}
	b = boardTree(t)
	b[at] ^= 1
	if c := earlyFind(b); c.Kind != early.None {
		t.Errorf("damage at the console: %+v", c)
	}
}
