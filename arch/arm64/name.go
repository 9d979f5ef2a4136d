//go:build tamago && arm64

package arm64

import "fmt"

// implementers and parts give names to fields of MIDR_EL1 (Arm ARM D24.2.122), by the codes
// in the technical reference manuals.
var (
	implementers = map[uint64]string{0x41: "Arm"}
	parts        = map[uint64]string{0xd03: "Cortex-A53", 0xd07: "Cortex-A57", 0xd08: "Cortex-A72", 0xd0b: "Cortex-A76", 0xd0c: "Neoverse-N1"}
)

// CPU returns the name of the boot CPU, for people. It uses numbers for a CPU that it does
// not know.
func CPU() string {
	midr := readMIDR()
	name, maker := parts[midr>>4&0xfff], implementers[midr>>24]
	if name == "" || maker == "" {
		return fmt.Sprintf("MIDR_EL1 %#x", midr)
	}
	return fmt.Sprintf("%s %s r%dp%d", maker, name, midr>>20&15, midr&15)
}
