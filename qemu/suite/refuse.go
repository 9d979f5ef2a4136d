package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/u-root/u-root/pkg/dt"

	"grim/boot/image"
	"grim/boot/screen"
	"grim/qemu"
)

// Addresses in the memory of QEMU's virt machine: of a kernel that is refused, of its
// device tree, and of the code that jumps to the kernel.
const (
	refuseImage = 0x40200000
	refuseTree  = 0x48000000
	refuseShim  = 0x4f000000
	refuseFB    = 0x4a000000
	refuseRAM   = "256M"
)

// refusal is a start that must end with a message on the console, and with the machine off
// or stopped. QEMU's own loader never starts a kernel in these ways. So the image is put
// into memory, and entered by four instructions.
type refusal struct {
	name    string
	machine string // -machine
	args    []string
	off     uint64 // offset of the image from refuseImage
	noTree  bool
	treeAt  uint64         // address of the tree; 0: refuseTree
	mem     string         // "": refuseRAM
	cpus    int            // 0: one
	fault   string         // a function of the start code, which is made to begin with an undefined instruction
	hvc     string         // a function that is made to begin with an HVC: the CPU must be parked at EL2
	noClock bool           // CNTFRQ_EL0 is 0, as firmware has not set it
	early   string         // port for the image's early output
	serror  bool           // the kernel is entered at EL1 with an SError pending
	edit    func(*dt.Node) // changes the machine's own tree
	damage  func([]byte)   // changes the bytes of the tree afterwards

	want   string // text on the serial port, or on the screen
	not    string // text that must not be there; "": any text may
	screen *screen.Config
	uefi   bool // start by UEFI; with a ramfb, the text is on its screen
	ends   bool // QEMU ends, with this status
	status int
}

