// Package inet is sockets of the Internet: TCP, UDP and ICMP over IPv4 and IPv6 by
// gVisor's network stack (gvisor.dev/gvisor/pkg/tcpip), as package fs wants sockets, with
// what Linux tells of interfaces, routes and connections: ioctl(2) requests, /proc/net, and
// the dumps of NETLINK_ROUTE.
//
// The stack starts with the first socket. Until then nothing of it runs. Its goroutines
// are its own, and its memory is on the kernel's heap. A socket is charged for its
// buffers when it is made, whether they are full or not. A connection that nobody has
// accepted has a small receive buffer, and the listener's user pays for it. What a
// connection still holds after close is charged until the stack has forgotten it
// (sock.settle).
//
// Locks: Net.mu, Net.waitMu and the locks of a socket's queues are innermost. sock.mu is
// outside of waitMu. It is also taken with an endpoint's locks (gVisor's) held, so no
// function of an endpoint that takes these is called with it. Bytes are copied from and to
// user memory with locks of one endpoint's readers held, which may wait for a page.
package inet

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"grim/kernel/dhcp"
	"grim/kernel/fs"
	"grim/mm/charge"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Config is what the network needs of the rest of the kernel.
type Config struct {
	// Random fills p with unpredictable bytes. It may be called by several goroutines at a
	// time. Required.
	Random func(p []byte)
	// Monotonic is the clock of deadlines, nanoseconds. Required.
	Monotonic func() int64
	// Link opens the network device when the stack starts; nil, or a nil result: there is
	// none.
	Link func() (stack.LinkEndpoint, error)
	// LinkGoroutines is how many goroutines an open device keeps.
	LinkGoroutines int
	// Address and Gateway are the device's; not valid: none. DHCP gets them from a server,
	// and tells NameServers, which may be nil, what servers there are for names.
	Address     netip.Prefix
	Gateway     netip.Addr
	DHCP        bool
	NameServers func([]netip.Addr)
	// Kernel pays for accepted sockets that no task stands behind.
	Kernel *charge.User
	// Log takes messages for the console.
	Log func(line string)
}

// Numbers of the interfaces.
const (
	loNIC  = 1
	ethNIC = 2
)

// Sizes of buffers.
const (
	defaultBuffer = 32 << 10
	maxBuffer     = 256 << 10
	// sockCost is what a socket is charged beside its buffers. TestSizes measures it.
	sockCost = 12 << 10
	// pendingBuffer is the receive buffer of a connection that nobody has accepted, and
	// pendingCost what the listener's user is charged for it.
	pendingBuffer = 8 << 10
	pendingCost   = sockCost + pendingBuffer
	// maxBacklog is net.core.somaxconn.
	maxBacklog = 4096
	// stackBacklog is how many connections the stack's queue of a listener holds. They leave
	// it at once.
	stackBacklog = 128
	// maxGroups is net.ipv4.igmp_max_memberships, and groupCost what a socket is charged for
	// a group.
	maxGroups = 20
	groupCost = 1 << 10
)

// Time limits of connections that are closed.
const (
	// timeWait is how long a connection stays in TIME-WAIT. Above maxTimeWaits (Linux's
	// tcp_max_tw_buckets) there is none.
	timeWait     = 500 * time.Millisecond
	maxTimeWaits = 128
	// finWait is how long the peer may take to end the connection, too.
	finWait = 10 * time.Second
	// lastBytes is how long it may take to receive what was sent before the close. Linux
	// stops after tcp_orphan_retries, whose time depends on the connection.
	lastBytes = time.Minute
)

// Net is the network of a machine.
type Net struct {
	cfg       Config
	clock     tcpip.Clock   // [I] the stack's
	firstWait time.Duration // [I]
	start     sync.Once
	stack     *stack.Stack // [I] after start

	routes []tcpip.Route           // [I] after start: those that do not depend on eth0's address
	eth    tcpip.AddressWithPrefix // eth0's IPv4 address; setAddress's

	endDHCP func() // [I] after start: ends the client, in tests

	standing int // [I] after start: goroutines of the device and of its DHCP client

	waitMu    sync.Mutex
	timeWaits int64 // [waitMu] connections in TIME-WAIT that are closed
	crowded   bool  // [waitMu] there is no TIME-WAIT at the moment

	mu      sync.Mutex
	socks   map[*sock]struct{} // [mu]
	started bool               // [mu]
}

