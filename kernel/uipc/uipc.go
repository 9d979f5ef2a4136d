// Package uipc implements sockets between processes of one machine (AF_UNIX, unix(7)):
// streams, datagrams, records, names in the abstract name space, connections, and sending
// of descriptors and credentials.
//
// The package knows neither descriptors nor paths nor how a thread sleeps. An operation
// that would have to wait returns EAGAIN. The caller then waits until the function of
// SetNotify has been called, and tries again. A descriptor is a File. The package can take
// and release references on it, and can find the socket behind it.
//
// Bytes are kept in page frames, for which the sender's user pays until they have been
// received or thrown away. The same user is charged for the memory that a message needs
// besides its bytes.
//
// Locks, outermost first:
//
//	System.mu       names, states, connections, backlogs, descriptors in flight
//	    Socket.in.mu    what has been sent to one socket and not been received
//
// The in.mu of two sockets are never held at the same time. Bytes are copied from and to
// user memory with in.mu held, without sleeping. No lock is held while a function of
// SetNotify is called, a File is released, user memory is faulted in, or long work lets
// others run.
package uipc

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"grim/mm/charge"
	"grim/mm/phys"
)

// File is an open file description that can be sent.
type File interface {
	// Hold takes a reference, Release drops one.
	Hold()
	Release()
	// Fly adds to the number of references that are in flight.
	Fly(n int32)
	// Grounded reports whether there is a reference that is not in flight.
	Grounded() bool
	// Unix returns the socket of the description, or nil if it is not a socket.
	Unix() *Socket
}

// Cred has the credentials of the process that has sent a message or made a connection.
type Cred struct {
	PID      int32
	UID, GID uint32
}

// Nobody are the credentials that a receiver gets if the sender's were not recorded.
var Nobody = Cred{UID: 65534, GID: 65534}

// System has all sockets of a machine.
type System struct {
	mem   *phys.Memory
	yield func()

	mu      sync.Mutex
	names   map[abstract]*Socket // [mu]
	all     map[*Socket]struct{} // [mu] open sockets
	flying  map[*Socket]int      // [mu] number of references in flight to each socket, if there are any
	flights map[uint32]int       // [mu] number of descriptors in flight, by the senders' user number
	lastPad uint32               // [mu] last name made by Autobind
	gc      collection           // [mu]

	turn  int            // [I] collectTurn
	later func(f func()) // [I] calls f in another goroutine
}

// NewSystem makes a System without sockets, which takes its frames from mem. yield lets
// other threads run in long work.
func NewSystem(mem *phys.Memory, yield func()) *System {
	return &System{
		mem: mem, yield: yield, turn: collectTurn, later: func(f func()) { go f() }, names: map[abstract]*Socket{}, all: map[*Socket]struct{}{}, flying: map[*Socket]int{}, flights: map[uint32]int{},
	}
}

// abstract is an abstract name. The names of sockets of different types are independent.
type abstract struct {
	typ  int
	name string
}

// state is the state of a socket's connection.
//
//	idle -Listen-> listening
//	idle -Connect, Pair-> connected       (datagrams: and back, or to another peer)
//	any  -Close-> closed
type state uint8

const (
	idle state = iota
	listening
	connected
	closed
)

// Directions of Shutdown.
const (
	shutRead  = 1
	shutWrite = 2
	shutBoth  = shutRead | shutWrite
)

// Limits of unix(7) and socket(7).
const (
	// DefaultBuffer is net.core.wmem_default, MaxBuffer the most that SO_SNDBUF gives.
	DefaultBuffer = 212992
	MaxBuffer     = 2 * 212992
	minBuffer     = 4608
	// maxDatagrams is net.unix.max_dgram_qlen. One datagram more than this may wait for a
	// receiver.
	maxDatagrams = 10
	// MaxBacklog is net.core.somaxconn.
	MaxBacklog = 4096
	// MaxRights is SCM_MAX_FD.
	MaxRights = 253
	// messageCost is the cost of a message in a send buffer, besides its bytes.
	messageCost = 576
)

