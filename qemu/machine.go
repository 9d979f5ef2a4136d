// Package qemu boots Grim in QEMU: the machines, the command line, the time
// limit, and the verdict read from the serial console and the exit status.
package qemu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Machine is one QEMU machine that the kernel boots on.
type Machine struct {
	Name string
	Arch string // GOARCH
	// Args are QEMU's arguments for the board, its CPU and its way to end with
	// a status.
	Args []string
	// Board is nil for machines that QEMU starts the kernel on by itself.
	Board *Board
}

// Machines lists every supported machine; the first of an architecture is its
// default.
var Machines = []Machine{
	{Name: "q35", Arch: "amd64", Args: []string{"-machine", "q35", "-cpu", "max", "-device", debugExit}},
	{Name: "microvm", Arch: "amd64", Args: []string{"-machine", "microvm,ioapic2=off", "-cpu", "max", "-device", debugExit}},
	{Name: "virt", Arch: "arm64", Args: []string{"-machine", "virt,gic-version=2", "-cpu", "cortex-a53", "-semihosting"}},
	{Name: "virt-gicv3", Arch: "arm64", Args: []string{"-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on", "-semihosting"}},
	{Name: "virt-el2", Arch: "arm64", Args: []string{"-machine", "virt,gic-version=3,virtualization=on", "-cpu", "cortex-a72", "-semihosting"}},
}

// debugExit ends QEMU with (value<<1)|1 when the guest writes value to the port.
const debugExit = "isa-debug-exit,iobase=0xf4,iosize=0x04"

// exitPassed is QEMU's status for a guest that reports success: isa-debug-exit
// cannot give 0, so the kernel writes 0x10 there; semihosting gives 0.
var exitPassed = map[string]int{"amd64": 0x10<<1 | 1, "arm64": 0}

// Lookup finds a machine by name; "" is the architecture's default.
func Lookup(arch, name string) (Machine, error) {
	var known []string
	for _, m := range Machines {
		if m.Arch != arch {
			continue
		}
		if name == "" || m.Name == name {
			return m, nil
		}
		known = append(known, m.Name)
	}
	if known == nil {
		return Machine{}, fmt.Errorf("no architecture %q: ARCH is amd64 or arm64", arch)
	}
	return Machine{}, fmt.Errorf("no machine %q for %s: MACHINE is one of %s", name, arch, strings.Join(known, ", "))
}

// Binary is the emulator's name for an architecture.
func Binary(arch string) string {
	if arch == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// Config is one boot.
type Config struct {
	Machine Machine
	Memory  string   // QEMU's -m
	Kernel  string   // the image that boot/mkimage wrote
	Initrd  string   // cpio archive
	Append  []string // kernel arguments
	Extra   []string // more QEMU arguments
	// CPUs is how many the machine has; 0: one. A Raspberry Pi always has four.
	CPUs int
	// Icount makes guest time count instructions, one a nanosecond, so that
	// figures are the same from run to run.
	Icount bool
	// DiskImage is a disk, a file of its bytes; "" for none. DiskOptions are more of QEMU's
	// options of the drive: what makes it slow.
	DiskImage, DiskOptions string
	// Pokes are made before the machine starts.
	Pokes []Poke
	// GDB makes QEMU wait for a debugger on port 1234.
	GDB bool
	// Interactive gives the guest every key that is typed, ^C too. The prefix ^A
	// is QEMU's: ^A x ends it, ^A ^A is ^A.
	Interactive bool

	card string // of WriteCard, for a machine with a boot loader
}

// Command is the argument vector of the boot, behind the emulator's own.
func (c *Config) Command() []string {
	args := slices.Clone(c.Machine.Args)
	mem := c.Memory
	if b := c.Machine.Board; b != nil && b.Memory != "" {
		mem = b.Memory
	}
	args = append(args, "-m", mem, "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot")
	if c.Machine.Board != nil {
		args = c.boardArgs(args)
	} else {
		args = c.loaded(append(args, "-smp", "1", "-serial", "stdio", "-kernel", c.Kernel))
	}
	if i := slices.Index(args, "-smp"); i >= 0 && c.CPUs > 0 {
		args[i+1] = strconv.Itoa(c.CPUs)
	}
	if c.Interactive {
		args = typed(args)
	}
	args = append(args, c.diskArgs()...)
	if c.Icount {
		args = append(args, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
			"-seed", "1", "-rtc", "base=2024-01-01T00:00:00,clock=vm")
	}
	if c.GDB {
		args = append(args, "-s", "-S")
	}
	return slices.Concat(args, c.Extra)
}

// diskArgs are the arguments for the disk: virtio's, on PCI or at one of the places in
// memory that the machine has for virtio devices; a card where the machine has a slot.
func (c *Config) diskArgs() []string {
	if c.DiskImage == "" {
		return nil
	}
	file := "format=raw,file=" + strings.ReplaceAll(c.DiskImage, ",", ",,") // a comma of the name is written twice
	if c.DiskOptions != "" {
		file += "," + c.DiskOptions
	}
	if c.Machine.Name == "imx8mp-evk" {
		return []string{"-drive", "if=sd,bus=1,unit=0," + file} // the board's slot
	}
	args := []string{"-drive", "if=none,id=disk," + file}
	if c.Machine.Name == "q35" {
		return append(args, "-device", "virtio-blk-pci,drive=disk,disable-legacy=on")
	}
	return append(args, "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-blk-device,drive=disk")
}

// microvmPlaces tells the kernel where microvm has its places for virtio devices
// (hw/i386/microvm.h), which on this machine no table but the DSDT tells.
func microvmPlaces() (words []string) {
	for i := range 8 {
		words = append(words, fmt.Sprintf("virtio_mmio.device=512@%#x:%d", 0xfeb00000+512*i, 16+i))
	}
	return words
}

// loaded adds what QEMU loads beside the kernel.
func (c *Config) loaded(args []string) []string {
	if c.Initrd != "" {
		args = append(args, "-initrd", c.Initrd)
	}
	words := c.Append
	if c.DiskImage != "" && c.Machine.Name == "microvm" {
		words = append(microvmPlaces(), words...)
	}
	if c.Icount {
		words = append([]string{"time=virtual"}, words...)
	}
	if len(words) > 0 {
		args = append(args, "-append", strings.Join(words, " "))
	}
	return args
}

// typed connects the first serial port that is QEMU's terminal by a multiplexer, in
// which ^C is a byte like others and ^A x ends QEMU.
func typed(args []string) []string {
	for i := range args[:len(args)-1] {
		if args[i] == "-serial" && args[i+1] == "stdio" {
			args[i+1] = "chardev:keys"
			return append(args, "-chardev", "stdio,id=keys,mux=on,signal=off")
		}
	}
	return args
}
