package fs

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sock is the part of a socket that other files do not have. Addresses are as in user
// memory: a family, and data whose form depends on the family. The methods may block in
// t.Sleep unless nonblock is set. They are called without locks of this package.
type Sock interface {
	Bind(at At, addr []byte) error
	Connect(at At, addr []byte, nonblock bool) error
	Listen(t Task, backlog int) error
	Accept(t Task, nonblock bool) (Sock, error)
	// Send sends m.Out. Only on success it takes over the references in m.Rights.
	Send(at At, m *Message, nonblock bool) (int, error)
	// Recv receives into m.In and sets the fields of m that describe the received message.
	Recv(t Task, m *Message, nonblock bool) (int, error)
	Shutdown(how int) error
	// Name returns the address of the socket, or of its peer.
	Name(peer bool) ([]byte, error)
	// Option and SetOption implement getsockopt(2) and setsockopt(2).
	Option(level, name int) ([]byte, error)
	SetOption(t Task, level, name int, value []byte) error
	Ioctl(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error)
	// Ready returns the EPOLL* bits that hold now. Changes are announced on Queue.
	Ready() uint32
	Queue() *WaitQueue
	// Attach gives the socket its description. It is called once, before the first use.
	Attach(f *File, ino uint64)
	// Close ends the socket. It may be called for a socket that has no description yet.
	Close()
}

// Message has the data of one call that sends or receives.
type Message struct {
	Out   Source
	In    Dest
	Flags int // MSG_* flags of the call

	// Addr is the destination or the origin; nil: the peer, or unknown.
	Addr []byte
	// Rights are descriptions that are sent along.
	Rights []*File
	// Cred are the credentials of the sender. In a received message, they are valid if
	// HasCred is set. In a message to be sent, HasCred means that they are always sent
	// along, even if the receiver has not requested credentials.
	Cred    Ucred
	HasCred bool

	Result int // MSG_* flags of the received message
}

// Ucred is struct ucred.
type Ucred struct {
	PID      int32
	UID, GID uint32
}

// socket is the handle of a socket.
type socket struct{ Sock }

// socketLabel is what /proc/PID/fd shows for a socket.
func socketLabel(ino uint64) string { return fmt.Sprintf("socket:[%d]", ino) }

// SocketFile makes the description of a socket. It takes over k, also if it fails. flags:
// SOCK_NONBLOCK. Error: ENFILE.
func (s *FS) SocketFile(t Task, k Sock, flags int) (*File, error) {
	n, err := s.newAnon(t, "", syscall.S_IFSOCK|0o777)
	if err != nil {
		k.Close()
		return nil, err
	}
	mode := unix.O_RDWR
	if flags&unix.SOCK_NONBLOCK != 0 {
		mode |= unix.O_NONBLOCK
	}
	f, err := s.newFile(t, n, &socket{k}, place{nil, socketLabel(n.ino)}, mode)
	if err == nil {
		k.Attach(f, n.ino)
	}
	return f, err
}

// Family makes sockets of a protocol family, by type and protocol.
type Family func(t Task, typ, protocol int) (Sock, error)

// AddFamily registers a family. It must be called at start-up.
func (s *FS) AddFamily(domain int, make Family) { s.families[domain] = make }

// sockTypes are the bits of a socket's type without the flags.
const sockTypes = 0xf

