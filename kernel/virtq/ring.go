// Package virtq is the driver's side of a virtio device's queue (VirtIO 1.2, section 2.7):
// Ring, in which chains of descriptors go to the device and come back, and Queue, by which
// threads make requests and wait for the answers. TamaGo's kvm/virtio finds the device,
// negotiates and tells it where the memory of its queues is. TamaGo's VirtualQueue supports
// single buffers only, and takes the device's word for lengths and indexes.
//
// What the device says is checked. A device that lies is not used any more.
//
// Lock: Queue.mu is innermost. A Ring has no lock: its user has.
package virtq

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"grim/arch"
)

var le = binary.LittleEndian

// Memory is the memory of a queue of Size descriptors, a power of two.
type Memory struct {
	Desc, Avail, Used []byte
	Size              int
}

// Buffer is memory that the device reaches, with the address by which it does.
type Buffer struct {
	Bytes   []byte
	Address uint64
}

// Flags of descriptors.
const (
	descNext  = 1
	descWrite = 2 // the device writes

	descBytes = 16
)

// NoInterrupts, in Offer and Publish, asks the device for no interrupts. Otherwise there is
// one for each chain that the device is done with.
const NoInterrupts = 1

// Ring is a queue with how far its user is. A chain is known by the number of its first
// descriptor.
type Ring struct {
	Memory
	avail uint16 // number of chains made available
	used  uint16 // number of chains taken back
}

// NewRing returns a ring in which nothing is available yet.
func NewRing(m Memory) (*Ring, error) {
	n := m.Size
	if n < 1 || n > 1<<15 || n&(n-1) != 0 || len(m.Desc) < n*descBytes || len(m.Avail) < 4+2*n || len(m.Used) < 4+8*n {
		return nil, fmt.Errorf("a queue of %d descriptors", n)
	}
	return &Ring{Memory: m}, nil
}

// Part is a piece of memory of a chain: the device reads it, or writes to it.
type Part struct {
	Address uint64
	Bytes   int
	Write   bool
}

// Describe makes descriptors from number first on a chain of parts.
func (r *Ring) Describe(first uint16, parts ...Part) {
	for i, p := range parts {
		var flags, next uint16
		if p.Write {
			flags = descWrite
		}
		if i < len(parts)-1 {
			flags |= descNext
			next = first + 1
		}
		d := r.Desc[int(first)*descBytes:]
		le.PutUint64(d, p.Address)
		le.PutUint32(d[8:], uint32(p.Bytes))
		le.PutUint16(d[12:], flags)
		le.PutUint16(d[14:], next)
		first++
	}
}

// Offer makes a chain available to the device. The caller notifies the device.
func (r *Ring) Offer(first uint16, flags uint16) {
	le.PutUint16(r.Avail[4+2*(int(r.avail)%r.Size):], first)
	r.avail++
	r.Publish(flags)
}

// Publish stores flags and index at once. The atomic store is ordered after all earlier
// stores.
func (r *Ring) Publish(flags uint16) {
	atomic.StoreUint32(arch.Word(r.Avail), uint32(r.avail)<<16|uint32(flags))
}

// Taken returns the next chain that the device is done with, and how many bytes the device
// says that it has written; false if there is none. The error says in what the device lies.
func (r *Ring) Taken() (first uint16, wrote uint32, ok bool, err error) {
	index := uint16(atomic.LoadUint32(arch.Word(r.Used)) >> 16)
	if index == r.used {
		return 0, 0, false, nil
	}
	if index-r.used > r.avail-r.used {
		return 0, 0, false, fmt.Errorf("the device says that it has done %d requests of %d", index-r.used, r.avail-r.used)
	}
	e := r.Used[4+8*(int(r.used)%r.Size):]
	id, wrote := le.Uint32(e), le.Uint32(e[4:])
	if id >= uint32(r.Size) {
		return 0, 0, false, notGiven(id)
	}
	r.used++
	return uint16(id), wrote, true, nil
}

func notGiven(id uint32) error {
	return fmt.Errorf("the device says that it has done request %d, which it was not given", id)
}
