package machine

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// The block that the EFI stub (boot/overlay/runtime/efi_grim_arm64.s) passes instead of a
// device tree. It consists of eight-byte little-endian fields. An address is followed by a
// size.
const (
	efiMagic   = "GRIMEFI1"
	efiTree    = 8
	efiMap     = 24 // address, size, size of a descriptor
	efiInitrd  = 48
	efiOptions = 64 // UTF-16
	efiCommand = 80
	efiScreen  = 96 // address, size, then four fields of 4 bytes: width, height, format, pixels in a line
	efiFields  = 128
	efiBlock   = 2 << 20 // size of the block with all that it points at, except the files
	efiMaxMap  = 0x1c000
)

// Memory types and attributes of the UEFI specification 2.10, section 7.2.
const (
	efiLoaderCode   = 1
	efiBootData     = 4
	efiConventional = 7
	efiWriteBack    = 1 << 3
	efiRuntime      = 1 << 63
)

// FromArm64 reads what an arm64 boot protocol passes: a device tree, or the EFI stub's
// block.
func FromArm64(read Reader, pa uint64) (*Info, error) {
	if pa == 0 {
		return nil, errors.New("the boot loader gave no device tree")
	}
	if pa%8 != 0 {
		return nil, fmt.Errorf("device tree at %#x: not on an 8-byte boundary", pa)
	}
	if h := read(pa, len(efiMagic)); string(h) != efiMagic {
		return FromDeviceTree(read, pa)
	}
	h := bytes.Clone(read(pa, efiFields))
	if len(h) != efiFields {
		return nil, fmt.Errorf("EFI block at %#x is not readable", pa)
	}
	field := func(i int) uint64 { return le.Uint64(h[i:]) }
	screen := func(in *Info) { in.efiScreen(h[efiScreen:]) }
	in, err := fromDeviceTree(read, field(efiTree), screen, func(in *Info) error {
		in.Reserved = append(in.Reserved, Range{pa, efiBlock})
		return in.efiMemory(read, field(efiMap), field(efiMap+8), field(efiMap+16))
	})
	if err != nil {
		if in == nil {
			in = &Info{}
			screen(in)
		}
		return in, fmt.Errorf("EFI, device tree at %#x: %w", field(efiTree), err)
	}
	if field(efiInitrd+8) != 0 {
		if in.Initrd, err = newRange("EFI: initramfs", field(efiInitrd), field(efiInitrd+8)); err != nil {
			return in, err
		}
	}
	if err := in.efiCommandLine(read, h); err != nil {
		return in, err
	}
	return in, in.finish()
}

// efiScreen takes the framebuffer of a display that firmware has turned on, if there is
// one. The device tree's framebuffer is then ignored.
func (in *Info) efiScreen(b []byte) {
	if le.Uint64(b[8:]) == 0 {
		return
	}
	r, err := newRange("EFI: framebuffer", le.Uint64(b), le.Uint64(b[8:]))
	s := Screen{
		Range: r, Format: "x8b8g8r8", // PixelRedGreenBlueReserved8BitPerColor, by bytes
		Width: int(le.Uint32(b[16:])), Height: int(le.Uint32(b[20:])), Stride: 4 * int(le.Uint32(b[28:])),
	}
	if le.Uint32(b[24:]) == 1 { // PixelBlueGreenRedReserved8BitPerColor
		s.Format = "x8r8g8b8"
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		in.warn("%v", err)
		return
	}
	in.Screen = s
}

// efiMemory takes the memory from the firmware's map that is free once boot services have
// ended.
func (in *Info) efiMemory(read Reader, at, size, step uint64) error {
	if step < 40 || step > 4096 || size > efiMaxMap {
		return fmt.Errorf("memory map of %d bytes, descriptors of %d", size, step)
	}
	t := read(at, int(size))
	if uint64(len(t)) != size {
		return fmt.Errorf("memory map at %#x is not readable", at)
	}
	for n := 0; uint64(len(t)) >= step; n++ {
		kind, attr := le.Uint32(t), le.Uint64(t[32:])
		base, pages := le.Uint64(t[8:]), le.Uint64(t[24:])
		t = t[step:]
		free := kind >= efiLoaderCode && kind <= efiBootData || kind == efiConventional
		if !free || attr&efiWriteBack == 0 || attr&efiRuntime != 0 {
			continue
		}
		if pages > maxPA/pageSize {
			return fmt.Errorf("memory map entry %d: %d pages", n, pages)
		}
		r, err := newRange(fmt.Sprintf("memory map entry %d", n), base, pages*pageSize)
		if err != nil {
			return err
		}
		in.Memory = append(in.Memory, r)
	}
	return nil
}

// efiCommandLine sets the command line to what the boot manager passed. If that is empty it
// uses the text of the file, and if that is empty too, what the tree has.
func (in *Info) efiCommandLine(read Reader, h []byte) error {
	get := func(i int) (string, error) {
		at, n := le.Uint64(h[i:]), le.Uint64(h[i+8:])
		if n > maxCommand {
			return "", fmt.Errorf("EFI: command line of %d bytes, want at most %d", n, maxCommand)
		}
		b := read(at, int(n))
		if uint64(len(b)) != n {
			return "", fmt.Errorf("EFI: command line at %#x is not readable", at)
		}
		return string(b), nil
	}
	opts, err := get(efiOptions)
	if err != nil {
		return err
	}
	units := make([]uint16, len(opts)/2)
	for i := range units {
		units[i] = uint16(opts[2*i]) | uint16(opts[2*i+1])<<8
	}
	line, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	if line = strings.TrimSpace(line); line == "" {
		if line, err = get(efiCommand); err != nil {
			return err
		}
		line = strings.Join(strings.Fields(line), " ")
	}
	if line != "" && len(line) <= maxCommand {
		in.CommandLine = line
	}
	return nil
}