// refusals have each been seen to fail: with TPIDR_EL1 and the first vectors left unset (an
// exception then prints nothing), with only one block of a tree mapped, with SErrors
// masked, without the entry code's checks of the address, without earlyRefuse's search for
// a console, without earlyEnd's call of PSCI, and without taking over UEFI's framebuffer.
var refusals = []refusal{
	{name: "entered at EL3", machine: "virt,secure=on", want: "grim: entered at EL3: "},
	{name: "image off a 2 MB boundary", machine: "virt", off: 0x1000,
		want: "grim: the image is not on a 2 MB boundary ", ends: true},
	{name: "image off a page, EL2", machine: "virt,virtualization=on", off: 0x7f4,
		want: "grim: the image is not on a 2 MB boundary ", ends: true},
	{name: "image just below a boundary", machine: "virt", off: 0x1ffffc,
		want: "grim: the image is not on a 2 MB boundary ", ends: true},
	{name: "image misplaced, no tree", machine: "virt", off: 0x1000, noTree: true, args: []string{"-semihosting"},
		want: "grim: the image is not on a 2 MB boundary ", ends: true, status: 3},
	{name: "no tree", machine: "virt", noTree: true, args: []string{"-semihosting"},
		want: "grim: boot: the boot loader gave no device tree", ends: true, status: 1},
	{name: "damaged tree", machine: "virt", damage: func(b []byte) {
		be := binary.BigEndian // the structure block's last word, the end token
		be.PutUint32(b[be.Uint32(b[8:])+be.Uint32(b[36:])-4:], 77)
	}, want: "grim: boot: device tree at 0x48000000: token 0x4d", ends: true},
	{name: "tree without memory", machine: "virt", edit: func(r *dt.Node) {
		node(r, "memory@40000000").UpdateProperty("device_type", []byte("x\x00"))
	}, want: "grim: boot: device tree at 0x48000000: no RAM in the memory map", ends: true},
	{name: "image over reserved memory", machine: "virt", edit: func(r *dt.Node) {
		r.Children = append(r.Children, tree("reserved-memory", dt.PropertyU32("#address-cells", 2), dt.PropertyU32("#size-cells", 2), dt.Property{Name: "ranges"},
			tree("a@40300000", reg(0x40300000, 0x2000))))
	}, want: "was loaded over a reserved range", ends: true},
	{name: "UEFI without a tree", machine: "virt", uefi: true, want: "grim: the firmware gives no device tree"},
	// The addresses are those of the functions: physical, and virtual.
	{name: "exception with the MMU off", machine: "virt", fault: "rt0invalidate",
		want: "grim: exception in the entry code: e 0000000002000000 f ", ends: true},
	{name: "exception with the MMU just on", machine: "virt", fault: "rt0high",
		want: " p ffffffff8", ends: true},
	{name: "exception with the early vectors", machine: "virt", fault: "rt0tree",
		want: "grim: exception before the kernel started, esr 0000000002000000", ends: true},
	{name: "exception on another CPU, MMU off", machine: "virt", cpus: 2, edit: startTwo, fault: "grim/arch/arm64.secondaryMap",
		want: "grim: warning: CPU 0x1 does not start: exception, esr 0x2000000 far ", ends: true},
	{name: "exception on another CPU, MMU just on", machine: "virt", cpus: 2, edit: startTwo, fault: "grim/arch/arm64.secondaryHigh",
		want: "grim: warning: CPU 0x1 does not start: exception, esr 0x2000000 far ", ends: true},
	// The kernel's vectors are in, and its way to end the machine is not: the runtime's is.
	{name: "panic before the board is open", machine: "virt", cpus: 2, edit: startTwo, fault: "grim/arch/arm64.readStartRegs.abi0",
		want: "kernel exception: undefined instruction", not: "fault while handling a fault", ends: true},
	// Early output, which needs no tree: the letters of boot/BOARDS.md, and then what is wrong.
	{name: "early output, EL1", machine: "virt", early: "pl011@0x9000000", edit: strangeConsole,
		want: "1tmrk\r\ngrim: warning: the console that stdout-path names", args: []string{"-semihosting"}, ends: true, status: 1},
	{name: "early output, EL2", machine: "virt,virtualization=on", early: "pl011@0x9000000",
		want: "2dtmrk\r\nGrim, ", ends: true},
	{name: "early output, no tree", machine: "virt", early: "pl011@0x9000000", noTree: true,
		want: "1tmrk\r\ngrim: boot: the boot loader gave no device tree", args: []string{"-semihosting"}, ends: true, status: 1},
	{name: "early output, misplaced", machine: "virt", early: "pl011@0x9000000", noTree: true, off: 0x1000,
		want: "grim: the image is not on a 2 MB boundary"},
	{name: "early output, exception, no tree", machine: "virt", early: "pl011@0x9000000", noTree: true, fault: "rt0high",
		want: "1tgrim: exception in the entry code: e 0000000002000000 f ", args: []string{"-semihosting"}, ends: true, status: 3},
	{name: "early output, debugger", machine: "virt", early: "semihosting", args: []string{"-semihosting"},
		want: "1tmrk\n", ends: true, status: 1},
	// An exception to EL2 finds the kernel's vectors there, and stops the CPU. Nothing is said.
	// Broken by: rt0EL2 without the write of VBAR_EL2.
	{name: "HVC after EL2 is left", machine: "virt,virtualization=on", hvc: "rt0high"},
	// Broken by: a timer that does not look at the tree's frequency.
	{name: "no frequency of the counter", machine: "virt,virtualization=on", noClock: true,
		want: "CNTFRQ_EL0 is 0, for firmware has not set the timer's frequency", ends: true},
	{name: "the counter's frequency in the tree", machine: "virt,virtualization=on", noClock: true, edit: func(r *dt.Node) {
		timer := node(r, "timer")
		timer.Properties = append(timer.Properties, dt.PropertyU32("clock-frequency", 62_500_000))
	}, want: "the boot loader handed over no initramfs", not: "CNTFRQ_EL0", ends: true},
	{name: "SError pending", machine: "virt,virtualization=on", serror: true,
		want: "grim: warning: an SError was pending when the kernel took over", ends: true},
	{name: "tree over a 2 MB boundary", machine: "virt", treeAt: 0x481ffff0,
		want: "grim: boot: the boot loader handed over no initramfs", ends: true},
	{name: "tree over a 1 GB boundary", machine: "virt", mem: "2G", treeAt: 0x7ffffff8,
		want: "grim: boot: the boot loader handed over no initramfs", ends: true},
	{name: "image far away, no initramfs", machine: "virt", off: 0xa000000,
		want: "grim: boot: the boot loader handed over no initramfs", ends: true}, // the address is good
	{name: "no console", machine: "virt", edit: strangeConsole, args: []string{"-semihosting"},
		want: "no serial port that there is a driver for", ends: true, status: 1},
	{name: "no console, 32-bit screen", machine: "virt",
		screen: &screen.Config{Width: 1000, Height: 300, Stride: 4096, Format: "a8r8g8b8"}, want: "no serial port that there is a driver for"},
	{name: "no console, 16-bit screen", machine: "virt",
		screen: &screen.Config{Width: 1300, Height: 700, Stride: 2600, Format: "r5g6b5"}, want: "no serial port that there is a driver for"},
	{name: "no console, UEFI's screen", machine: "virt,acpi=off", uefi: true, args: []string{"-device", "ramfb"},
		edit: strangeConsole, want: "no serial port that there is a driver for"},
}

