//go:build tamago

package kernel

import (
	"sync/atomic"

	"grim/arch"
)

func readDevice(p *uint32) uint32     { return atomic.LoadUint32(p) }
func writeDevice(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

// mapDevice does nothing: the places are mapped from the start.
func (s *system) mapDevice(arch.PA, uint64) error { return nil }

// virtioDevices finds virtio devices at the places that the device tree tells of.
func (s *system) virtioDevices() []virtioDevice { return s.findMMIO(s.info.VirtIO) }