// Socket is one end of a connection, or a listening or unconnected socket.
type Socket struct {
	sys *System
	// Type is SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET. [I]
	Type  int
	told  atomic.Pointer[func(events uint32)] // see SetNotify
	file  File                                // [System.mu] nil before Attach
	inode uint64                              // [System.mu]
	payer *charge.User                        // [I]

	attached atomic.Bool // file is set
	passCred atomic.Bool
	sendBuf  atomic.Int64
	recvBuf  atomic.Int64
	sent     atomic.Int64 // bytes that have not been received yet, with the cost of their messages
	shut     atomic.Uint32
	fault    atomic.Uint32 // SO_ERROR
	peer     atomic.Pointer[Socket]
	name     atomic.Pointer[string] // sun_path; set once; nil: none
	phase    atomic.Uint32          // state; written under System.mu

	// [System.mu]
	backlog  []*Socket // connections that have not been accepted
	accepted int       // number of connections that have been
	limit    int       // of the backlog, by Listen
	cred     Cred      // SO_PEERCRED
	listener *Socket   // the listener whose backlog it is in
	// waits are the sockets that must be notified when this one has room again. waitsAt are
	// the sockets for which this one waits.
	waits, waitsAt map[*Socket]struct{}
	// drain is the list of the thread that releases a descriptor of this socket.
	drain *drain
	gc    mark

	in queue
}

// socketCost is the charge for a socket, without its description. The socket may keep its
// last peer, which is closed, and both have names.
const socketCost = 2*(int64(unsafe.Sizeof(Socket{}))+sunPath) + 2*mapSlot

const (
	sunPath = 108 // of struct sockaddr_un
	mapSlot = 64  // an element of a map
)

func (s *Socket) state() state      { return state(s.phase.Load()) }
func (s *Socket) setState(to state) { s.phase.Store(uint32(to)) }

// stream reports that bounds between messages are not visible. connective reports that the
// socket must be connected before it can send.
func (s *Socket) stream() bool     { return s.Type == unix.SOCK_STREAM }
func (s *Socket) connective() bool { return s.Type != unix.SOCK_DGRAM }

// New makes a socket of a type. payer pays for it. Errors: ENFILE, ESOCKTNOSUPPORT.
func (sys *System) New(typ int, payer *charge.User) (*Socket, error) {
	switch typ {
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
	case unix.SOCK_RAW: // means a datagram socket
		typ = unix.SOCK_DGRAM
	default:
		return nil, syscall.ESOCKTNOSUPPORT
	}
	if !payer.Take(charge.IPC, socketCost) {
		return nil, syscall.ENFILE
	}
	s := &Socket{sys: sys, Type: typ, payer: payer}
	s.sendBuf.Store(DefaultBuffer)
	s.recvBuf.Store(DefaultBuffer)
	sys.mu.Lock()
	sys.all[s] = struct{}{}
	sys.mu.Unlock()
	return s, nil
}

// SetNotify sets a function that is called when EPOLL* bits may hold that did not hold
// before. It is called without locks of this package.
func (s *Socket) SetNotify(f func(events uint32)) { s.told.Store(&f) }

func (s *Socket) notify(events uint32) {
	if f := s.told.Load(); f != nil {
		(*f)(events)
	}
}

// Attach gives the socket its description and inode number.
func (s *Socket) Attach(f File, inode uint64) {
	s.sys.mu.Lock()
	s.file, s.inode = f, inode
	s.attached.Store(true)
	s.sys.mu.Unlock()
}

// Pair connects two new sockets. who are the credentials of their maker.
func Pair(a, b *Socket, who Cred) {
	a.sys.mu.Lock()
	defer a.sys.mu.Unlock()
	a.cred, b.cred = who, who
	a.peer.Store(b)
	b.peer.Store(a)
	a.setState(connected)
	b.setState(connected)
}

// Name returns the socket's own name in the form of sun_path: abstract names begin with a
// NUL, and paths have no NUL at the end. Empty: the socket has no name.
func (s *Socket) Name() string {
	if p := s.name.Load(); p != nil {
		return *p
	}
	return ""
}

// PeerName returns the name of the socket at the other end. Error: ENOTCONN.
func (s *Socket) PeerName() (string, error) {
	p := s.peer.Load()
	if p == nil {
		return "", syscall.ENOTCONN
	}
	return p.Name(), nil
}

// Bind gives the socket an abstract name, or the path that leads to it. EINVAL: it has a
// name already. EADDRINUSE.
func (s *Socket) Bind(name string) error {
	s.sys.mu.Lock()
	defer s.sys.mu.Unlock()
	return s.bindLocked(name)
}

func (s *Socket) bindLocked(name string) error {
	if s.name.Load() != nil || s.state() == closed {
		return syscall.EINVAL
	}
	name = strings.Clone(name)
	if name[0] == 0 {
		if s.sys.names[abstract{s.Type, name}] != nil {
			return syscall.EADDRINUSE
		}
		s.sys.names[abstract{s.Type, name}] = s
	}
	s.name.Store(&name)
	return nil
}

// Autobind gives a socket without a name an abstract name of five digits.
func (s *Socket) Autobind() error {
	sys := s.sys
	sys.mu.Lock()
	defer sys.mu.Unlock()
	if s.name.Load() != nil {
		return nil
	}
	const all = 1 << 20
	for range all {
		name := fmt.Sprintf("\x00%05x", sys.lastPad)
		sys.lastPad = (sys.lastPad + 1) % all
		if sys.names[abstract{s.Type, name}] == nil {
			return s.bindLocked(name)
		}
	}
	return syscall.ENOSPC
}

// Find returns the socket of a type with an abstract name. ECONNREFUSED: there is none.
func (sys *System) Find(typ int, name string) (*Socket, error) {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	if s := sys.names[abstract{typ, name}]; s != nil {
		return s, nil
	}
	return nil, syscall.ECONNREFUSED
}

// Listen makes a socket accept connections, or changes the size of its backlog.
func (s *Socket) Listen(backlog int, who Cred) error {
	if !s.connective() {
		return syscall.EOPNOTSUPP
	}
	s.sys.mu.Lock()
	if s.name.Load() == nil || s.state() != idle && s.state() != listening {
		s.sys.mu.Unlock()
		return syscall.EINVAL
	}
	if backlog < 0 || backlog > MaxBacklog {
		backlog = MaxBacklog
	}
	s.limit, s.cred = backlog, who
	s.setState(listening)
	wake := s.roomLocked()
	s.sys.mu.Unlock()
	notify(wake, unix.EPOLLOUT)
	return nil
}

// Connect connects to another socket. EAGAIN: its backlog is full; SetNotify's function is
// called when there is room. If to is nil, the association of a datagram socket ends.
func (s *Socket) Connect(to *Socket, who Cred) error {
	if !s.connective() {
		return s.associate(to, who)
	}
	if to == nil {
		return syscall.EINVAL
	}
	switch {
	case to.Type != s.Type:
		if to.state() == closed {
			return syscall.ECONNREFUSED
		}
		return syscall.EPROTOTYPE
	case s.state() == connected:
		return syscall.EISCONN
	}
	end, err := s.sys.New(to.Type, s.payer) // the socket that accept will return
	if err != nil {
		return syscall.ENOMEM
	}
	s.sys.mu.Lock()
	switch {
	case to.state() != listening || to.shut.Load()&shutRead != 0:
		err = syscall.ECONNREFUSED
	case s.state() == connected:
		err = syscall.EISCONN
	case s.state() != idle:
		err = syscall.EINVAL
	case len(to.backlog) > to.limit:
		s.waitFor(to)
		err = syscall.EAGAIN
	}
	if err != nil {
		s.sys.mu.Unlock()
		end.Close()
		return err
	}
	end.cred, s.cred = who, to.cred
	end.name.Store(to.name.Load())
	end.passCred.Store(to.passCred.Load())
	end.peer.Store(s)
	s.peer.Store(end)
	end.setState(connected)
	s.setState(connected)
	end.listener = to
	to.backlog = append(to.backlog, end)
	s.sys.mu.Unlock()
	to.notify(unix.EPOLLIN | unix.EPOLLRDNORM)
	return nil
}

// waitFor makes to notify s when it has room. Precondition: System.mu held.
func (s *Socket) waitFor(to *Socket) {
	if to.waits == nil {
		to.waits = map[*Socket]struct{}{}
	}
	if s.waitsAt == nil {
		s.waitsAt = map[*Socket]struct{}{}
	}
	to.waits[s] = struct{}{}
	s.waitsAt[to] = struct{}{}
}

// roomLocked returns the sockets that wait for s, and ends their waits. Precondition:
// System.mu held.
func (s *Socket) roomLocked() (list []*Socket) {
	for w := range s.waits {
		delete(w.waitsAt, s)
		list = append(list, w)
	}
	s.waits = nil
	return list
}

func notify(list []*Socket, events uint32) {
	for _, s := range list {
		s.notify(events)
	}
}

// associate is Connect for a datagram socket.
func (s *Socket) associate(to *Socket, who Cred) error {
	sys := s.sys
	sys.mu.Lock()
	var err error
	switch {
	case to == nil:
	case to.state() == closed:
		err = syscall.ECONNREFUSED
	case to.Type != s.Type:
		err = syscall.EPROTOTYPE
	case !to.hears(s):
		err = syscall.EPERM
	}
	old := s.peer.Load()
	if err != nil || old == to {
		sys.mu.Unlock()
		return err
	}
	s.peer.Store(to)
	s.setState(idle)
	if to != nil {
		s.setState(connected)
		s.cred = who
	}
	var first, last *message
	var wake []*Socket
	if old != nil {
		// Messages from the old association must not reach the new one. Sockets that wait for
		// room in the queue have it now, or learn that they are not heard any more.
		first, last = s.in.detach()
		wake = s.roomLocked()
		if old.peer.Load() == s {
			old.fault.Store(uint32(syscall.ECONNRESET))
		} else {
			old = nil
		}
	}
	sys.mu.Unlock()
	sys.throwAway(first, last, nil)
	notify(wake, unix.EPOLLOUT|unix.EPOLLWRNORM)
	if old != nil {
		old.notify(unix.EPOLLERR | unix.EPOLLIN | unix.EPOLLOUT)
	}
	return nil
}

// hears reports whether a datagram socket takes messages from from. A connected socket
// takes only its peer's.
func (s *Socket) hears(from *Socket) bool {
	p := s.peer.Load()
	return p == nil || p == from
}

// Accept takes a connection. EAGAIN; EINVAL: the socket does not listen; EOPNOTSUPP.
func (s *Socket) Accept() (*Socket, error) {
	if !s.connective() {
		return nil, syscall.EOPNOTSUPP
	}
	s.sys.mu.Lock()
	if s.state() != listening {
		s.sys.mu.Unlock()
		return nil, syscall.EINVAL
	}
	if len(s.backlog) == 0 {
		err := syscall.EAGAIN
		if s.shut.Load()&shutRead != 0 {
			err = syscall.EINVAL
		}
		s.sys.mu.Unlock()
		return nil, err
	}
	end := s.backlog[0]
	s.backlog[0] = nil
	s.backlog = s.backlog[1:]
	s.accepted++
	end.listener = nil
	s.sys.gc.touch(end)
	wake := s.roomLocked()
	s.sys.mu.Unlock()
	notify(wake, unix.EPOLLOUT)
	return end, nil
}

// Shutdown implements shutdown(2). how is SHUT_RD, SHUT_WR or SHUT_RDWR.
func (s *Socket) Shutdown(how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return syscall.EINVAL
	}
	bits := uint32(how + 1)
	s.sys.mu.Lock()
	s.shut.Or(bits)
	p := s.peer.Load()
	if p != nil && s.connective() {
		p.shut.Or((bits&shutRead)<<1 | bits>>1)
	} else {
		p = nil
	}
	wake := s.roomLocked()
	s.sys.mu.Unlock()
	const events = unix.EPOLLIN | unix.EPOLLRDNORM | unix.EPOLLRDHUP | unix.EPOLLOUT | unix.EPOLLWRNORM | unix.EPOLLHUP
	notify(wake, unix.EPOLLOUT)
	s.notify(events)
	if p != nil {
		p.notify(events)
	}
	return nil
}

// Close closes a socket. Its name becomes free, its peer is notified, and messages that it
// has not received are thrown away, with their descriptors.
func (s *Socket) Close() {
	sys := s.sys
	sys.mu.Lock()
	if s.state() == closed {
		panic("uipc: socket closed twice")
	}
	waiting := s.backlog
	s.backlog = nil
	was := s.state()
	s.setState(closed)
	s.shut.Store(shutBoth)
	delete(sys.all, s)
	if n := s.name.Load(); n != nil && (*n)[0] == 0 && sys.names[abstract{s.Type, *n}] == s {
		delete(sys.names, abstract{s.Type, *n})
	}
	for w := range s.waitsAt {
		delete(w.waits, s)
	}
	s.waitsAt = nil
	wake := s.roomLocked()
	s.in.mu.Lock()
	s.in.closed = true
	first, last := s.in.detachLocked()
	s.in.mu.Unlock()
	p := s.peer.Load()
	if was == connected && s.connective() {
		p.shut.Or(shutBoth)
		if first != nil || s.listener != nil || s.file == nil {
			p.fault.Store(uint32(syscall.ECONNRESET))
		}
		wake = append(wake, p)
	}
	s.listener = nil
	in := s.drain
	// The peer keeps this socket, so this socket must not keep others.
	s.peer.Store(nil)
	s.told.Store(nil)
	sys.mu.Unlock()
	for i, end := range waiting { // they will never be accepted
		end.Close()
		if i%16 == 15 {
			sys.yield()
		}
	}
	sys.throwAway(first, last, in)
	notify(wake, unix.EPOLLIN|unix.EPOLLRDNORM|unix.EPOLLRDHUP|unix.EPOLLOUT|unix.EPOLLWRNORM|unix.EPOLLHUP|unix.EPOLLERR)
	s.payer.Give(charge.IPC, socketCost)
}

