package disk

import (
	"fmt"
	"syscall"

	"grim/kernel/virtq"
)

// Virtio is a virtio block device (VirtIO 1.2, section 5.2) with one queue, whose buffers are
// for data. A request is a chain of three descriptors: header, data, status.
type Virtio struct {
	c        VirtioConfig
	q        *virtq.Queue
	size     int64
	readOnly bool
	flush    bool
}

// VirtioConfig describes a device that has been set up.
type VirtioConfig struct {
	Name     string
	Config   []byte // the device's configuration space, ConfigBytes long
	Features uint64 // negotiated

	// Queue is the device's queue, with buffers of DataBytes each. NewVirtio sets Parts and
	// Log.
	Queue virtq.Config
	// Headers are buffers of HeaderBytes, one for each of the queue's.
	Headers []virtq.Buffer
}

// Sizes of the parts of VirtioConfig.
const (
	ConfigBytes = 8
	HeaderBytes = 32
	DataBytes   = 64 << 10
)

// Features of a block device that the driver knows.
const (
	FeatureReadOnly = 1 << 5
	FeatureFlush    = 1 << 9
	Features        = FeatureReadOnly | FeatureFlush
)

const (
	requestIn    = 0
	requestOut   = 1
	requestFlush = 4

	statusOK          = 0
	statusUnsupported = 2
	statusUnset       = 0xff

	statusAt = 16 // in the header's buffer
)

// maxSectors bounds a device's size: offsets are an int64.
const maxSectors = 1 << 53

// NewVirtio makes the device. The caller must call Run in a goroutine of its own.
func NewVirtio(c VirtioConfig) (*Virtio, error) {
	sectors := le.Uint64(c.Config)
	if sectors == 0 || sectors > maxSectors {
		return nil, fmt.Errorf("%s: a disk of %d sectors", c.Name, sectors)
	}
	if len(c.Headers) != len(c.Queue.Buffers) {
		return nil, fmt.Errorf("%s: %d headers for %d buffers", c.Name, len(c.Headers), len(c.Queue.Buffers))
	}
	c.Queue.Parts = 3
	c.Queue.Log = func(line string) { fmt.Printf("grim: %s: %s\n", c.Name, line) }
	q, err := virtq.New(c.Queue)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return &Virtio{
		c: c, q: q, size: int64(sectors) * SectorSize,
		readOnly: c.Features&FeatureReadOnly != 0, flush: c.Features&FeatureFlush != 0,
	}, nil
}

// Run takes answers from the device until the device is broken.
func (v *Virtio) Run() { v.q.Run() }

// Broken returns why the device is no longer used, or nil.
func (v *Virtio) Broken() error { return v.q.Broken() }

func (v *Virtio) Size() int64    { return v.size }
func (v *Virtio) ReadOnly() bool { return v.readOnly }
func (v *Virtio) Name() string   { return v.c.Name }

// ReadAt implements Device.
func (v *Virtio) ReadAt(p []byte, off int64) (int, error) { return v.transfer(requestIn, p, off) }

// WriteAt implements Device.
func (v *Virtio) WriteAt(p []byte, off int64) (int, error) {
	if v.readOnly {
		return 0, syscall.EROFS
	}
	return v.transfer(requestOut, p, off)
}

func (v *Virtio) transfer(kind uint32, p []byte, off int64) (n int, err error) {
	if err := check(len(p), off, v.size); err != nil {
		return 0, err
	}
	for n < len(p) {
		piece := p[n:min(len(p), n+DataBytes)]
		if err := v.request(kind, piece, off+int64(n)); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Flush implements Device. A device without the feature has no cache that could be lost.
func (v *Virtio) Flush() error {
	if !v.flush {
		if v.Broken() != nil {
			return syscall.EIO
		}
		return nil
	}
	return v.request(requestFlush, nil, 0)
}

// request makes one request and waits for the answer.
func (v *Virtio) request(kind uint32, p []byte, off int64) error {
	s, err := v.q.Take()
	if err != nil {
		return syscall.EIO
	}
	defer v.q.Give(s)
	header := v.c.Headers[s.Number]
	clear(header.Bytes[:HeaderBytes])
	le.PutUint32(header.Bytes, kind)
	le.PutUint64(header.Bytes[8:], uint64(off/SectorSize))
	header.Bytes[statusAt] = statusUnset
	if kind == requestOut {
		copy(s.Bytes, p)
	}
	parts := append(make([]virtq.Part, 0, 3), virtq.Part{Address: header.Address, Bytes: statusAt})
	if len(p) > 0 {
		parts = append(parts, virtq.Part{Address: s.Address, Bytes: len(p), Write: kind == requestIn})
	}
	if _, err := v.q.Do(s, append(parts, virtq.Part{Address: header.Address + statusAt, Bytes: 1, Write: true})...); err != nil {
		return syscall.EIO
	}
	switch header.Bytes[statusAt] {
	case statusOK:
		if kind == requestIn {
			copy(p, s.Bytes)
		}
		return nil
	case statusUnsupported:
		return syscall.EOPNOTSUPP
	}
	return syscall.EIO
}
