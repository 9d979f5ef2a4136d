//go:build tamago

package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/usbarmory/tamago/kvm/virtio"
	"github.com/usbarmory/tamago/soc/intel/pci"

	"grim/arch"
	"grim/arch/amd64"
	"grim/mm/phys"
)

func readDevice(p *uint32) uint32     { return atomic.LoadUint32(p) }
func writeDevice(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

func (s *system) mapDevice(pa arch.PA, size uint64) error {
	return s.board.(*pc).MapDevice(pa, size, s.tablePage)
}

const (
	vendorVirtio = 0x1af4
	// Device numbers of virtio's devices: of the standard, and of the devices that
	// came before it, which answer to both.
	pciBlock      = 0x1040 + virtioBlock
	pciNet        = 0x1040 + virtioNet
	pciShare      = 0x1040 + virtioShare
	pciBlockOlder = 0x1001
	pciNetOlder   = 0x1000
	pciShareOlder = 0x1009

	pciMemory = 1 << 1 // in the command register: answer to memory accesses
	pciMaster = 1 << 2 // access memory
	pciNoINTx = 1 << 10
)

// virtioDevices finds virtio devices on PCI's first bus, where firmware has given addresses to
// all, and at the places that the command line names.
func (s *system) virtioDevices() (found []virtioDevice) {
	for _, d := range pci.Devices(0) {
		if d.Vendor != vendorVirtio {
			continue
		}
		switch d.Device {
		case pciBlock, pciNet, pciShare, pciBlockOlder, pciNetOlder, pciShareOlder:
		default:
			continue
		}
		where := fmt.Sprintf("virtio, PCI slot %d", d.Slot)
		if d.Device < pciNet {
			fmt.Printf("grim: the device in PCI slot %d is of the time before VirtIO 1.0: give QEMU disable-legacy=on\n", d.Slot)
			continue
		}
		if len(found) == amd64.Messages {
			fmt.Printf("grim: there is no interrupt for the device in PCI slot %d\n", d.Slot)
			continue
		}
		if err := s.mapPCI(d); err != nil {
			fmt.Printf("grim: the device in PCI slot %d: %v\n", d.Slot, err)
			continue
		}
		d.Write(0, pci.Command, d.Read(0, pci.Command)|pciMemory|pciMaster|pciNoINTx)
		vector, line := amd64.Message(len(found))
		io := &virtio.PCI{Device: d}
		found = append(found, virtioDevice{
			io: io, where: where,
			connect: func() (int, error) { return line, io.EnableInterrupt(vector, 0) },
			ack:     func() {},
			alive: func() bool {
				return uint16(d.Read(0, pci.VendorID)) == vendorVirtio && io.Status()&(1<<virtio.DeviceNeedsReset) == 0 && io.Status() != 0
			},
		})
	}
	return append(found, s.findMMIO(s.opts.VirtIO)...)
}

// mapPCI maps the registers in the device's capabilities.
func (s *system) mapPCI(d *pci.Device) error {
	n := 0
	for off, c := range d.Capabilities() {
		if n++; n > 48 {
			return fmt.Errorf("its list of capabilities has no end")
		}
		bar, at, size := 0, uint(0), uint64(0)
		switch c.Vendor {
		case pci.VendorSpecific:
			bar = int(d.Read(0, off+4) & 0xff)
			at, size = uint(d.Read(0, off+8)), uint64(d.Read(0, off+12))
		case pci.MSIX:
			table := d.Read(0, off+4)
			bar, at, size = int(table&7), uint(table&^7), arch.PageSize
		default:
			continue
		}
		base := d.BaseAddress(bar)
		if base == 0 || size == 0 || base&1 != 0 {
			continue
		}
		if err := s.mapDevice(arch.PA(base&^0xf+at), size); err != nil {
			return err
		}
	}
	return nil
}

// tablePage returns a frame for a page table of a device window.
func (s *system) tablePage() arch.PA {
	f, err := s.mem.AllocZero(phys.Kernel)
	if err != nil {
		panic("kernel: no frame for the page table of a device")
	}
	return f.PA()
}
