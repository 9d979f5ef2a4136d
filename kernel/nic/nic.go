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
	"fmt"
	"sync"
	"sync/atomic"

	"grim/kernel/virtq"
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

// Queue is the memory of a queue, with a buffer for each descriptor.
type Queue struct {
	virtq.Memory
	Buffers []virtq.Buffer
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
	*virtq.Ring
	buffers []virtq.Buffer
}

// New makes the device ready; Run must be called then. config is ConfigBytes of the
// device's configuration.
func New(t Transport, config []byte, rx, tx Queue, log func(string)) (*Device, error) {
	d := &Device{t: t, log: log}
	copy(d.MAC[:], config)
	for _, x := range []struct {
		r *ring
		q Queue
	}{{&d.rx, rx}, {&d.tx, tx}} {
		r, err := virtq.NewRing(x.q.Memory)
		if err != nil {
			return nil, err
		}
		if len(x.q.Buffers) != r.Size {
			return nil, fmt.Errorf("%d buffers for a queue of %d", len(x.q.Buffers), r.Size)
		}
		*x.r = ring{r, x.q.Buffers}
		for i, b := range x.q.Buffers {
			if len(b.Bytes) < BufferBytes {
				return nil, fmt.Errorf("a buffer of %d bytes", len(b.Bytes))
			}
			r.Describe(uint16(i), virtq.Part{Address: b.Address, Bytes: BufferBytes, Write: x.r == &d.rx})
		}
	}
	d.busy = make([]bool, d.tx.Size)
	for i := range d.tx.Size {
		d.free = append(d.free, uint16(i))
	}
	for i := range d.rx.Size {
		d.rx.Offer(uint16(i), 0)
	}
	// The device sends no interrupt for a packet that it has sent. Sent packets are collected
	// when a buffer is needed.
	d.tx.Publish(virtq.NoInterrupts)
	return d, nil
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
		id, _, ok, err := d.tx.Taken()
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
	b := d.tx.buffers[id].Bytes
	clear(b[:headerBytes])
	n := copy(b[headerBytes:], frame)
	d.tx.Describe(id, virtq.Part{Address: d.tx.buffers[id].Address, Bytes: headerBytes + n})
	d.tx.Offer(id, virtq.NoInterrupts)
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
		id, n, ok, err := d.rx.Taken()
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
		receive(d.rx.buffers[id].Bytes[headerBytes:n])
		d.rx.Offer(id, 0)
	}
}