// New makes the network's families known to s. Nothing runs yet.
func New(s *fs.FS, c Config) *Net {
	n := &Net{cfg: c, clock: tcpip.NewStdClock(), socks: map[*sock]struct{}{}, firstWait: firstWait}
	s.AddFamily(unix.AF_INET, n.family(unix.AF_INET))
	s.AddFamily(unix.AF_INET6, n.family(unix.AF_INET6))
	s.AddFamily(unix.AF_NETLINK, n.netlink)
	s.SetNetIoctl(n.Ioctl)
	n.texts(s)
	return n
}

// reader is Random as an io.Reader, and source as a rand.Source.
type reader func(p []byte)

func (r reader) Read(p []byte) (int, error) {
	r(p)
	return len(p), nil
}

// run starts the stack, once.
func (n *Net) run() *stack.Stack {
	n.start.Do(func() {
		var seed [32]byte
		n.cfg.Random(seed[:])
		n.stack = stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
			Clock:              n.clock,
			HandleLocal:        true,
			RawFactory:         raw.EndpointFactory{},
			SecureRNG:          io.Reader(reader(n.cfg.Random)),
			RandSource:         &lockedSource{src: rand.NewChaCha8(seed)},
		})
		n.limits()
		n.interfaces()
		n.mu.Lock()
		n.started = true
		n.mu.Unlock()
	})
	return n.stack
}

// Stack returns the stack, for connections of kernel tasks. It starts the stack.
func (n *Net) Stack() *stack.Stack { return n.run() }

// lockedSource is a math/rand Source that several goroutines may use.
type lockedSource struct {
	mu  sync.Mutex
	src *rand.ChaCha8
}

func (l *lockedSource) Int63() int64 { return int64(l.Uint64() >> 1) }
func (l *lockedSource) Seed(int64)   {}
func (l *lockedSource) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.src.Uint64()
}

// limits bounds buffers and what closed connections leave behind.
func (n *Net) limits() {
	s := n.stack
	must := func(err tcpip.Error) {
		if err != nil {
			panic("inet: an option of the stack: " + err.String())
		}
	}
	must(s.SetOption(tcpip.SendBufferSizeOption{Min: 4096, Default: defaultBuffer, Max: maxBuffer}))
	must(s.SetOption(tcpip.ReceiveBufferSizeOption{Min: 4096, Default: defaultBuffer, Max: maxBuffer}))
	set := func(o tcpip.SettableTransportProtocolOption) {
		must(s.SetTransportProtocolOption(tcp.ProtocolNumber, o))
	}
	set(&tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: defaultBuffer, Max: maxBuffer})
	set(&tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: defaultBuffer, Max: maxBuffer})
	moderate := tcpip.TCPModerateReceiveBufferOption(false)
	set(&moderate)
	sack := tcpip.TCPSACKEnabled(true)
	set(&sack)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	set(&wait)
	linger := tcpip.TCPLingerTimeoutOption(finWait)
	set(&linger)
}

// countTimeWaits adds to the number of connections in TIME-WAIT. It is called before one
// begins to wait, with locks of its endpoint held.
func (n *Net) countTimeWaits(more int64) {
	n.waitMu.Lock()
	defer n.waitMu.Unlock()
	n.timeWaits += more
	crowded := n.timeWaits > maxTimeWaits
	if crowded == n.crowded {
		return
	}
	n.crowded = crowded
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	if crowded {
		wait = 0
	}
	if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &wait); err != nil {
		panic("inet: TIME-WAIT: " + err.String())
	}
}

