package card

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// PiBoot reads a Raspberry Pi's card as its firmware does, and returns what the firmware
// starts. It knows the options of config.txt that cards made here have, as raspberrypi.com
// documents them ("config.txt"); any other option is an error. The command line includes
// arguments that the firmware puts before those of cmdline.txt.
func PiBoot(files map[string][]byte) (*Parts, error) {
	file := func(name string) ([]byte, error) {
		for have, data := range files {
			if strings.EqualFold(have, name) {
				return data, nil
			}
		}
		return nil, fmt.Errorf("card: config.txt wants a file %q, the card has none", name)
	}
	config, err := file("config.txt")
	if err != nil {
		return nil, err
	}
	p, kernelAt := &Parts{}, uint64(0x200000)
	var initrdAt uint64
	bits := false
	for _, line := range strings.Split(string(config), "\n") {
		line = strings.TrimSpace(line)
		if len(line) > piLine {
			return nil, fmt.Errorf("card: the firmware reads %d characters of a line: %q", piLine, line)
		}
		if line == "" || line[0] == '#' {
			continue
		}
		option, value, _ := strings.Cut(line, "=")
		if f := strings.Fields(line); f[0] == "initramfs" && len(f) == 3 { // the option that has no "="
			if initrdAt, err = strconv.ParseUint(f[2], 0, 32); err == nil {
				p.Initrd, err = file(f[1])
			}
			option = f[0]
		}
		switch option {
		case "arm_64bit":
			bits = value == "1"
		case "kernel":
			p.Image, err = file(value)
		case "kernel_address":
			kernelAt, err = strconv.ParseUint(value, 0, 32)
		case "enable_uart", "initramfs":
		default:
			return nil, fmt.Errorf("card: no option %q of config.txt is known here", option)
		}
		if err != nil {
			return nil, fmt.Errorf("card: config.txt, %q: %w", line, err)
		}
	}
	line, err := file("cmdline.txt")
	if err != nil {
		return nil, err
	}
	p.CommandLine = piArguments + strings.TrimSpace(string(line))
	if !bits || len(p.Image) < 64 {
		return nil, fmt.Errorf("card: not a 64-bit kernel of %d bytes", len(p.Image))
	}
	size := binary.LittleEndian.Uint64(p.Image[16:]) // image_size, of the boot protocol
	if kernelAt%(2<<20) != 0 || initrdAt < kernelAt+size || initrdAt+uint64(len(p.Initrd)) > piMemory {
		return nil, fmt.Errorf("card: kernel at %#x, which takes %#x bytes, initramfs at %#x, %#x bytes, in the %#x that every board has",
			kernelAt, size, initrdAt, len(p.Initrd), piMemory)
	}
	return p, nil
}

const (
	piLine   = 78         // older firmware reads no more; newer firmware reads 98
	piMemory = 0x2c000000 // memory below this is not the firmware's own on a board with 1 GB

	// piArguments are some of the arguments that the firmware adds.
	piArguments = "coherent_pool=1M 8250.nr_uarts=1 vc_mem.mem_base=0x3ec00000 vc_mem.mem_size=0x40000000 "
)
