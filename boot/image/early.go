package image

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"grim/boot/overlay/early"
)

// EarlyPorts are the words for the port of an image's early output, in front of "@ADDRESS",
// and for a debugger, which has no address.
var EarlyPorts = []string{"pl011", "mini", "16550", "16550.8", "cadence", "imx", "sbsa", debugger}

const debugger = "semihosting"

// earlyKinds are package early's numbers for them.
var earlyKinds = []uint64{early.PL011, early.MiniU, early.UART16, early.UART8, early.Cadence, early.IMX, early.SBSA, early.Debugger}

// Early gives an arm64 kernel a port for early output: from its first instruction on it
// tells there how far it has come, and what goes wrong, whatever the device tree says. port
// is "KIND@ADDRESS", with "+SHIFT" behind it for a 16550 whose registers are 1<<SHIFT bytes
// apart (2 without), or "semihosting".
func Early(kernel []byte, port string) error {
	name, at, has := strings.Cut(port, "@")
	i := slices.Index(EarlyPorts, name)
	if i < 0 || has == (name == debugger) {
		return fmt.Errorf("early output: %q is not one of %s, with @ADDRESS behind all but the last", port, strings.Join(EarlyPorts, ", "))
	}
	var base, shift uint64
	if has {
		var err error
		at, distance, more := strings.Cut(at, "+")
		if base, err = strconv.ParseUint(at, 0, 47); err != nil {
			return fmt.Errorf("early output: %w", err)
		}
		shift = 2
		if more {
			if shift, err = strconv.ParseUint(distance, 0, 2); err != nil {
				return fmt.Errorf("early output: %w", err)
			}
		}
	}
	f, err := ARM64ELF(kernel)
	if err != nil {
		return err
	}
	va, err := symbol(f, "runtime.earlyFixed")
	if err != nil {
		return err
	}
	for _, s := range f.Sections {
		if va < s.Addr || va+32 > s.Addr+s.FileSize || !loaded(s) {
			continue
		}
		place := kernel[s.Offset+va-s.Addr:][:32]
		if string(place[:8]) != "GRIMEARL" {
			break
		}
		for j, v := range []uint64{earlyKinds[i], base, shift} {
			binary.LittleEndian.PutUint64(place[8+8*j:], v)
		}
		return nil
	}
	return fmt.Errorf("runtime.earlyFixed at %#x is not where the port for early output is stored", va)
}
