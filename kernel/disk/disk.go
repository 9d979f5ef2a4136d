// Package disk is block devices: what they all do, virtio's disk, and the partitions
// on them.
//
// It knows neither files nor processes, and the machine only by Transport, so all of
// it is tested on the host, with devices that lie. What a device says is never
// trusted: an answer that makes no sense marks the device as broken, and all requests
// fail with EIO from then on.
//
// Context: any goroutine. ReadAt, WriteAt and Flush sleep until the device has
// answered. No lock is held meanwhile.
package disk

import (
	"io"
	"syscall"
)

// SectorSize is the unit of addresses on all devices.
const SectorSize = 512

// Device is a disk or a part of one. Offsets and lengths are whole sectors: EINVAL
// otherwise, and outside of the device. EIO if the device fails, EROFS for a write to
// one that only reads. Several calls may be made at a time; those that overlap are done
// in any order.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Flush returns when all writes that have returned before it was called would
	// survive a loss of power.
	Flush() error
	Size() int64 // bytes
	ReadOnly() bool
	Name() string
}

// check is EINVAL unless n bytes at off are whole sectors of a device of size bytes.
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

// Part is size bytes of d from start on.
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
