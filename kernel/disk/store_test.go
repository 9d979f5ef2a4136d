package disk

import (
	"hash/crc32"
	"sync/atomic"

	"grim/arch"
)

// storeIndex sets a ring's index as a device does, after all it has written before.
func storeIndex(ring []byte, index uint16) { atomic.StoreUint32(arch.Word(ring), uint32(index)<<16) }

func loadIndex(ring []byte) uint16 { return uint16(atomic.LoadUint32(arch.Word(ring)) >> 16) }

func sum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }
