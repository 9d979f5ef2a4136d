package machine

import "strings"

// Kinds of devices, by driver. Package grim/arch/arm64 has a driver for each; its tests
// compare its list with Kinds.
const (
	PL011   = "pl011"        // Arm PrimeCell UART
	SBSA    = "sbsa-uart"    // a server's UART: a part of the PL011
	UART16  = "16550"        // 8250 family, memory-mapped
	PortCOM = "16550-port"   // the same by port numbers, as in a PC
	MiniU   = "bcm2835-aux"  // Raspberry Pi mini UART
	Cadence = "cadence-uart" // Zynq
	IMX     = "imx-uart"     // NXP i.MX

	GICv2   = "gicv2"
	GICv3   = "gicv3"
	BCM2836 = "bcm2836"
	IOAPIC  = "ioapic"

	BCMPower = "bcm2835-pm" // watchdog that resets and powers off

	IMXWatchdog     = "imx-wdt"
	CadenceWatchdog = "cadence-wdt"
	BCMWatchdog     = "bcm2835-wdt" // uses the same registers as BCMPower

	PL031   = "pl031"      // real-time clock
	ZynqRTC = "zynqmp-rtc" // real-time clock

	BCMGPIO  = "bcm2835-gpio"
	FirmGPIO = "rpi-firmware-gpio" // Raspberry Pi 3: pins that the firmware sets, asked through its mailbox
	ZynqGPIO = "zynqmp-gpio"
	IMXGPIO  = "imx-gpio"
)

// binding says which kind of device a "compatible" string means.
type binding struct {
	compatible string // as Linux's bindings spell it
	kind       string
}

// The devices that the kernel drives on a machine with a device tree. A board whose devices
// are all listed here boots without any code for the board.
var (
	consoles = []binding{
		{"arm,pl011", PL011},
		{"arm,sbsa-uart", SBSA},
		{"brcm,bcm2835-aux-uart", MiniU},
		{"cdns,uart-r1p8", Cadence},
		{"cdns,uart-r1p12", Cadence},
		{"xlnx,xuartps", Cadence},
		{"fsl,imx6q-uart", IMX},
		{"fsl,imx21-uart", IMX},
		{"ns16550a", UART16},
		{"ns16550", UART16},
		{"snps,dw-apb-uart", UART16},
	}
	controllers = []binding{
		{"arm,gic-v3", GICv3},
		{"arm,cortex-a15-gic", GICv2},
		{"arm,cortex-a9-gic", GICv2},
		{"arm,cortex-a7-gic", GICv2},
		{"arm,gic-400", GICv2},
		{"brcm,bcm2836-l1-intc", BCM2836},
	}
	powers = []binding{
		{"brcm,bcm2835-pm-wdt", BCMPower},
	}
	watchdogs = []binding{
		{"fsl,imx21-wdt", IMXWatchdog},
		{"cdns,wdt-r1p2", CadenceWatchdog},
		{"brcm,bcm2835-pm-wdt", BCMWatchdog},
	}
	clocks = []binding{
		{"arm,pl031", PL031},
		{"xlnx,zynqmp-rtc", ZynqRTC},
	}
	gpios = []binding{
		{"brcm,bcm2835-gpio", BCMGPIO},
		{"raspberrypi,firmware-gpio", FirmGPIO},
		{"brcm,bcm2711-gpio", BCMGPIO},
		{"xlnx,zynqmp-gpio-1.0", ZynqGPIO},
		{"fsl,imx35-gpio", IMXGPIO},
	}
)

// Kinds lists, for each sort of device, the kinds that a device tree may name.
func Kinds() map[string][]string {
	m := map[string][]string{}
	for sort, list := range map[string][]binding{
		"console": consoles, "controller": controllers, "power": powers, "watchdog": watchdogs, "clock": clocks, "gpio": gpios,
	} {
		for _, b := range list {
			m[sort] = append(m[sort], b.kind)
		}
	}
	return m
}

// names returns the compatible strings of a list, for messages.
func names(list []binding) string {
	var s []string
	for _, b := range list {
		s = append(s, b.compatible)
	}
	return strings.Join(s, ", ")
}

// bind returns the kind of n by its "compatible" property, of which the most specific
// string comes first. It returns "" if there is no driver or the device is disabled.
func (n *node) bind(list []binding) string {
	if !n.enabled() {
		return ""
	}
	for _, c := range n.compatibles() {
		for _, b := range list {
			if b.compatible == c {
				return b.kind
			}
		}
	}
	return ""
}

// findBound returns the first node in the tree that list has a driver for, and its kind.
func (n *node) findBound(list []binding) (*node, string) {
	found := n.find(func(m *node) bool { return m.bind(list) != "" })
	if found == nil {
		return nil, ""
	}
	return found, found.bind(list)
}