// Ready returns the EPOLL* bits that hold now.
func (s *Socket) Ready() uint32 {
	var r uint32
	shut, st := s.shut.Load(), s.state()
	if s.fault.Load() != 0 {
		r |= unix.EPOLLERR
	}
	if shut == shutBoth {
		r |= unix.EPOLLHUP
	}
	if shut&shutRead != 0 {
		r |= unix.EPOLLRDHUP | unix.EPOLLIN | unix.EPOLLRDNORM
	}
	if st == listening {
		s.sys.mu.Lock()
		some := len(s.backlog) > 0
		s.sys.mu.Unlock()
		if some {
			r |= unix.EPOLLIN | unix.EPOLLRDNORM
		}
		return r
	}
	if s.in.pending() {
		r |= unix.EPOLLIN | unix.EPOLLRDNORM
	}
	if s.connective() && st == idle {
		r |= unix.EPOLLHUP
	}
	if s.writable() && s.peerHasRoom() {
		r |= unix.EPOLLOUT | unix.EPOLLWRNORM | unix.EPOLLWRBAND
	}
	return r
}

// writable reports whether the send buffer has enough room: three quarters of it, so that a
// thread that was woken can send more than a byte.
func (s *Socket) writable() bool { return s.sent.Load()*4 <= s.sendBuf.Load() }

// peerHasRoom returns false for a datagram socket whose peer takes no more messages. s is
// then notified when it does.
func (s *Socket) peerHasRoom() bool {
	if s.connective() {
		return true
	}
	p := s.peer.Load()
	if p == nil || p.peer.Load() == s || !p.in.full() {
		return true
	}
	s.sys.mu.Lock()
	defer s.sys.mu.Unlock()
	return !s.waitIfFullLocked(p)
}

// waitIfFullLocked makes s wait for room at p if p has none, and reports whether it does.
// Precondition: System.mu held.
func (s *Socket) waitIfFullLocked(p *Socket) bool {
	if p.state() == closed {
		return false
	}
	s.waitFor(p)
	if p.in.full() { // checked after the entry was made, which the receiver looks for
		return true
	}
	delete(p.waits, s)
	delete(s.waitsAt, p)
	return false
}

// Options.
func (s *Socket) PassCred() bool      { return s.passCred.Load() }
func (s *Socket) SetPassCred(on bool) { s.passCred.Store(on) }
func (s *Socket) Listening() bool     { return s.state() == listening }
func (s *Socket) Connected() bool     { return s.state() == connected }
func (s *Socket) Buffers() (send, recv int) {
	return int(s.sendBuf.Load()), int(s.recvBuf.Load())
}

// SetSendBuffer implements SO_SNDBUF. It sets twice the given size, as messages have a cost
// too.
func (s *Socket) SetSendBuffer(n int) {
	s.sendBuf.Store(int64(max(minBuffer, 2*min(max(n, 0), MaxBuffer/2))))
	s.notify(unix.EPOLLOUT | unix.EPOLLWRNORM)
}

// SetRecvBuffer implements SO_RCVBUF. The value is only kept: the sender's buffer is the
// limit.
func (s *Socket) SetRecvBuffer(n int) {
	s.recvBuf.Store(int64(max(2304, 2*min(max(n, 0), MaxBuffer/2))))
}

// TakeError implements SO_ERROR. It clears the error.
func (s *Socket) TakeError() syscall.Errno { return syscall.Errno(s.fault.Swap(0)) }

// PeerCred implements SO_PEERCRED.
func (s *Socket) PeerCred() Cred {
	s.sys.mu.Lock()
	defer s.sys.mu.Unlock()
	if s.state() == idle && s.cred == (Cred{}) {
		return Cred{0, ^uint32(0), ^uint32(0)}
	}
	return s.cred
}

// Unread returns how many bytes can be received (FIONREAD). For datagrams it counts the
// first message.
func (s *Socket) Unread() int { return s.in.bytes(s.connective()) }

// Unsent returns how much of the send buffer is in use (TIOCOUTQ).
func (s *Socket) Unsent() int { return int(s.sent.Load()) }

// Info has the data for a line of /proc/net/unix.
type Info struct {
	Type      int
	Listening bool
	Connected bool
	Inode     uint64
	Name      string
}

// Sockets returns the open sockets that have a description. Those that are made or closed
// meanwhile may be missing or not.
func (sys *System) Sockets() (list []Info) {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	steps := 0
	for s := range sys.all {
		if steps++; steps%64 == 0 {
			sys.mu.Unlock()
			sys.yield()
			sys.mu.Lock()
		}
		list = append(list, Info{s.Type, s.state() == listening, s.state() == connected, s.inode, s.Name()})
	}
	return list
}