// startTwo makes the kernel start two CPUs.
func startTwo(r *dt.Node) {
	c := node(r, "chosen")
	c.Properties = append(c.Properties, dt.PropertyString("bootargs", "cpus=2"))
}

// strangeConsole makes the machine's serial port one of an unknown kind.
func strangeConsole(r *dt.Node) {
	node(r, "pl011@9000000").UpdateProperty("compatible", []byte("acme,uart\x00"))
}

// node returns a child of a node.
func node(r *dt.Node, name string) *dt.Node {
	for _, c := range r.Children {
		if c.Name == name {
			return c
		}
	}
	panic("QEMU's tree has no node " + name)
}

// reg returns a property with an address and a size of two cells each.
func reg(base, size uint64) dt.Property {
	return dt.Property{Name: "reg", Value: binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, base), size)}
}

// tree makes a node of properties and children.
func tree(name string, parts ...any) *dt.Node {
	n := dt.NewNode(name)
	for _, p := range parts {
		switch p := p.(type) {
		case dt.Property:
			n.Properties = append(n.Properties, p)
		case *dt.Node:
			n.Children = append(n.Children, p)
		}
	}
	return n
}

// withScreen adds a framebuffer in RAM, where it can be read.
func (r *refusal) withScreen(root *dt.Node) {
	strangeConsole(root)
	s, chosen := r.screen, node(root, "chosen")
	fb := tree("framebuffer@4a000000", dt.PropertyString("compatible", "simple-framebuffer"), dt.PropertyString("format", s.Format),
		reg(refuseFB, uint64(s.Stride*s.Height)),
		dt.PropertyU32("width", uint32(s.Width)), dt.PropertyU32("height", uint32(s.Height)), dt.PropertyU32("stride", uint32(s.Stride)))
	chosen.Properties = append(chosen.Properties, dt.PropertyU32("#address-cells", 2), dt.PropertyU32("#size-cells", 2), dt.Property{Name: "ranges"})
	chosen.Children = append(chosen.Children, fb)
}

// refuseAll checks each refusal. Each boot is one test.
func refuseAll(ctx context.Context, pattern string) (t tally) {
	for i := range refusals {
		r := &refusals[i]
		if title := "refusal: " + r.name; strings.Contains(title, pattern) {
			start := time.Now()
			if err := r.check(ctx); err != nil {
				t.fail("%s: FAILED: %v", title, err)
				continue
			}
			t.passed++
			fmt.Printf("%s: said, %s\n", title, since(start))
		}
	}
	return t
}

// refuseLimit is the time limit of one boot. UEFI takes most of it.
const refuseLimit = 60 * time.Second

func (r *refusal) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refuseLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "grim")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args, err := r.command(ctx, dir)
	if err != nil {
		return err
	}
	monitor := filepath.Join(dir, "monitor")
	cmd := exec.CommandContext(ctx, qemu.Binary("arm64"), append(args, "-monitor", "unix:"+monitor+",server,nowait")...)
	var out lockedBuffer
	want := r.want
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	defer func() { cancel(); <-ended }()
	look := func() (string, error) { return out.String(), nil }
	if r.screen != nil || slices.Contains(r.args, "ramfb") {
		look = func() (string, error) { return r.look(monitor, dir) }
	}
	if r.hvc != "" {
		at, err := symbol("runtime.parkVectors")
		if err != nil {
			return err
		}
		// The vector of synchronous exceptions from EL1 has 16 bytes.
		want = fmt.Sprintf(" PC=%015x", (refuseImage+r.off+at+0x400)>>4)
		look = func() (string, error) {
			text, err := ask(monitor, "info registers")
			return text + out.String(), err
		}
	}
	if r.ends {
		<-ended
		text := out.String()
		if ctx.Err() != nil || !strings.Contains(text, r.want) || r.not != "" && strings.Contains(text, r.not) || cmd.ProcessState.ExitCode() != r.status {
			return fmt.Errorf("status %d after %q, want %d and %q", cmd.ProcessState.ExitCode(), text, r.status, r.want)
		}
		return nil
	}
	var text string
	for {
		select {
		case <-ended:
			if ctx.Err() != nil {
				return errors.Join(err, fmt.Errorf("%q and serial output %q, want %q", text, out.String(), want))
			}
			return fmt.Errorf("QEMU ended after %q, want it to stay, with %q", out.String(), want)
		case <-time.After(300 * time.Millisecond):
		}
		var t string
		if t, err = look(); err != nil {
			continue
		}
		if t == text && strings.Contains(unfold(t), want) {
			return nil // there was no more output since the last look
		}
		text = t
	}
}

