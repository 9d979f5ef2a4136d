package inet

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/kernel/fs"
	"grim/mm/charge"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// The stack's queue of a listener knows nothing of charges, and a connection that finds no
// room in it is all but lost. So a goroutine takes each connection out of it at once, has it
// charged, and puts it into the listener's own queue. A connection for which there is no
// room, or no charge, is reset.

// pending is the queue of a listener.
type pending struct {
	calls atomic.Int32 // of takeConnections, that have not returned

	mu    sync.Mutex
	limit int          // [mu] how many connections there may be
	list  []connection // [mu] oldest first
	shut  bool         // [mu] shutdown(2): no connection is accepted any more
}

// connection is a connection that nobody has accepted.
type connection struct {
	ep tcpip.Endpoint
	wq *waiter.Queue
}

// minPending is the least limit: clients whose connection would be the next of many do not
// try again after a reset, as they do when Linux does not answer.
const minPending = 64

// open is for Listen.
func (p *pending) open(backlog int) {
	p.mu.Lock()
	p.limit, p.shut = max(2*backlog, minPending), false
	p.mu.Unlock()
}

// close is for Shutdown.
func (p *pending) close() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
}

func (p *pending) some() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.list) > 0
}

// reset ends a connection.
func (c connection) reset() {
	c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
	c.ep.Close()
}

// takeConnections takes all connections out of the stack's queue, or resets those in the
// own queue if the socket does not listen any more. If several threads call it, the first
// takes for all.
func (k *sock) takeConnections() {
	p := &k.pending
	if p.calls.Add(1) > 1 {
		return
	}
	for n := int32(1); n > 0; n = p.calls.Add(-n) {
		for {
			ep, wq, err := k.ep.Accept(nil)
			if err != nil {
				break
			}
			k.enqueue(connection{ep, wq})
		}
		p.mu.Lock()
		var list []connection
		if !k.listeningLocked() {
			list, p.list = p.list, nil
		}
		p.mu.Unlock()
		k.payer.Give(charge.IPC, pendingCost*int64(len(list)))
		for _, c := range list {
			c.reset()
		}
	}
}

// listeningLocked reports whether the socket accepts connections. Precondition: pending.mu
// held.
func (k *sock) listeningLocked() bool {
	return !k.pending.shut && !k.closed.Load() && tcp.EndpointState(k.ep.State()) == tcp.StateListen
}

func (k *sock) enqueue(c connection) {
	p := &k.pending
	p.mu.Lock()
	ok := len(p.list) < p.limit && k.payer.Take(charge.IPC, pendingCost)
	if ok {
		p.list = append(p.list, c)
	}
	p.mu.Unlock()
	if !ok {
		c.reset()
		return
	}
	k.Waiters.Wake(fs.EPOLLIN | fs.EPOLLRDNORM)
}

// dequeue takes a connection for Accept. EAGAIN; EINVAL: the socket does not listen.
func (k *sock) dequeue() (c connection, err error) {
	p := &k.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.list) > 0:
		c = p.list[0]
		p.list[0] = connection{}
		if p.list = p.list[1:]; len(p.list) == 0 {
			p.list = nil
		}
		k.payer.Give(charge.IPC, pendingCost)
		return c, nil
	case !k.listeningLocked():
		return c, syscall.EINVAL
	}
	return c, syscall.EAGAIN
}

func (k *sock) Accept(t fs.Task, nonblock bool) (fs.Sock, error) {
	if k.Type() != unix.SOCK_STREAM {
		return nil, syscall.EOPNOTSUPP
	}
	payer := k.n.payer(t)
	receive := k.accepted.Load()
	cost := sockCost + defaultBuffer + receive
	if !payer.Take(charge.IPC, cost) {
		return nil, syscall.ENOBUFS
	}
	var c connection
	err := fs.WaitFor(t, &k.Waiters, fs.EPOLLIN|fs.EPOLLHUP, k.Deadline(k.n.cfg.Monotonic(), false), nonblock, func() (err error) {
		c, err = k.dequeue()
		return err
	})
	if err != nil {
		payer.Give(charge.IPC, cost)
		return nil, err
	}
	c.ep.SocketOptions().SetReceiveBufferSize(receive, true)
	return k.n.newSock(t, k.Domain(), k.Type(), k.Protocol(), c.ep, c.wq, payer, cost), nil
}