// Socket implements socket(2), without SOCK_CLOEXEC.
func (s *FS) Socket(t Task, domain, typ, protocol int) (*File, error) {
	if typ&^(sockTypes|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 || domain < 0 {
		return nil, syscall.EINVAL
	}
	if kind := typ & sockTypes; kind == 0 || kind > unix.SOCK_PACKET {
		return nil, syscall.EINVAL
	}
	make := s.families[domain]
	if make == nil {
		return nil, syscall.EAFNOSUPPORT
	}
	k, err := make(t, typ&sockTypes, protocol)
	if err != nil {
		return nil, err
	}
	return s.SocketFile(t, k, typ)
}

// Sock returns the socket of a description. Errors: ENOTSOCK; EBADF for O_PATH.
func (f *File) Sock() (Sock, error) {
	if k, ok := f.h.(*socket); ok {
		return k.Sock, nil
	}
	if f.Flags()&unix.O_PATH != 0 {
		return nil, syscall.EBADF
	}
	return nil, syscall.ENOTSOCK
}

// Accept implements accept4(2). flags are those of SocketFile.
func (f *File) Accept(t Task, flags int) (*File, error) {
	k, err := f.Sock()
	if err != nil {
		return nil, err
	}
	end, err := k.Accept(t, f.Flags()&unix.O_NONBLOCK != 0)
	if err != nil {
		return nil, err
	}
	return f.fs.SocketFile(t, end, flags)
}

// Nonblocking reports whether a call with these MSG_ flags must not block.
func (f *File) Nonblocking(flags int) bool {
	return flags&unix.MSG_DONTWAIT != 0 || f.Flags()&unix.O_NONBLOCK != 0
}

func (k *socket) read(c call, p []byte, _ int64) (int, error)  { return k.readTo(c, (*flat)(&p)) }
func (k *socket) write(c call, p []byte, _ int64) (int, error) { return k.writeFrom(c, (*flat)(&p)) }

func (k *socket) readTo(c call, d Dest) (int, error) {
	if d.Len() == 0 { // read(2) returns 0, unlike recv(2)
		return 0, nil
	}
	m := Message{In: d}
	n, err := k.Recv(c.task, &m, c.nonblock)
	for _, f := range m.Rights { // read(2) cannot return descriptors
		f.Release()
	}
	return n, err
}

func (k *socket) writeFrom(c call, s Source) (int, error) {
	m := Message{Out: s, Cred: ucredOf(c.task)}
	return k.Send(At{Task: c.task}, &m, c.nonblock)
}

func (k *socket) ready() uint32     { return k.Ready() }
func (k *socket) queue() *WaitQueue { return k.Queue() }
func (k *socket) close()            { k.Close() }
func (k *socket) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	return k.Ioctl(c.task, mem, req, arg)
}

// ucredOf returns the credentials of t, with the real user and group numbers.
func ucredOf(t Task) Ucred {
	if t == nil {
		return Ucred{}
	}
	pid, _ := t.IDs()
	c := t.Cred()
	return Ucred{int32(pid), c.UID, c.GID}
}

// WaitFor calls try until it returns something other than EAGAIN. Between two calls it
// waits for one of events in q. At the deadline it returns EAGAIN. With nonblock it calls
// try only once.
func WaitFor(t Task, q *WaitQueue, events uint32, deadline int64, nonblock bool, try func() error) error {
	err := try()
	if err != syscall.EAGAIN || nonblock {
		return err
	}
	b := bells.Get().(*bell)
	defer b.put()
	q.add(&b.w, events)
	defer b.w.remove()
	for {
		if err := try(); err != syscall.EAGAIN {
			return err
		}
		switch err := sleep(t, b.ch, deadline); {
		case timedOut(err):
			return syscall.EAGAIN
		case err != nil && deadline != Never: // socket(7): with a time limit the call is not restarted
			return syscall.EINTR
		case err != nil:
			return err
		}
	}
}

// SockOptions has the options that all families share, and the queue of the waiting
// threads.
type SockOptions struct {
	Waiters            WaitQueue
	recvLimit          atomic.Int64 // SO_RCVTIMEO in nanoseconds; 0: none
	sendLimit          atomic.Int64
	lowWater           atomic.Int32 // SO_RCVLOWAT less 1
	flags              atomic.Uint32
	linger             atomic.Uint64
	priority, mark     atomic.Int32
	domain, typ, proto int32
}

// InitOptions sets the kind of socket, for getsockopt(2).
func (o *SockOptions) InitOptions(domain, typ, protocol int) {
	o.domain, o.typ, o.proto = int32(domain), int32(typ), int32(protocol)
}

// Type returns the type: SOCK_STREAM and so on.
func (o *SockOptions) Type() int { return int(o.typ) }

// Protocol returns the protocol (SO_PROTOCOL).
func (o *SockOptions) Protocol() int { return int(o.proto) }

// Domain returns the family (SO_DOMAIN).
func (o *SockOptions) Domain() int { return int(o.domain) }

// Queue implements Sock.
func (o *SockOptions) Queue() *WaitQueue { return &o.Waiters }

// Deadline returns the time by which a call that begins now must end. send selects the
// limit for sending.
func (o *SockOptions) Deadline(now int64, send bool) int64 {
	limit := o.recvLimit.Load()
	if send {
		limit = o.sendLimit.Load()
	}
	if limit == 0 || limit > Never-now {
		return Never
	}
	return now + limit
}

// Target returns how many bytes a recv(2) of n bytes waits for.
func (o *SockOptions) Target(n, flags int) int {
	if flags&unix.MSG_WAITALL != 0 {
		return n
	}
	return max(1, min(n, int(o.lowWater.Load())+1))
}

