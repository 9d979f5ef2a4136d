// Package qemu boots Grim in QEMU: the machines, the command line, the time
// limit, and the verdict read from the serial console and the exit status.
package qemu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Machine is a QEMU machine on which the kernel boots.
type Machine struct {
	Name string
	Arch string // GOARCH
	// Args are QEMU's arguments for the board, its CPU and a device to exit with a status.
	Args []string
	// Board is nil for machines on which QEMU itself starts the kernel.
	Board *Board
}

// Machines has every supported machine. The first of an architecture is its default.
var Machines = []Machine{
	{Name: "q35", Arch: "amd64", Args: []string{"-machine", "q35", "-cpu", "max", "-device", debugExit}},
	{Name: "microvm", Arch: "amd64", Args: []string{"-machine", "microvm,ioapic2=off", "-cpu", "max", "-device", debugExit}},
	{Name: "virt", Arch: "arm64", Args: []string{"-machine", "virt,gic-version=2", "-cpu", "cortex-a53", "-semihosting"}},
	{Name: "virt-gicv3", Arch: "arm64", Args: []string{"-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on", "-semihosting"}},
	{Name: "virt-el2", Arch: "arm64", Args: []string{"-machine", "virt,gic-version=3,virtualization=on", "-cpu", "cortex-a72", "-semihosting"}},
}

// debugExit ends QEMU with (value<<1)|1 when the guest writes value to the port.
const debugExit = "isa-debug-exit,iobase=0xf4,iosize=0x04"

// exitPassed is QEMU's exit status for a guest that reports success. isa-debug-exit cannot
// return 0, so the kernel writes 0x10 to it. Semihosting returns 0.
var exitPassed = map[string]int{"amd64": 0x10<<1 | 1, "arm64": 0}

// Lookup returns a machine by name. "" is the architecture's default.
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

// Binary returns the emulator's name for an architecture.
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
	Kernel  string   // the image written by boot/mkimage
	Initrd  string   // cpio archive
	Append  []string // kernel arguments
	Extra   []string // more QEMU arguments
	// CPUs is the number of CPUs; 0: one. A Raspberry Pi always has four.
	CPUs int
	// Icount makes guest time count instructions, one per nanosecond, so that figures are
	// the same in each run.
	Icount bool
	// DiskImage is a file with the bytes of a disk; "": none. DiskOptions are further
	// options of QEMU for the drive, for example to make it slow.
	DiskImage, DiskOptions string
	// Net gives the machine a network device, with QEMU's own network behind it: "1", or
	// HOST:GUEST, a TCP port of the host that leads to one of the guest; several with commas.
	Net string
	// Share is a directory of the host that the machine has on /host; "": none.
	Share string
	// Pokes are made before the machine starts.
	Pokes []Poke
	// GDB makes QEMU wait for a debugger on port 1234.
	GDB bool
	// Interactive gives the guest every typed key, ^C too. Only the prefix ^A is QEMU's: ^A
	// x ends QEMU, ^A ^A sends ^A.
	Interactive bool
	// SlowReader reads the serial output slowly where the guest asks for that: see
	// slowReader.
	SlowReader bool

	card string // from WriteCard, for a machine with a boot loader
}

// Command returns the arguments of the boot, without the emulator's name.
func (c *Config) Command() []string {
	args := slices.Clone(c.Machine.Args)
	mem := c.Memory
	if b := c.Machine.Board; b != nil && b.Memory != "" {
		mem = b.Memory
	}
	args = append(args, "-m", mem, "-display", "none", "-monitor", "none", "-no-reboot")
	if c.Net == "" || c.Machine.Name != "imx8mp-evk" {
		args = append(args, "-nic", "none")
	}
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
	args = append(args, c.netArgs()...)
	args = append(args, c.shareArgs()...)
	if c.Icount {
		args = append(args, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
			"-seed", "1", "-rtc", "base=2024-01-01T00:00:00,clock=vm")
	}
	if c.GDB {
		args = append(args, "-s", "-S")
	}
	return slices.Concat(args, c.Extra)
}

// diskArgs returns the arguments for the disk: a virtio disk on PCI or at one of the
// machine's places for virtio devices, or a card if the machine has a slot.
func (c *Config) diskArgs() []string {
	if c.DiskImage == "" {
		return nil
	}
	file := "format=raw,file=" + strings.ReplaceAll(c.DiskImage, ",", ",,") // a comma in the name must be doubled
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

// netArgs are the arguments for the network device.
func (c *Config) netArgs() []string {
	if c.Net == "" {
		return nil
	}
	dev := "user,id=net"
	if c.Net != "1" {
		for _, p := range strings.Split(c.Net, ",") {
			host, guest, _ := strings.Cut(p, ":")
			dev += ",hostfwd=tcp::" + host + "-:" + guest
		}
	}
	if c.Machine.Name == "imx8mp-evk" {
		return []string{"-nic", dev} // the board's controller
	}
	args := []string{"-netdev", dev}
	if c.Machine.Name == "q35" {
		return append(args, "-device", "virtio-net-pci,netdev=net,disable-legacy=on")
	}
	return append(args, "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-net-device,netdev=net")
}

// shareArgs are the arguments for the directory of the host. Files have the owners and modes
// that the guest gives them, as far as this user may set them.
func (c *Config) shareArgs() []string {
	if c.Share == "" {
		return nil
	}
	args := []string{"-fsdev", "local,id=share,security_model=none,multidevs=remap,path=" + strings.ReplaceAll(c.Share, ",", ",,")}
	if c.Machine.Name == "q35" {
		return append(args, "-device", "virtio-9p-pci,fsdev=share,mount_tag=host,disable-legacy=on")
	}
	return append(args, "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-9p-device,fsdev=share,mount_tag=host")
}

// microvmPlaces returns kernel arguments with microvm's places for virtio devices
// (hw/i386/microvm.h). On this machine no table except the DSDT has them.
func microvmPlaces() (words []string) {
	for i := range 8 {
		words = append(words, fmt.Sprintf("virtio_mmio.device=512@%#x:%d", 0xfeb00000+512*i, 16+i))
	}
	return words
}

// loaded adds the files that QEMU loads besides the kernel.
func (c *Config) loaded(args []string) []string {
	if c.Initrd != "" {
		args = append(args, "-initrd", c.Initrd)
	}
	words := c.Append
	if (c.DiskImage != "" || c.Net != "" || c.Share != "") && c.Machine.Name == "microvm" {
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

// typed connects the first serial port that is on QEMU's terminal through a multiplexer.
// There ^C is an ordinary byte, and ^A x ends QEMU.
func typed(args []string) []string {
	for i := range args[:len(args)-1] {
		if args[i] == "-serial" && args[i+1] == "stdio" {
			args[i+1] = "chardev:keys"
			return append(args, "-chardev", "stdio,id=keys,mux=on,signal=off")
		}
	}
	return args
}
