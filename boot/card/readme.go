package card

const readmePi3 = `Grim on a Raspberry Pi 3B

This card holds the kernel (kernel8.img), the initramfs (initrd.cpio) and the
firmware's settings. The firmware itself is Broadcom's and not included. Add, from
the folder "boot" of the repository raspberrypi/firmware on GitHub:

  bootcode.bin
  start.elf
  fixup.dat
  bcm2710-rpi-3-b.dtb     (3B+: bcm2710-rpi-3-b-plus.dtb)

Or from Debian: the first three are in the package raspi-firmware (component
non-free-firmware), /usr/lib/raspi-firmware; the device tree is in linux-image-arm64,
/usr/lib/linux-image-*/broadcom, under the name that Linux has for it:
bcm2837-rpi-3-b.dtb. For that one, add a line to config.txt:

  upstream_kernel=1

Serial console: GPIO 14 (pin 8, transmit), GPIO 15 (pin 10, receive), pin 6 ground,
3.3 V, 115200 baud, 8N1.
`

const readmePi4 = `Grim on a Raspberry Pi 4B

This card holds the kernel (kernel8.img), the initramfs (initrd.cpio) and the
firmware's settings. The firmware itself is Broadcom's and not included. Add, from
the folder "boot" of the repository raspberrypi/firmware on GitHub:

  start4.elf
  fixup4.dat
  bcm2711-rpi-4-b.dtb

Or from Debian: the first two are in the package raspi-firmware (component
non-free-firmware), /usr/lib/raspi-firmware; the device tree is in linux-image-arm64,
/usr/lib/linux-image-*/broadcom, under the same name.

Serial console: GPIO 14 (pin 8, transmit), GPIO 15 (pin 10, receive), pin 6 ground,
3.3 V, 115200 baud, 8N1.
`

const readmeIMX = `Grim on the NXP 8MPLUSLPD4-EVK (i.MX 8M Plus)

The partition holds the kernel, the initramfs and boot.scr for U-Boot. The boot
loader flash.bin (U-Boot, TF-A and NXP's DDR firmware) is not included: build it as
U-Boot's doc/board/nxp/imx8mp_evk.rst says, and write it in front of the partition:

  dd if=flash.bin of=CARD bs=1k seek=32 conv=notrunc,fsync

(CARD is this image file, or the card after the image was written to it.) The device
tree imx8mp-evk.dtb comes with Linux; put it into the partition's top folder, or
leave U-Boot to use the one that it has built in. Set the boot switch SW4 to 0011,
micro SD (please check with the board's guide: nobody here has).

Serial console: the debug USB connector J23, the third of the four ports that it makes
on a PC (/dev/ttyUSB2), 115200 baud, 8N1.
`

const readmeZynq = `Grim on the AMD/Xilinx ZCU102

The partition holds the kernel, the initramfs and boot.scr for U-Boot. The boot
loader BOOT.BIN (FSBL, PMU firmware, TF-A, U-Boot) is not included: take it from
AMD's PetaLinux BSP for the ZCU102, or build it with bootgen, and put it into the
partition's top folder. The device tree zynqmp-zcu102-rev1.0.dtb comes with Linux;
put it beside, or leave U-Boot to use the one that it has built in. Set the mode
switch SW6 [4:1] to off, off, off, on: SD.

Serial console: USB connector J83 (the first of its four ports), 115200 baud, 8N1.
`

const readmeEFI = `Grim on a machine with UEFI

EFI/BOOT/BOOTAA64.EFI is the kernel. It reads grim/initrd.cpio and grim/cmdline.txt
from the same partition. Nothing is to be added. The firmware must give a device tree,
not ACPI tables alone: there is a setting for that on most boards.
`