// flagOptions are the options of SOL_SOCKET that are on or off. They are only stored; a
// family may look at them.
var flagOptions = map[int]uint{
	unix.SO_DEBUG: 0, unix.SO_REUSEADDR: 1, unix.SO_DONTROUTE: 2, unix.SO_BROADCAST: 3, unix.SO_KEEPALIVE: 4,
	unix.SO_OOBINLINE: 5, unix.SO_REUSEPORT: 6, unix.SO_TIMESTAMP: 7, unix.SO_NO_CHECK: 8, unix.SO_PASSSEC: 9,
	unix.SO_RXQ_OVFL: 10, unix.SO_TIMESTAMPNS: 11, unix.SO_ZEROCOPY: 12, unix.SO_SELECT_ERR_QUEUE: 13, unix.SO_WIFI_STATUS: 14,
}

// IntOption returns the encoding of an int as the value of an option.
func IntOption(v int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

// BoolOption is IntOption of 1 or 0.
func BoolOption(v bool) []byte {
	if v {
		return IntOption(1)
	}
	return IntOption(0)
}

// OptionInt returns the int in a value that a caller has given. Error: EINVAL.
func OptionInt(value []byte) (int, error) {
	if len(value) < 4 {
		return 0, syscall.EINVAL
	}
	return int(int32(binary.LittleEndian.Uint32(value))), nil
}

// CommonOption is Option for the options of SOL_SOCKET of all families. Error: ENOPROTOOPT.
func (o *SockOptions) CommonOption(name int) ([]byte, error) {
	if bit, ok := flagOptions[name]; ok {
		return BoolOption(o.flags.Load()&(1<<bit) != 0), nil
	}
	switch name {
	case unix.SO_TYPE:
		return IntOption(int(o.typ)), nil
	case unix.SO_DOMAIN:
		return IntOption(int(o.domain)), nil
	case unix.SO_PROTOCOL:
		return IntOption(int(o.proto)), nil
	case unix.SO_RCVLOWAT:
		return IntOption(int(o.lowWater.Load()) + 1), nil
	case unix.SO_SNDLOWAT:
		return IntOption(1), nil
	case unix.SO_PRIORITY:
		return IntOption(int(o.priority.Load())), nil
	case unix.SO_MARK:
		return IntOption(int(o.mark.Load())), nil
	case unix.SO_LINGER:
		return binary.LittleEndian.AppendUint64(nil, o.linger.Load()), nil
	case unix.SO_RCVTIMEO:
		return timeOption(o.recvLimit.Load()), nil
	case unix.SO_SNDTIMEO:
		return timeOption(o.sendLimit.Load()), nil
	case unix.SO_PEEK_OFF:
		return IntOption(-1), nil
	case unix.SO_BINDTODEVICE:
		return nil, nil
	}
	return nil, syscall.ENOPROTOOPT
}

// timeOption returns the encoding of a struct timeval.
func timeOption(ns int64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(ns/1e9))
	return binary.LittleEndian.AppendUint64(b, uint64(ns%1e9/1e3))
}

// SetCommonOption sets an option that CommonOption returns. ENOPROTOOPT, EINVAL, EDOM.
func (o *SockOptions) SetCommonOption(name int, value []byte) error {
	v, err := OptionInt(value)
	if err != nil {
		return err
	}
	if bit, ok := flagOptions[name]; ok {
		if v != 0 {
			o.flags.Or(1 << bit)
		} else {
			o.flags.And(^uint32(1 << bit))
		}
		return nil
	}
	switch name {
	case unix.SO_RCVLOWAT:
		if v < 0 {
			v = 1<<31 - 1
		}
		o.lowWater.Store(int32(max(v, 1) - 1))
	case unix.SO_PRIORITY:
		o.priority.Store(int32(v))
	case unix.SO_MARK:
		o.mark.Store(int32(v))
	case unix.SO_LINGER:
		if len(value) < 8 {
			return syscall.EINVAL
		}
		o.linger.Store(binary.LittleEndian.Uint64(value))
	case unix.SO_RCVTIMEO:
		return setTime(&o.recvLimit, value)
	case unix.SO_SNDTIMEO:
		return setTime(&o.sendLimit, value)
	default:
		return syscall.ENOPROTOOPT
	}
	return nil
}

// Flag reports whether an option of flagOptions is on.
func (o *SockOptions) Flag(name int) bool { return o.flags.Load()&(1<<flagOptions[name]) != 0 }

func setTime(to *atomic.Int64, value []byte) error {
	if len(value) < 16 {
		return syscall.EINVAL
	}
	sec, usec := int64(binary.LittleEndian.Uint64(value)), int64(binary.LittleEndian.Uint64(value[8:]))
	switch {
	case usec < 0 || usec >= 1e6:
		return syscall.EDOM
	case sec < 0: // the limit has passed already
		to.Store(1)
	case sec > Never/1e9-1:
		to.Store(0)
	default:
		to.Store(sec*1e9 + usec*1e3)
	}
	return nil
}