// interfaces makes lo, and eth0 if there is a device.
func (n *Net) interfaces() {
	s := n.stack
	n.say("lo", s.CreateNICWithOptions(loNIC, loopback.New(), stack.NICOptions{Name: "lo"}))
	local4 := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{127, 0, 0, 1}), PrefixLen: 8}
	local6 := tcpip.AddressWithPrefix{Address: header.IPv6Loopback, PrefixLen: 128}
	n.addAddress(loNIC, ipv4.ProtocolNumber, local4)
	n.addAddress(loNIC, ipv6.ProtocolNumber, local6)
	n.routes = []tcpip.Route{
		{Destination: local4.Subnet(), NIC: loNIC},
		{Destination: local6.Subnet(), NIC: loNIC},
	}
	s.SetRouteTable(n.routes)
	if n.cfg.Link == nil {
		return
	}
	ep, err := n.cfg.Link()
	if err != nil {
		n.cfg.Log("network: " + err.Error())
	}
	if err != nil || ep == nil || !n.say("eth0", s.CreateNICWithOptions(ethNIC, ep, stack.NICOptions{Name: "eth0"})) {
		return
	}
	n.standing = n.cfg.LinkGoroutines
	mac := ep.LinkAddress()
	if len(mac) == 6 {
		n.addAddress(ethNIC, ipv6.ProtocolNumber, tcpip.AddressWithPrefix{Address: header.LinkLocalAddr(mac), PrefixLen: 64})
		n.routes = append(n.routes, tcpip.Route{Destination: header.IPv6LinkLocalPrefix.Subnet(), NIC: ethNIC})
	}
	n.setAddress(n.cfg.Address, n.cfg.Gateway)
	if n.cfg.DHCP && n.startDHCP(mac) {
		n.standing += dhcp.Goroutines
	}
}

// Goroutines is how many goroutines the stack keeps: none before it has started, and then
// package tcp's, one for each CPU, and those of the device and of its DHCP client.
func (n *Net) Goroutines() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.started {
		return 0
	}
	return runtime.GOMAXPROCS(0) + n.standing
}

// errnoOf is the errno that Linux has for an error of the stack.
func errnoOf(err tcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrAborted, *tcpip.ErrClosedForSend:
		return syscall.EPIPE
	case *tcpip.ErrAddressFamilyNotSupported:
		return syscall.EAFNOSUPPORT
	case *tcpip.ErrAlreadyBound, *tcpip.ErrInvalidEndpointState, *tcpip.ErrInvalidOptionValue, *tcpip.ErrInvalidPortRange,
		*tcpip.ErrMalformedHeader, *tcpip.ErrBadAddress:
		return syscall.EINVAL
	case *tcpip.ErrAlreadyConnected:
		return syscall.EISCONN
	case *tcpip.ErrAlreadyConnecting:
		return syscall.EALREADY
	case *tcpip.ErrBadBuffer:
		return syscall.EFAULT
	case *tcpip.ErrBadLocalAddress:
		return syscall.EADDRNOTAVAIL
	case *tcpip.ErrBroadcastDisabled:
		return syscall.EACCES
	case *tcpip.ErrConnectStarted:
		return syscall.EINPROGRESS
	case *tcpip.ErrConnectionAborted:
		return syscall.ECONNABORTED
	case *tcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *tcpip.ErrConnectionReset:
		return syscall.ECONNRESET
	case *tcpip.ErrDestinationRequired:
		return syscall.EDESTADDRREQ
	case *tcpip.ErrMessageTooLong:
		return syscall.EMSGSIZE
	case *tcpip.ErrNetworkUnreachable:
		return syscall.ENETUNREACH
	case *tcpip.ErrNoBufferSpace:
		return syscall.ENOBUFS
	case *tcpip.ErrNoPortAvailable:
		return syscall.EAGAIN
	case *tcpip.ErrHostUnreachable:
		return syscall.EHOSTUNREACH
	case *tcpip.ErrHostDown:
		return syscall.EHOSTDOWN
	case *tcpip.ErrNotConnected:
		return syscall.ENOTCONN
	case *tcpip.ErrNotPermitted:
		return syscall.EPERM
	case *tcpip.ErrNotSupported, *tcpip.ErrQueueSizeNotSupported:
		return syscall.EOPNOTSUPP
	case *tcpip.ErrPortInUse, *tcpip.ErrDuplicateAddress:
		return syscall.EADDRINUSE
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *tcpip.ErrUnknownDevice, *tcpip.ErrUnknownNICID, *tcpip.ErrInvalidNICID:
		return syscall.ENODEV
	case *tcpip.ErrUnknownProtocol:
		return syscall.EPROTONOSUPPORT
	case *tcpip.ErrUnknownProtocolOption:
		return syscall.ENOPROTOOPT
	case *tcpip.ErrWouldBlock:
		return syscall.EAGAIN
	case *tcpip.ErrClosedForReceive:
		return nil // the end
	}
	return syscall.EIO
}