// unfold joins the parts of long lines of the screen.
func unfold(s string) string { return strings.ReplaceAll(s, "\n", "") }

// command prepares the files, and returns QEMU's arguments.
func (r *refusal) command(ctx context.Context, dir string) ([]string, error) {
	args := append([]string{"-machine", r.machine, "-cpu", "cortex-a53", "-m", r.memory(), "-smp", r.smp(), "-display", "none",
		"-nic", "none", "-no-reboot", "-serial", "stdio"}, r.args...)
	file := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o666); err != nil {
			panic(err)
		}
		return name
	}
	load := func(name string, at uint64) {
		args = append(args, "-device", fmt.Sprintf("loader,file=%s,addr=%#x,force-raw=on", name, at))
	}
	tree, err := r.tree(ctx, dir)
	if err != nil {
		return nil, err
	}
	if r.uefi {
		c := &qemu.Config{Kernel: "build/arm64/grim", Initrd: "build/arm64/initramfs.cpio"}
		if c.Machine, err = qemu.Lookup("arm64", "virt-uefi"); err == nil {
			err = errors.Join(c.Machine.Missing(), c.WriteCard(filepath.Join(dir, "card")))
		}
		if err != nil {
			return nil, err
		}
		if r.edit != nil {
			args = append(args, "-dtb", file("tree", tree))
		}
		return append(args, c.Disk()...), nil
	}
	b, err := os.ReadFile("build/arm64/grim")
	if err == nil && r.early != "" {
		b, err = earlyImage(r.early)
	}
	if err == nil && r.fault != "" {
		err = replace(b, r.fault, 0) // undefined
	}
	if err == nil && r.hvc != "" {
		err = replace(b, r.hvc, 0xd4000002) // hvc #0
	}
	if err != nil {
		return nil, err
	}
	load(file("image", b), refuseImage+r.off)
	at := uint64(0)
	if !r.noTree {
		at = max(r.treeAt, refuseTree)
		load(file("tree", tree), at)
	}
	load(file("shim", r.shim(at)), refuseShim)
	return append(args, "-device", fmt.Sprintf("loader,addr=%#x,cpu-num=0", refuseShim)), nil
}

func (r *refusal) memory() string { return cmp.Or(r.mem, refuseRAM) }

func (r *refusal) smp() string { return strconv.Itoa(max(r.cpus, 1)) }

