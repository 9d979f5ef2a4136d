package inet

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/kernel/fs"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// The stack's queue of a socket that is not a stream counts the bytes of packets, and not
// what a packet costs besides: any number of empty packets find room in it. So the socket
// takes every packet out of it at once, in the stack's goroutine, and keeps its own queue.

// packets is the queue of a socket that is not a stream.
type packets struct {
	calls atomic.Int32 // of take, that have not returned
	fault atomic.Pointer[tcpip.Error]

	mu         sync.Mutex
	head, tail *packet // [mu] oldest first
	used       int64   // [mu] bytes and costs
	closed     bool    // [mu] nothing will come any more
}

// packet is a packet that has not been received.
type packet struct {
	next *packet
	from tcpip.FullAddress
	data []byte
}

// packetCost is the part of the receive buffer that a packet takes besides its bytes.
const packetCost = 256

// Write appends. The stack writes a packet's bytes in pieces.
func (p *packet) Write(b []byte) (int, error) {
	p.data = append(p.data, b...)
	return len(b), nil
}

func (p *packet) cost() int64 { return int64(len(p.data)) + packetCost }

// take takes all packets out of the stack's queue. It is called when there may be some. If
// several threads call it, the first takes for all, so that the packets keep their order.
func (k *sock) take() {
	calls := &k.packets.calls
	if calls.Add(1) > 1 {
		return
	}
	for n := int32(1); n > 0; n = calls.Add(-n) {
		for k.takeOne() {
		}
	}
}

// takeOne takes a packet, or an error. It returns false if there is none.
func (k *sock) takeOne() bool {
	q, p := &k.packets, new(packet)
	res, err := k.ep.Read(p, tcpip.ReadOptions{NeedRemoteAddr: true})
	switch err.(type) {
	case nil:
	case *tcpip.ErrWouldBlock:
		return false
	case *tcpip.ErrClosedForReceive:
		q.mu.Lock()
		q.closed = true
		q.mu.Unlock()
		return false
	default:
		q.fault.Store(&err)
		return true
	}
	p.from = res.RemoteAddr
	limit := k.ep.SocketOptions().GetReceiveBufferSize()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.head == nil:
		q.head = p
	case q.used+p.cost() > limit:
		return true // it is lost
	default:
		q.tail.next = p
	}
	q.tail = p
	q.used += p.cost()
	return true
}

// lastError returns the socket's error and clears it.
func (k *sock) lastError() error {
	if e := k.packets.fault.Swap(nil); e != nil {
		return errnoOf(*e)
	}
	return errnoOf(k.ep.LastError())
}

// first returns the first packet, and removes it unless peek is set. At the end it returns
// nil. EAGAIN: there is none.
func (k *sock) first(peek bool) (*packet, error) {
	if err := k.lastError(); err != nil {
		return nil, err
	}
	q := &k.packets
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.head
	switch {
	case p == nil && q.closed:
		return nil, nil
	case p == nil:
		return nil, syscall.EAGAIN
	case peek:
		return p, nil
	}
	q.used -= p.cost()
	if q.head = p.next; q.head == nil {
		q.tail = nil
	}
	return p, nil
}

// waiting returns the size of the first packet. ok is false if a receiver would wait.
func (k *sock) waiting() (size int, ok bool) {
	q := &k.packets
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head != nil {
		return len(q.head.data), true
	}
	return 0, q.closed
}

// receive is Recv of a socket that is not a stream. A packet whose bytes find no room, or no
// memory, is lost.
func (k *sock) receive(t fs.Task, m *fs.Message, nonblock bool) (int, error) {
	var p *packet
	err := fs.WaitFor(t, &k.Waiters, fs.EPOLLIN|fs.EPOLLERR|fs.EPOLLHUP, k.Deadline(k.n.cfg.Monotonic(), false), nonblock, func() (err error) {
		p, err = k.first(m.Flags&unix.MSG_PEEK != 0)
		return err
	})
	if p == nil {
		return 0, err
	}
	w := &to{dst: m.In}
	if _, err := w.Write(p.data); err != nil && w.err != nil {
		return 0, w.err
	}
	m.Addr = k.userAddress(p.from)
	if len(p.data) > w.off {
		m.Result |= unix.MSG_TRUNC
		if m.Flags&unix.MSG_TRUNC != 0 {
			return len(p.data), nil
		}
	}
	return w.off, nil
}
