package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"grim/boot/card"
	"grim/boot/fat"
)

// Board describes a machine that is modelled after hardware, or that starts through a boot
// loader.
type Board struct {
	Memory   string // the board's memory; "": any
	Tree     string // device tree, if the loader (QEMU) provides none
	Firmware string // boot loader; "" if QEMU does the work of the board's own
	Card     string // the board of package card, if kernel and initramfs are on a card
	Since    int    // the first major version of QEMU with the machine; 0: any
	Keys     string // keys for the boot loader, in place of the user's
}

// imxEnvironment is typed at the U-Boot for QEMU's virt machine, whose memory begins at the
// same address. It makes U-Boot load a card as the one for the i.MX 8M Plus does (its board
// file include/configs/imx8mp_evk.h): the script is loaded to the kernel's address, which
// is not on a 2 MB boundary; there is no ramdisk_addr_r; and a device tree is looked for.
// The line ends at the start stop the countdown; U-Boot loses the first few. The loader
// itself decides how it looks for a card (distro_bootcmd, or bootflow scan since 2023):
// bootcmd.
const imxEnvironment = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n" +
	"setenv ramdisk_addr_r\nsetenv initrd_addr 0x43800000\nsetenv kernel_addr_r 0x40480000\nsetenv scriptaddr 0x40480000\n" +
	"setenv fdt_addr_r 0x43000000\nsetenv fdtfile imx8mp-evk.dtb\nrun bootcmd\n"

// FilesDir is the folder in which qemu/boards.sh puts the files for boards.
const FilesDir = "build/boards"

const (
	uboot = "uboot/usr/lib/u-boot/qemu_arm64/u-boot.bin"
	edk2  = "efi/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
)

// A newer QEMU, unpacked beside the installed one.
const (
	newerQEMU = FilesDir + "/qemu10/usr/bin/"
	newerData = FilesDir + "/qemu10/usr/share/qemu"
)

// Needs returns the arguments for qemu/boards.sh that fetch the machine's files. boards.sh
// skips files that exist. A newer QEMU is not among them: it is fetched only on request.
func (m *Machine) Needs() []string {
	if m.Board == nil {
		return nil
	}
	var needs []string
	if m.Board.Tree != "" {
		needs = append(needs, "trees")
	}
	switch m.Board.Firmware {
	case uboot:
		needs = append(needs, "uboot")
	case edk2:
		needs = append(needs, "efi")
	}
	return needs
}

var versionText = regexp.MustCompile(`version (\d+)\.`)

// version returns the major version of an emulator, or 0 if it does not run.
func version(binary string) int {
	out, err := exec.Command(binary, "--version").Output()
	if m := versionText.FindSubmatch(out); err == nil && m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	return 0
}

// emulator returns the program for a machine, with the arguments for its data: the
// installed QEMU if that has the machine, otherwise the newer one beside it.
func (m *Machine) emulator() ([]string, error) {
	name := Binary(m.Arch)
	have := version(name)
	if m.Board == nil || have >= m.Board.Since {
		if have == 0 {
			return nil, fmt.Errorf("%s is not installed: run `make qemu-install ARCH=%s`", name, m.Arch)
		}
		return []string{name}, nil
	}
	if newer := newerQEMU + name; version(newer) >= m.Board.Since {
		return []string{newer, "-L", newerData}, nil
	}
	return nil, fmt.Errorf("machine %s needs QEMU %d, %s is version %d: `qemu/boards.sh qemu10` unpacks Debian's backport of it beside the installed one, for this machine only", m.Name, m.Board.Since, name, have)
}

// Missing returns an error that says what a machine lacks here, and how to get it, or nil
// if it can start.
func (m *Machine) Missing() error {
	_, err := m.emulator()
	if m.Board == nil {
		return err
	}
	for _, f := range []string{m.Board.Tree, m.Board.Firmware} {
		if f == "" {
			continue
		}
		if _, e := os.Stat(filepath.Join(FilesDir, f)); e != nil {
			err = errors.Join(err, fmt.Errorf("machine %s needs %s: `qemu/boards.sh %s` fetches it", m.Name, filepath.Join(FilesDir, f), strings.Join(m.Needs(), " ")))
		}
	}
	return err
}

// boardArgs adds the arguments that load the kernel, for a machine with a board.
func (c *Config) boardArgs(args []string) []string {
	b := c.Machine.Board
	if b.Firmware != "" {
		return append(args, c.Disk()...)
	}
	args = append(args, "-kernel", c.Kernel)
	if b.Tree != "" {
		args = append(args, "-dtb", filepath.Join(FilesDir, b.Tree))
	}
	return c.loaded(args)
}

