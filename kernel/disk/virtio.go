package disk

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"grim/arch"
)

// Virtio is a virtio block device (VirtIO 1.2, section 5.2) with one queue. TamaGo's
// kvm/virtio finds the device, negotiates features and tells the device where the queue is.
// The chains of descriptors are made here, because TamaGo's VirtualQueue supports single
// buffers only.
//
// A request uses a slot: three adjacent descriptors (header, data, status) and a buffer
// through which the data are copied, so that the device never gets an address of the
// caller's memory. A caller owns its slot from when it takes it from slots until it puts it
// back. Meanwhile the device may own the slot, from submit until the used ring has it.
type Virtio struct {
	c        VirtioConfig
	size     int64
	readOnly bool
	flush    bool

	slots chan *slot // slots that are free
	all   []*slot

	mu     sync.Mutex // the rings
	avail  uint16     // [mu] number of chains made available
	used   uint16     // [mu] number of chains taken back
	broken error      // [mu] why requests are no longer made; nil if they are
}

// Transport notifies a device of requests, and waits for its interrupts.
type Transport interface {
	// Notify tells the device to look at the queue.
	Notify()
	// Alive reports whether the device still answers.
	Alive() bool
	// Await blocks until the device has raised its interrupt since the last call, and
	// acknowledges it.
	Await()
}

// VirtioConfig describes a device that has been set up, and its queue.
type VirtioConfig struct {
	Transport Transport
	Name      string
	Config    []byte // the device's configuration space, ConfigBytes long
	Features  uint64 // negotiated

	// The queue's memory, for QueueSize descriptors.
	Desc, Avail, Used []byte
	QueueSize         int
	// Headers are QueueSize buffers of HeaderBytes each. Data are buffers of DataBytes
	// each: one for each request that may be made at the same time, at most QueueSize/3.
	Headers []Buffer
	Data    []Buffer

	// Limit is how long a request may take; 0: for ever.
	Limit time.Duration
}

// Buffer is memory that the device can reach, with the address by which it reaches it.
type Buffer struct {
	Bytes   []byte
	Address uint64
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

	descBytes = 16
	descNext  = 1
	descWrite = 2

	statusAt = 16 // in the header's buffer
)

// slot is what one request needs.
type slot struct {
	first  uint16 // number of its first descriptor
	header Buffer
	data   Buffer
	busy   bool // [Virtio.mu] the device owns it
	done   chan struct{}
}

// maxSectors bounds a device's size: offsets are an int64.
const maxSectors = 1 << 53

// NewVirtio makes the device. The caller must call Run in a goroutine of its own.
func NewVirtio(c VirtioConfig) (*Virtio, error) {
	sectors := le.Uint64(c.Config)
	if sectors == 0 || sectors > maxSectors {
		return nil, fmt.Errorf("%s: a disk of %d sectors", c.Name, sectors)
	}
	n := c.QueueSize
	if n < 3 || n&(n-1) != 0 || len(c.Desc) < n*descBytes || len(c.Avail) < 4+2*n || len(c.Used) < 4+8*n || len(c.Headers) < n || len(c.Data) > n/3 || len(c.Data) == 0 {
		return nil, fmt.Errorf("%s: a queue of %d descriptors and %d buffers", c.Name, n, len(c.Data))
	}
	v := &Virtio{
		c: c, size: int64(sectors) * SectorSize,
		readOnly: c.Features&FeatureReadOnly != 0, flush: c.Features&FeatureFlush != 0,
		slots: make(chan *slot, len(c.Data)),
	}
	for i, d := range c.Data {
		s := &slot{first: uint16(3 * i), header: c.Headers[3*i], data: d, done: make(chan struct{}, 1)}
		v.all = append(v.all, s)
		v.slots <- s
	}
	return v, nil
}

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
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.broken != nil {
			return syscall.EIO
		}
		return nil
	}
	return v.request(requestFlush, nil, 0)
}