// shim returns the code that jumps to the image, with the tree's address in X0.
func (r *refusal) shim(tree uint64) []byte {
	code := []uint32{
		0x58000080, // ldr x0, tree
		0x580000a4, // ldr x4, image
		0xd61f0080, // br x4
		0xd503201f, // nop
	}
	if r.noClock {
		code = []uint32{
			0x580000c0, // ldr x0, tree
			0x580000e4, // ldr x4, image
			0xd51be01f, // msr cntfrq_el0, xzr
			0xd61f0080, // br x4
			0xd503201f, // nop
			0xd503201f, // nop
		}
	}
	if r.serror {
		// A hypervisor makes an SError pending at EL1 with HCR_EL2.AMO and VSE.
		code = []uint32{
			0x58000140, // ldr x0, tree
			0x58000164, // ldr x4, image
			0xd2802403, // mov x3, #0x120: AMO, VSE
			0xf2b00003, // movk x3, #0x8000, lsl #16: RW, EL1 is AArch64
			0xd51c1103, // msr hcr_el2, x3
			0xd28078a1, // mov x1, #0x3c5: EL1h, all masked
			0xd51c4001, // msr spsr_el2, x1
			0xd51c4024, // msr elr_el2, x4
			0xd5033fdf, // isb
			0xd69f03e0, // eret
		}
	}
	var b []byte
	for _, w := range code {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	b = binary.LittleEndian.AppendUint64(b, tree)
	return binary.LittleEndian.AppendUint64(b, refuseImage+r.off)
}

// earlyImage returns the image with a port for early output.
func earlyImage(port string) ([]byte, error) {
	k, err := os.ReadFile("build/arm64/grim.elf")
	if err != nil {
		return nil, err
	}
	if err := image.Early(k, port); err != nil {
		return nil, err
	}
	return image.ARM64(k)
}

// replace puts another instruction into the image where a function begins.
func replace(b []byte, function string, instruction uint32) error {
	at, err := symbol(function)
	if err == nil {
		binary.LittleEndian.PutUint32(b[at:], instruction)
	}
	return err
}

// symbol returns the place of a function in the image.
func symbol(function string) (uint64, error) {
	k, err := os.ReadFile("build/arm64/grim.elf")
	if err != nil {
		return 0, err
	}
	f, err := image.ARM64ELF(k)
	if err != nil {
		return 0, err
	}
	syms, err := f.Symbols()
	if err != nil {
		return 0, err
	}
	base := f.Section(".text").Addr - 4096 // the page of the header
	for _, s := range syms {
		if s.Name == function {
			return s.Value - base, nil
		}
	}
	return 0, fmt.Errorf("no function %s in the kernel", function)
}

// tree returns the machine's own device tree, with the changes.
func (r *refusal) tree(ctx context.Context, dir string) ([]byte, error) {
	name := filepath.Join(dir, "dumped")
	machine, _, _ := strings.Cut(r.machine, ",acpi")
	out, err := exec.CommandContext(ctx, qemu.Binary("arm64"), "-machine", machine+",dumpdtb="+name, "-cpu", "cortex-a53",
		"-m", r.memory(), "-smp", r.smp(), "-display", "none", "-nic", "none").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("dumpdtb: %w: %s", err, out)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	b, err = editTree(b, func(root *dt.Node) {
		if r.edit != nil {
			r.edit(root)
		}
		if r.screen != nil {
			r.withScreen(root)
		}
	})
	if err != nil {
		return nil, err
	}
	if r.damage != nil {
		r.damage(b)
	}
	return b, nil
}

// look reads the text from the screen: from the framebuffer in memory, or from QEMU's
// display.
func (r *refusal) look(monitor, dir string) (string, error) {
	name := filepath.Join(dir, "screen")
	if s := r.screen; s != nil {
		size := s.Stride * s.Height
		if err := order(monitor, fmt.Sprintf("pmemsave %#x %d %q", refuseFB, size, name)); err != nil {
			return "", err
		}
		b, err := os.ReadFile(name)
		if err != nil || len(b) != size {
			return "", fmt.Errorf("framebuffer of %d bytes, want %d: %w", len(b), size, err)
		}
		bytes := s.Stride / s.Width // per pixel
		return screen.Read(s.Width, s.Height, func(x, y int) bool { return b[y*s.Stride+x*bytes] != 0 }), nil
	}
	if err := order(monitor, fmt.Sprintf("screendump %q", name)); err != nil {
		return "", err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	var width, height, most int
	if _, err := fmt.Sscanf(string(b[:min(len(b), 32)]), "P6\n%d %d\n%d\n", &width, &height, &most); err != nil || len(b) < 3*width*height {
		return "", fmt.Errorf("screendump of %d bytes: %w", len(b), err)
	}
	b = b[len(b)-3*width*height:]
	return screen.Read(width, height, func(x, y int) bool { return b[3*(y*width+x)] != 0 }), nil
}

// order gives QEMU's monitor a command.
func order(monitor, command string) error {
	_, err := ask(monitor, command)
	return err
}

// ask gives QEMU's monitor a command, waits for the next prompt, which means that the
// command is done, and returns the monitor's output.
func ask(monitor, command string) (string, error) {
	c, err := net.Dial("unix", monitor)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, command+"\n"); err != nil {
		return "", err
	}
	var seen []byte
	for b := make([]byte, 4096); bytes.Count(seen, []byte("(qemu) ")) < 2; {
		n, err := c.Read(b)
		if err != nil {
			return "", fmt.Errorf("monitor, %s: %w: %q", command, err, seen)
		}
		seen = append(seen, b[:n]...)
	}
	return string(seen), nil
}

// lockedBuffer can be read while QEMU writes it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