// Disk returns the arguments for the boot loader, and for the card from which it starts.
func (c *Config) Disk() []string {
	return []string{"-bios", filepath.Join(FilesDir, c.Machine.Board.Firmware),
		"-drive", "if=none,id=card,format=raw,file=" + c.card, "-device", "virtio-blk-device,drive=card"}
}

// WriteCard makes the card for a boot through a boot loader.
func (c *Config) WriteCard(path string) error {
	p := &card.Parts{CommandLine: strings.Join(c.Append, " ")}
	var err error
	if p.Image, err = os.ReadFile(c.Kernel); err != nil {
		return err
	}
	if p.Initrd, err = os.ReadFile(c.Initrd); err != nil {
		return err
	}
	files, err := card.Files(c.Machine.Board.Card, p)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	c.card = path
	return errors.Join(fat.Write(f, files), f.Close())
}

// readCard does the work of a Raspberry Pi's firmware: it finds the kernel, the initramfs
// and the arguments on the card. QEMU then loads them.
func (c *Config) readCard() error {
	b, err := os.ReadFile(c.card)
	if err != nil {
		return err
	}
	files, err := fat.Read(b)
	if err != nil {
		return err
	}
	p, err := card.PiBoot(files)
	if err != nil {
		return err
	}
	c.Kernel, c.Initrd, c.Append = c.card+".kernel", c.card+".initrd", []string{p.CommandLine}
	return errors.Join(os.WriteFile(c.Kernel, p.Image, 0o666), os.WriteFile(c.Initrd, p.Initrd, 0o666))
}

// boards are the machines that are boards, or start like boards. On the Raspberry Pi, the
// tree names the second serial port as the console. QEMU runs all four of its CPUs, three
// of them in a loop, so they take turns.
var boards = []Machine{
	{Name: "virt-uboot", Arch: "arm64", Board: &Board{Firmware: uboot, Card: "imx8mp"},
		Args: []string{"-machine", "virt", "-cpu", "cortex-a53", "-smp", "1", "-serial", "stdio"}},
	{Name: "virt-uboot-imx8mp", Arch: "arm64", Board: &Board{Memory: "3G", Firmware: uboot, Card: "imx8mp", Keys: imxEnvironment},
		Args: []string{"-machine", "virt", "-cpu", "cortex-a53", "-smp", "1", "-serial", "stdio"}},
	{Name: "virt-uefi", Arch: "arm64", Board: &Board{Firmware: edk2, Card: "efi"},
		Args: []string{"-machine", "virt,gic-version=3,acpi=off", "-cpu", "cortex-a72", "-smp", "1", "-serial", "stdio"}},
	{Name: "raspi3b", Arch: "arm64", Board: &Board{Memory: "1G", Tree: "dtb/bcm2837-rpi-3-b.dtb", Card: "rpi3"},
		Args: []string{"-machine", "raspi3b", "-accel", "tcg,thread=single", "-serial", "null", "-serial", "stdio"}},
	// The same machine, with the other serial port on the terminal.
	{Name: "raspi3b-pl011", Arch: "arm64", Board: &Board{Memory: "1G", Tree: "dtb/bcm2837-rpi-3-b.dtb", Card: "rpi3"},
		Args: []string{"-machine", "raspi3b", "-accel", "tcg,thread=single", "-serial", "stdio", "-serial", "null"}},
	{Name: "raspi4b", Arch: "arm64", Board: &Board{Memory: "2G", Tree: "dtb/bcm2711-rpi-4-b.dtb", Card: "rpi4", Since: 9},
		Args: []string{"-machine", "raspi4b", "-accel", "tcg,thread=single", "-serial", "null", "-serial", "stdio"}},
	{Name: "imx8mp-evk", Arch: "arm64", Board: &Board{Tree: "dtb/imx8mp-evk.dtb", Since: 10},
		Args: []string{"-machine", "imx8mp-evk", "-smp", "1", "-serial", "null", "-serial", "stdio"}},
	{Name: "xlnx-zcu102", Arch: "arm64", Board: &Board{Tree: "dtb/zynqmp-zcu102-rev1.0.dtb"},
		Args: []string{"-machine", "xlnx-zcu102", "-smp", "1", "-serial", "stdio"}},
	{Name: "xlnx-zcu102-el2", Arch: "arm64", Board: &Board{Tree: "dtb/zynqmp-zcu102-rev1.0.dtb"},
		Args: []string{"-machine", "xlnx-zcu102,virtualization=on", "-smp", "1", "-serial", "stdio"}},
}

func init() { Machines = slices.Concat(Machines, boards) }