// request makes one request and waits for the answer.
func (v *Virtio) request(kind uint32, p []byte, off int64) error {
	s := <-v.slots
	if v.Broken() != nil { // the device may still write to the slot
		v.slots <- s
		return syscall.EIO
	}
	clear(s.header.Bytes[:HeaderBytes])
	le.PutUint32(s.header.Bytes, kind)
	le.PutUint64(s.header.Bytes[8:], uint64(off/SectorSize))
	s.header.Bytes[statusAt] = statusUnset
	if kind == requestOut {
		copy(s.data.Bytes, p)
	}
	v.describe(s, kind, len(p))
	if err := v.submit(s); err != nil {
		v.slots <- s
		return err
	}
	v.await(s)
	v.mu.Lock()
	broken := v.broken
	v.mu.Unlock()
	status := byte(statusUnset)
	if broken == nil {
		status = s.header.Bytes[statusAt]
	}
	if status == statusOK && kind == requestIn {
		copy(p, s.data.Bytes)
	}
	v.slots <- s
	switch {
	case broken != nil:
		return syscall.EIO
	case status == statusOK:
		return nil
	case status == statusUnsupported:
		return syscall.EOPNOTSUPP
	}
	return syscall.EIO
}

// describe fills in the slot's descriptors.
func (v *Virtio) describe(s *slot, kind uint32, n int) {
	at := s.first
	put := func(address uint64, length int, flags uint16) {
		d := v.c.Desc[int(at)*descBytes:]
		le.PutUint64(d, address)
		le.PutUint32(d[8:], uint32(length))
		le.PutUint16(d[12:], flags)
		at++
		le.PutUint16(d[14:], at)
	}
	put(s.header.Address, statusAt, descNext)
	if n > 0 {
		flags := uint16(descNext)
		if kind == requestIn {
			flags |= descWrite
		}
		put(s.data.Address, n, flags)
	}
	put(s.header.Address+statusAt, 1, descWrite)
}

// submit makes the slot's chain available to the device.
func (v *Virtio) submit(s *slot) error {
	v.mu.Lock()
	if v.broken != nil {
		v.mu.Unlock()
		return syscall.EIO
	}
	select {
	case <-s.done: // left by an earlier request
	default:
	}
	s.busy = true
	le.PutUint16(v.c.Avail[4+2*(int(v.avail)%v.c.QueueSize):], s.first)
	v.avail++
	// Flags (0: interrupts are wanted) and index are stored at once. The atomic store is
	// ordered after all earlier stores.
	atomic.StoreUint32(arch.Word(v.c.Avail), uint32(v.avail)<<16)
	v.mu.Unlock()
	v.c.Transport.Notify()
	return nil
}

// await blocks until the slot's request has been answered, or the device is broken.
func (v *Virtio) await(s *slot) {
	if v.c.Limit == 0 {
		<-s.done
		return
	}
	late := time.NewTimer(v.c.Limit)
	defer late.Stop()
	select {
	case <-s.done:
	case <-late.C:
		v.reap() // the answer may be there, and only the interrupt lost
		select {
		case <-s.done:
		default:
			v.mu.Lock()
			v.failLocked(fmt.Errorf("no answer for %v", v.c.Limit))
			v.mu.Unlock()
		}
	}
}

// Run takes answers from the device until the device is broken.
func (v *Virtio) Run() {
	for {
		v.c.Transport.Await()
		v.reap()
		if v.Broken() != nil {
			return
		}
	}
}

// reap takes all answers that the used ring has.
func (v *Virtio) reap() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.c.Transport.Alive() {
		v.failLocked(fmt.Errorf("the device is gone"))
	}
	for v.broken == nil {
		index := uint16(atomic.LoadUint32(arch.Word(v.c.Used)) >> 16)
		if index == v.used {
			return
		}
		if int16(index-v.used) < 0 || int(index-v.used) > int(v.avail-v.used) {
			v.failLocked(fmt.Errorf("the device says that it has done %d requests of %d", index-v.used, v.avail-v.used))
			return
		}
		id := le.Uint32(v.c.Used[4+8*(int(v.used)%v.c.QueueSize):])
		if id%3 != 0 || id/3 >= uint32(len(v.all)) || !v.all[id/3].busy {
			v.failLocked(fmt.Errorf("the device says that it has done request %d, which it was not given", id))
			return
		}
		v.used++
		s := v.all[id/3]
		s.busy = false
		s.done <- struct{}{}
	}
}

// failLocked marks the device as broken and ends all requests. Preconditions: mu held.
func (v *Virtio) failLocked(why error) {
	if v.broken != nil {
		return
	}
	v.broken = fmt.Errorf("%s: %w", v.c.Name, why)
	fmt.Println("grim:", v.broken)
	for _, s := range v.all {
		if s.busy {
			s.busy = false
			s.done <- struct{}{}
		}
	}
}

// Broken returns why the device is no longer used, or nil.
func (v *Virtio) Broken() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.broken
}
