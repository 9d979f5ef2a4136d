// Package disk has block devices: their common interface, virtio's disk, and the partitions
// on disks.
//
// It knows neither files nor processes, and reaches the machine through Transport only. So
// all of it is tested on the host, with devices that lie. Nothing that a device says is
// trusted: an answer that makes no sense marks the device as broken, and from then on all
// requests fail with EIO.
//
// Context: any goroutine. ReadAt, WriteAt and Flush sleep until the device has answered. No
// lock is held while they sleep.
package disk

import (
	"io"
	"syscall"
)

// SectorSize is the unit of addresses on all devices, in bytes.
const SectorSize = 512

// Device is a disk or a part of a disk. An offset or length that is not in whole sectors,
// or is outside the device, gives EINVAL. A failure of the device gives EIO, a write to a
// read-only device EROFS. Several calls may run at the same time; calls that overlap on the
// disk are done in any order.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Flush returns when all writes that returned before the call of Flush would survive a
	// loss of power.
	Flush() error
	Size() int64 // bytes
	ReadOnly() bool
	Name() string
}

// check returns EINVAL unless n bytes at off are whole sectors of a device of size bytes.
func check(n int, off, size int64) error {
	if off < 0 || off%SectorSize != 0 || n%SectorSize != 0 || off > size || int64(n) > size-off {
		return syscall.EINVAL
	}
	return nil
}

// part is a partition.
type part struct {
	Device
	start, size int64
	name        string
}

// Part returns a device that is size bytes of d from start on.
func Part(d Device, name string, start, size int64) Device { return &part{d, start, size, name} }

func (p *part) Size() int64  { return p.size }
func (p *part) Name() string { return p.name }

func (p *part) ReadAt(b []byte, off int64) (int, error) {
	if err := check(len(b), off, p.size); err != nil {
		return 0, err
	}
	return p.Device.ReadAt(b, p.start+off)
}

func (p *part) WriteAt(b []byte, off int64) (int, error) {
	if err := check(len(b), off, p.size); err != nil {
		return 0, err
	}
	return p.Device.WriteAt(b, p.start+off)
}
