// Package card makes the contents of the card that a board boots from: the files of its FAT
// partition, and the boot loader's configuration that loads them. Firmware is not included;
// a README in the image says what to add and where to get it.
package card

import (
	"fmt"
	"slices"
	"strings"

	"grim/boot/fat"
)

// Parts are the files that every board gets.
type Parts struct {
	Image, Initrd []byte
	CommandLine   string
}

// board is a board that a card can be made for.
type board struct {
	name   string
	files  func(p *Parts) []fat.File
	readme string
}

// Boards returns the names that Files accepts.
func Boards() []string {
	var names []string
	for _, b := range boards {
		names = append(names, b.name)
	}
	return names
}

// Files returns the files of a board's card.
func Files(name string, p *Parts) ([]fat.File, error) {
	i := slices.IndexFunc(boards, func(b board) bool { return b.name == name })
	if i < 0 {
		return nil, fmt.Errorf("no board %q: BOARD is one of %s", name, strings.Join(Boards(), ", "))
	}
	b := boards[i]
	return append(b.files(p), fat.File{Name: "README.txt", Data: dos(b.readme)}), nil
}

// dos returns s with line ends that every reader of a FAT card shows correctly.
func dos(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

var boards = []board{
	{"rpi3", raspberry("kernel8.img"), readmePi3},
	{"rpi4", raspberry("kernel8.img"), readmePi4},
	{"imx8mp", uboot, readmeIMX},
	{"zcu102", uboot, readmeZynq},
	{"efi", efi, readmeEFI},
}

// raspberry returns the files for the firmware of a Raspberry Pi. The image needs a
// kernel_address on a 2 MB boundary. The initramfs is loaded far behind the image.
func raspberry(image string) func(p *Parts) []fat.File {
	return func(p *Parts) []fat.File {
		config := `# Raspberry Pi firmware: start Grim.
arm_64bit=1
kernel=` + image + `
kernel_address=0x200000
initramfs initrd.cpio 0x8000000
# Console on GPIO 14 and 15. This also keeps the mini UART's clock steady.
enable_uart=1
`
		return []fat.File{
			{Name: image, Data: p.Image},
			{Name: "initrd.cpio", Data: p.Initrd},
			{Name: "config.txt", Data: []byte(config)},
			{Name: "cmdline.txt", Data: []byte(p.CommandLine + "\n")},
		}
	}
}

// uboot returns files for U-Boot's standard boot, which looks for boot.scr on each disk.
func uboot(p *Parts) []fat.File {
	script := `# U-Boot: start Grim. The board's own device tree is used, with the tree that U-Boot
# was given, or has built in, where there is no file of one. Some boards' U-Boot has
# another name for where an initramfs goes.
setenv bootargs "` + p.CommandLine + `"
if test -z "${ramdisk_addr_r}"; then setenv ramdisk_addr_r ${initrd_addr}; fi
load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} grim/Image
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} grim/initrd.cpio
setenv grim_initrd ${ramdisk_addr_r}:${filesize}
setenv grim_tree ${fdt_addr}
if test -n "${fdt_addr_r}" -a -n "${fdtfile}"; then if load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${fdtfile}; then setenv grim_tree ${fdt_addr_r}; fi; fi
if test -z "${grim_tree}"; then setenv grim_tree ${fdtcontroladdr}; fi
booti ${kernel_addr_r} ${grim_initrd} ${grim_tree}
`
	return []fat.File{
		{Name: "grim/Image", Data: p.Image},
		{Name: "grim/initrd.cpio", Data: p.Initrd},
		{Name: "boot.scr", Data: bootScript("Grim", script)},
	}
}

// efi returns files for UEFI firmware, which finds the image on any disk that it can read.
// The image's EFI stub reads the other two files.
func efi(p *Parts) []fat.File {
	return []fat.File{
		{Name: "EFI/BOOT/BOOTAA64.EFI", Data: p.Image},
		{Name: "grim/initrd.cpio", Data: p.Initrd},
		{Name: "grim/cmdline.txt", Data: []byte(p.CommandLine + "\n")},
	}
}
