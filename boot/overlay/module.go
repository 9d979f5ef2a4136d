package overlay

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// TamaGo's drivers take 32-bit physical addresses for pointers. In a kernel in the upper
// half, physical memory and device windows are in the direct map instead. Two packages of
// the module make pointers from addresses: internal/reg and dma. With a copy of the module
// in which these add the base of the direct map, the kernel can use all drivers. Host
// builds use the unchanged module.

// modulePath is TamaGo's module.
const modulePath = "github.com/usbarmory/tamago"

// Module is a module in the module cache.
type Module struct {
	Path, Version string
	Dir           string // with its files
}

// directBase is arch.DirectBase in the form of the edits.
const directBase = "0xffff800000000000"

// moduleEdit is one change to a file of the module.
type moduleEdit struct {
	file   string
	arch   string // GOARCH the edit is for; empty: all
	old    string
	new    string
	times  int // how often old must occur; all occurrences are replaced
	reason string
}

func moduleEdits() []moduleEdit {
	const (
		pointer   = "an address becomes a pointer to its place in the direct map"
		deref     = "unsafe.Pointer(uintptr(addr))"
		direct    = "unsafe.Pointer(uintptr(addr) + " + directBase + ")"
		addDX     = "\tMOVQ\t$" + directBase + ", DX\n"
		addR4     = "\tMOVD\t$" + directBase + ", R4\n"
		regAMD64  = "internal/reg/reg_amd64.s"
		regARM64  = "internal/reg/reg_arm64.s"
		moveAMD64 = "\tMOVL\tdst+0(FP), AX\n\tMOVL\tsrc+4(FP), BX\n"
		moveARM64 = "\tMOVWU\tdst+0(FP), R0\n\tMOVWU\tsrc+4(FP), R1\n"
		w32AMD64  = "\tMOVL\taddr+0(FP), AX\n"
		w32ARM64  = "\tMOVWU\taddr+0(FP), R0\n"
		w64AMD64  = "\tMOVQ\taddr+0(FP), AX\n"
		w64ARM64  = "\tMOVD\taddr+0(FP), R0\n"
	)
	return []moduleEdit{
		{"internal/reg/reg16.go", "", deref, direct, 10, pointer},
		{"internal/reg/reg32.go", "", deref, direct, 9, pointer},
		{"internal/reg/reg64.go", "", deref, direct, 5, pointer},
		{regAMD64, "", moveAMD64, moveAMD64 + addDX + "\tADDQ\tDX, AX\n\tADDQ\tDX, BX\n", 1, pointer},
		{regAMD64, "", w32AMD64, w32AMD64 + addDX + "\tADDQ\tDX, AX\n", 1, pointer},
		{regAMD64, "", w64AMD64, w64AMD64 + addDX + "\tADDQ\tDX, AX\n", 1, pointer},
		{regARM64, "", moveARM64, moveARM64 + addR4 + "\tADD\tR4, R0\n\tADD\tR4, R1\n", 1, pointer},
		{regARM64, "", w32ARM64, w32ARM64 + addR4 + "\tADD\tR4, R0\n", 1, pointer},
		{regARM64, "", w64ARM64, w64ARM64 + addR4 + "\tADD\tR4, R0\n", 1, pointer},
		{"dma/block.go", "", "unsafe.Add(ptr, b.addr", "unsafe.Add(ptr, " + directBase + "+b.addr", 3, pointer},
		{"dma/region.go", "", "uint(uintptr(unsafe.Pointer(&buf[0])))", "uint(uintptr(unsafe.Pointer(&buf[0]))) - " + directBase, 1,
			"a pointer into the direct map becomes an address again"},
		{"kvm/virtio/virtio.go", "", "\tfeatures &= deviceReservedFeatureMask\n\n\t// apply device type features from the driver\n\tfeatures &= driverFeatures\n",
			"\tfeatures &= driverFeatures\n", 1,
			"a fault of 1.26.5: a driver's features of its own device type were never negotiated; VirtIO 1.2, 2.2 (boot/TAMAGO.md)"},
		{"kvm/virtio/queue.go", "arm64", "type Available struct {\n", "const pageSize = 4096\n\ntype Available struct {\n", 1,
			"it is in legacy.go, which this architecture does not have"},
		{"soc/nxp/usdhc/cmd.go", "arm64", "\txfr := reg.Read(hw.cmd_xfr)\n", "\txfr := reg.Read(hw.cmd_xfr) &^ 0xffff\n", 1,
			"reserved bits, which QEMU's model takes for those of MIX_CTRL: a write after a read would be a read (boot/TAMAGO.md)"},
		{"soc/nxp/enet/dma.go", "arm64", "\tif bd.Valid() {\n\t\tn, err = bd.Read(buf)\n\t}\n",
			"\tif bd.Valid() {\n\t\tn, err = bd.Read(buf)\n\t} else {\n\t\terr = errors.New(\"bad frame\")\n\t}\n", 1,
			"a fault of 1.26.5: a frame that is not valid looks like an empty ring, and frames behind it are left there (boot/TAMAGO.md)"},
	}
}

