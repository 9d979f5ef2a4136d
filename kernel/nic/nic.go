// Package nic drives virtio network devices (VirtIO 1.2, section 5.1): one queue for
// packets that come in, one for those that go out. TamaGo's kvm/virtio finds the device,
// negotiates and tells it where the queues are.
//
// Packets are copied into and out of buffers that the device reaches. What the device
// says of lengths and numbers is checked: a device that lies is not used any more.
//
// Lock: Device.mu guards the queue of outgoing packets. Run alone uses the other one.
package nic

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"grim/arch"
)

// Features are the bits of a network device that the driver knows: its address.
const Features = 1 << 5

// Sizes.
const (
	// ConfigBytes are read of the device's configuration.
	ConfigBytes = 6
	// BufferBytes hold a packet with its header: virtio's, Ethernet's, and MTU.
	BufferBytes = 2048
	MTU         = 1500

	headerBytes = 12 // struct virtio_net_hdr
	etherBytes  = 14
	frameBytes  = etherBytes + MTU
)

// The queues' numbers.
const (
	Receive  = 0
	Transmit = 1
)

// Buffer is memory that the device reaches, and the address by which it does.
type Buffer struct {
	Bytes   []byte
	Address uint64
}

// Queue is the memory of a queue, with a buffer for each descriptor. Their number is a
// power of two.
type Queue struct {
	Desc, Avail, Used []byte
	Buffers           []Buffer
}

// Transport is how a device is told of packets, and tells of them.
type Transport interface {
	Notify(queue int)
	// Await blocks until the device has raised its interrupt since the last call, and
	// acknowledges it.
	Await()
	// Alive tells whether the device still answers.
	Alive() bool
}

// Device is a network device.
type Device struct {
	// MAC is its address. [I]
	MAC    [6]byte
	t      Transport
	rx, tx ring
	broken atomic.Bool

	mu   sync.Mutex
	free []uint16 // [mu] descriptors of tx that the device has not
	busy []bool   // [mu] those that it has
	log  func(string)
}

// ring is a queue with how far its user is.
type ring struct {
	Queue
	n     int
	avail uint16
	used  uint16
}

var le = binary.LittleEndian

// New makes the device ready; Run must be called then. config is ConfigBytes of the
// device's configuration.
func New(t Transport, config []byte, rx, tx Queue, log func(string)) (*Device, error) {
	d := &Device{t: t, rx: ring{Queue: rx, n: len(rx.Buffers)}, tx: ring{Queue: tx, n: len(tx.Buffers)}, log: log}
	copy(d.MAC[:], config)
	for _, r := range []*ring{&d.rx, &d.tx} {
		if r.n == 0 || r.n&(r.n-1) != 0 || len(r.Desc) < 16*r.n || len(r.Avail) < 4+2*r.n || len(r.Used) < 4+8*r.n {
			return nil, fmt.Errorf("a queue of %d buffers", r.n)
		}
		for i, b := range r.Buffers {
			if len(b.Bytes) < BufferBytes {
				return nil, fmt.Errorf("a buffer of %d bytes", len(b.Bytes))
			}
			flags := uint16(0)
			if r == &d.rx {
				flags = 2 // the device writes
			}
			e := r.Desc[16*i:]
			le.PutUint64(e, b.Address)
			le.PutUint32(e[8:], BufferBytes)
			le.PutUint16(e[12:], flags)
			le.PutUint16(e[14:], 0)
		}
	}
	d.busy = make([]bool, d.tx.n)
	for i := range d.tx.n {
		d.free = append(d.free, uint16(i))
	}
	for i := range d.rx.n {
		d.rx.offer(uint16(i), 0)
	}
	// The device sends no interrupt for a packet that it has sent. Sent packets are collected
	// when a buffer is needed.
	d.tx.publish(1)
	return d, nil
}

// offer gives a descriptor to the device; flags of the ring: 1 for no interrupts.
func (r *ring) offer(id uint16, flags uint32) {
	le.PutUint16(r.Avail[4+2*(int(r.avail)%r.n):], id)
	r.avail++
	r.publish(flags)
}

// publish stores flags and index in one word, which package atomic orders behind all
// before it.
func (r *ring) publish(flags uint32) {
	atomic.StoreUint32(arch.Word(r.Avail), uint32(r.avail)<<16|flags)
}

// taken is the next descriptor that the device is done with, and how many bytes it has
// written; false if there is none. An error: the device lies.
func (r *ring) taken() (id uint16, n uint32, ok bool, err error) {
	index := uint16(atomic.LoadUint32(arch.Word(r.Used)) >> 16)
	if index == r.used {
		return 0, 0, false, nil
	}
	if index-r.used > r.avail-r.used {
		return 0, 0, false, fmt.Errorf("the device says that it is done with %d packets of %d", index-r.used, r.avail-r.used)
	}
	e := r.Used[4+8*(int(r.used)%r.n):]
	x, n := le.Uint32(e), le.Uint32(e[4:])
	if x >= uint32(r.n) {
		return 0, 0, false, fmt.Errorf("the device says that it is done with descriptor %d of %d", x, r.n)
	}
	r.used++
	return uint16(x), n, true, nil
}

// fail ends the use of the device.
func (d *Device) fail(err error) {
	if !d.broken.Swap(true) {
		d.log("network: " + err.Error() + ": the device is not used any more")
	}
}

// Send sends a frame: false if it is dropped, because the device has as many as it takes,
// or is not used any more.
func (d *Device) Send(frame []byte) bool {
	if len(frame) > frameBytes || d.broken.Load() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		id, _, ok, err := d.tx.taken()
		if err == nil && ok && !d.busy[id] {
			err = fmt.Errorf("the device says that it has sent packet %d, which it was not given", id)
		}
		if err != nil {
			d.fail(err)
			return false
		}
		if !ok {
			break
		}
		d.busy[id] = false
		d.free = append(d.free, id)
	}
	if len(d.free) == 0 {
		return false
	}
	id := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	d.busy[id] = true
	b := d.tx.Buffers[id].Bytes
	clear(b[:headerBytes])
	n := copy(b[headerBytes:], frame)
	le.PutUint32(d.tx.Desc[16*int(id)+8:], uint32(headerBytes+n))
	d.tx.offer(id, 1)
	d.t.Notify(Transmit)
	return true
}

// Run gives the frames that come in to receive, which keeps nothing of them, for ever.
func (d *Device) Run(receive func(frame []byte)) {
	for {
		d.t.Await()
		if !d.t.Alive() {
			d.fail(fmt.Errorf("the device is gone"))
			return
		}
		if !d.Poll(receive) {
			return
		}
	}
}

// Poll gives what has come in to receive; false if the device is not used any more.
func (d *Device) Poll(receive func(frame []byte)) bool {
	for some := false; ; some = true {
		id, n, ok, err := d.rx.taken()
		if err == nil && ok && (n < headerBytes+etherBytes || n > BufferBytes) {
			err = fmt.Errorf("the device says that a packet has %d bytes", n)
		}
		if err != nil {
			d.fail(err)
			return false
		}
		if !ok {
			if some {
				d.t.Notify(Receive)
			}
			return true
		}
		receive(d.rx.Buffers[id].Bytes[headerBytes:n])
		d.rx.offer(id, 0)
	}
}
