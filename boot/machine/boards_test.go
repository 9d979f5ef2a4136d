package machine

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// boardTrees is the folder into which qemu/boards.sh puts the trees of the distribution's
// kernel.
const boardTrees = "../../build/boards/dtb"

// TestBoardTrees reads the trees that Linux ships for the boards, and checks what the
// kernel needs of each. A Raspberry Pi's firmware fills in its memory.
func TestBoardTrees(t *testing.T) {
	const pi = 0x3b400000
	spinning := []CPU{{0, "spin-table", 0xd8}, {1, "spin-table", 0xe0}, {2, "spin-table", 0xe8}, {3, "spin-table", 0xf0}}
	byPSCI := []CPU{{0, "psci", 0}, {1, "psci", 0}, {2, "psci", 0}, {3, "psci", 0}}
	for _, c := range []struct {
		file string
		size uint64 // size that firmware writes into the memory node, if it does
		want Info
	}{
		{"bcm2837-rpi-3-b.dtb", pi, Info{
			Model:   "Raspberry Pi 3 Model B",
			Memory:  []Range{{0, pi}},
			Console: Console{Kind: MiniU, Base: 0x3f215040, Size: 0x40, IRQ: BCMBank0 + 32 + 29},
			Pins: Pins{Range{0x3f200000, 0xb4},
				Console{Kind: PL011, Base: 0x3f201000, Size: 0x200, IRQ: BCMBank0 + 64 + 25},
				Console{Kind: MiniU, Base: 0x3f215040, Size: 0x40, IRQ: BCMBank0 + 32 + 29}},
			Interrupts: Interrupts{Kind: BCM2836, Dist: Range{0x3f00b200, 0x200}, CPU: Range{0x40000000, 0x100}},
			Timer:      Timer{IRQ: BCMLocalTimer, Level: true},
			CPUs:       spinning,
			Power:      Device{BCMPower, Range{0x3f100000, 0x114}},
			LED:        LED{Device{FirmGPIO, Range{0x3f00b880, 0x40}}, 2, false, "ACT"},
			Watchdogs:  []Device{{BCMWatchdog, Range{0x3f100000, 0x114}}},
		}},
		{"bcm2711-rpi-4-b.dtb", pi, Info{
			Model:   "Raspberry Pi 4 Model B",
			Memory:  []Range{{0, pi}},
			Console: Console{Kind: MiniU, Base: 0xfe215040, Size: 0x40, IRQ: 32 + 93},
			Pins: Pins{Range{0xfe200000, 0xb4},
				Console{Kind: PL011, Base: 0xfe201000, Size: 0x200, IRQ: 32 + 121},
				Console{Kind: MiniU, Base: 0xfe215040, Size: 0x40, IRQ: 32 + 93}},
			Interrupts: Interrupts{Kind: GICv2, Dist: Range{0xff841000, 0x1000}, CPU: Range{0xff842000, 0x2000}},
			Timer:      Timer{IRQ: 27, Level: true},
			CPUs:       spinning,
			Power:      Device{BCMPower, Range{0xfe100000, 0x114}},
			LED:        LED{Device{BCMGPIO, Range{0xfe200000, 0xb4}}, 42, false, "ACT"},
			Watchdogs:  []Device{{BCMWatchdog, Range{0xfe100000, 0x114}}},
		}},
		{"imx8mp-evk.dtb", 0, Info{
			Model: "NXP i.MX8MPlus EVK board",
			// 3 GB and 3 GB that touch at 4 GB, minus 32 MB that must not be mapped.
			Memory:     []Range{{0x40000000, 0x52400000}, {0x94400000, 0x1_c0000000 - 0x94400000}},
			Console:    Console{Kind: IMX, Base: 0x30890000, Size: 0x10000, IRQ: 32 + 27},
			Interrupts: Interrupts{Kind: GICv3, Dist: Range{0x38800000, 0x10000}, Redist: []Range{{0x38880000, 0xc0000}}},
			Timer:      Timer{IRQ: 27, Level: true, Hz: 8_000_000},
			CPUs:       byPSCI,
			PSCI:       "smc",
			LED:        LED{Device{IMXGPIO, Range{0x30220000, 0x10000}}, 16, false, "yellow:status"},
			Watchdogs:  []Device{{IMXWatchdog, Range{0x30280000, 0x10000}}},
			Cards: []CardSlot{
				{Range{0x30b50000, 0x10000}, 2, 0x30384520}, {Range{0x30b60000, 0x10000}, 3, 0x303845e0},
			},
			Ethernet: Ethernet{
				Range: Range{0x30be0000, 0x10000}, IRQ: 32 + 118, Gate: 0x303840a0,
				Fuses: Range{0x30350000, 0x10000}, FuseGate: 0x30384220, FuseWord: 36,
			},
		}},
		{"zynqmp-zcu102-rev1.0.dtb", 0, Info{
			Model:       "ZynqMP ZCU102 Rev1.0",
			Memory:      []Range{{0, 0x80000000}, {0x8_00000000, 0x80000000}},
			CommandLine: "earlycon",
			Console:     Console{Kind: Cadence, Base: 0xff000000, Size: 0x1000, IRQ: 32 + 21},
			Interrupts:  Interrupts{Kind: GICv2, Dist: Range{0xf9010000, 0x10000}, CPU: Range{0xf9020000, 0x20000}},
			Timer:       Timer{IRQ: 27, Level: true},
			CPUs:        byPSCI,
			PSCI:        "smc",
			Clock:       Device{ZynqRTC, Range{0xffa60000, 0x100}},
			LED:         LED{Device{ZynqGPIO, Range{0xff0a0000, 0x1000}}, 23, false, "heartbeat"},
			Watchdogs:   []Device{{CadenceWatchdog, Range{0xfd4d0000, 0x1000}}},
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(boardTrees, c.file))
			if err != nil {
				t.Skip("`qemu/boards.sh trees` fetches it: ", err)
			}
			const at = 0x3000000
			read := memory{at: b}.read
			var memory func(*Info) error
			if c.size != 0 {
				memory = func(in *Info) error {
					in.Memory = []Range{{0, c.size}}
					return nil
				}
			}
			in, err := fromDeviceTree(read, at, nil, memory)
			if err != nil {
				t.Fatal(err)
			}
			checkInfo(t, in)
			if in.Warnings != nil {
				t.Errorf("warnings %q", in.Warnings)
			}
			c.want.Reserved, in.noMap = in.Reserved, nil
			if !reflect.DeepEqual(*in, c.want) {
				t.Errorf("got  %+v\nwant %+v", *in, c.want)
			}
			if !in.Reserved[0].overlaps(Range{0, 1}) {
				t.Errorf("page 0, with the spinning CPUs, is not reserved: %v", in.Reserved)
			}
		})
	}
}