// moduleDrops are the files that are left out of an architecture's copy.
var moduleDrops = []struct{ file, arch, reason string }{
	{"kvm/virtio/pci.go", "arm64", "PCI by the I/O ports of a PC; the rest of the package serves any machine"},
	{"kvm/virtio/legacy.go", "arm64", "see above"},
}

// ModuleError means that the module is not as the edits expect.
type ModuleError struct {
	Module
	File   string // below the module's folder
	Anchor string // the text that was searched; empty: the file itself
	Found  int    // how often it was found
	Want   int
}

func (e *ModuleError) Error() string {
	if e.Anchor == "" {
		return fmt.Sprintf("overlay: %s %s has no file %s; boot/overlay/module.go needs a look for this version", e.Path, e.Version, e.File)
	}
	return fmt.Sprintf("overlay: in %s of %s %s the following text occurs %d times instead of %d; boot/overlay/module.go needs a look for this version:\n%s",
		e.File, e.Path, e.Version, e.Found, e.Want, e.Anchor)
}

// FindModule returns TamaGo's module as the go.mod in the present folder names it. The go
// command fetches it if necessary.
func FindModule() (Module, error) {
	cmd := exec.Command("go", "mod", "download", "-json", modulePath)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Module{}, fmt.Errorf("overlay: go mod download %s: %w", modulePath, err)
	}
	var m Module
	if err := json.Unmarshal(out, &m); err != nil || m.Dir == "" {
		return Module{}, fmt.Errorf("overlay: go mod download %s printed %q", modulePath, out)
	}
	return m, nil
}

// GenerateModule writes the copy of m for arch to the folder to. Beside it, it writes
// go.mod and go.sum for the go command's flag -modfile: those of the folder root, with a
// replacement of the module.
func GenerateModule(m Module, arch, root, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := copySources(m.Dir, to); err != nil {
		return err
	}
	for _, d := range moduleDrops {
		if d.arch != arch {
			continue
		}
		if err := os.Remove(filepath.Join(to, filepath.FromSlash(d.file))); os.IsNotExist(err) {
			return &ModuleError{Module: m, File: d.file}
		} else if err != nil {
			return err
		}
	}
	for _, e := range moduleEdits() {
		if e.arch != "" && e.arch != arch {
			continue
		}
		if err := e.apply(m, to); err != nil {
			return err
		}
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	// The go command interprets a relative path as one below root, and writes it into the
	// kernel's build information. An absolute path would differ from machine to machine.
	abs, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	absTo, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(abs, absTo)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\nreplace %s %s => ./%s\n", mod, m.Path, m.Version, filepath.ToSlash(rel))
	if err := os.WriteFile(filepath.Join(to, "..", "go.mod"), []byte(text), 0o666); err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "..", "go.sum"), sum, 0o666)
}

// apply changes the file in the folder to.
func (e moduleEdit) apply(m Module, to string) error {
	name := filepath.Join(to, filepath.FromSlash(e.file))
	b, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return &ModuleError{Module: m, File: e.file}
	} else if err != nil {
		return err
	}
	if n := strings.Count(string(b), e.old); n != e.times {
		return &ModuleError{Module: m, File: e.file, Anchor: e.old, Found: n, Want: e.times}
	}
	return os.WriteFile(name, []byte(strings.ReplaceAll(string(b), e.old, e.new)), 0o666)
}

// copySources copies the files of a module that the go command needs, without tests.
func copySources(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o777)
		}
		switch filepath.Ext(name) {
		case ".go", ".s", ".h", ".mod":
		default:
			return nil
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o666)
	})
}
