//go:build tamago

package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/goos"

	"github.com/usbarmory/tamago/kvm/virtio"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"grim/kernel/fs"
	"grim/kernel/inet"
	"grim/kernel/nic"
)

// nicQueue is how many packets each queue of the network device holds: 128 KB of buffers.
const nicQueue = 64

// startNetwork makes the families of sockets known that the network stack serves. The
// stack and the device start with the first of them.
func (s *system) startNetwork() {
	c := inet.Config{
		Random: goos.RandomData, Monotonic: runtime.Nanotime,
		Kernel: s.charges.Kernel(), Log: func(line string) { fmt.Println("grim:", line) },
		Link: func() (stack.LinkEndpoint, error) {
			if s.nic == nil {
				return nil, nil
			}
			return s.openNIC()
		},
		LinkGoroutines: 2, // see openNIC
	}
	c.Address, c.Gateway, c.DHCP = s.opts.Net.Address, s.opts.Net.Gateway, s.opts.Net.DHCP
	resolver := resolver{fs: s.fs}
	c.NameServers = resolver.set
	s.net = inet.New(s.fs, c)
}

// resolver keeps /etc/resolv.conf up to date, if the tree has none of its own.
type resolver struct {
	fs   *fs.FS
	text string // what the file has; "": there is none, or it is the tree's own
}

func (r *resolver) set(servers []netip.Addr) {
	text := ""
	for _, a := range servers {
		text += fmt.Sprintf("nameserver %s\n", a)
	}
	if text == r.text || text == "" {
		return
	}
	at := fs.At{Place: r.fs.NewPlace()}
	_ = r.fs.Mkdir(at, "/etc", 0o755) // it may be there
	flags := unix.O_CREAT | unix.O_EXCL
	if r.text != "" {
		flags = unix.O_TRUNC
	}
	f, err := r.fs.Open(at, "/etc/resolv.conf", flags|unix.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Release()
	r.text = text
	if _, err := f.Write(nil, []byte(text)); err != nil {
		fmt.Println("grim: /etc/resolv.conf:", err)
	}
}

// nicTransport is nic.Transport by TamaGo's driver.
type nicTransport struct {
	*virtioDevice
	line int
}

func (t *nicTransport) Notify(queue int) { t.io.QueueNotify(queue) }
func (t *nicTransport) Alive() bool      { return t.alive() }
func (t *nicTransport) Await() {
	runtime.WaitIRQ(t.line)
	t.ack()
}

// netDevice sends and receives frames: nic.Device, or a controller of the machine's own.
type netDevice interface {
	// Send sends a frame: false if it is dropped.
	Send(frame []byte) bool
	// Run gives the frames that come in to receive, which keeps nothing of them. It returns
	// when the device is not used any more.
	Run(receive func(frame []byte))
}

// netPort is a network device that has been found.
type netPort struct {
	where string
	// open starts it. From Run on, frames come in.
	open func() (dev netDevice, mac [6]byte, err error)
}

// openNIC starts the network device, and gives it to the stack.
func (s *system) openNIC() (stack.LinkEndpoint, error) {
	dev, mac, err := s.nic.open()
	if err != nil {
		return nil, fmt.Errorf("eth0: %w", err)
	}
	link := channel.New(nicQueue, nic.MTU+header.EthernetMinimumSize, tcpip.LinkAddress(mac[:]))
	go dev.Run(func(frame []byte) {
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		link.InjectInbound(0, p)
		p.DecRef()
	})
	go func() {
		for {
			p := link.ReadContext(context.Background())
			if p == nil {
				return
			}
			v := p.ToView()
			dev.Send(v.AsSlice()) // what is dropped the other side asks for again
			v.Release()
			p.DecRef()
		}
	}()
	fmt.Printf("network: eth0, %s, %x\n", s.nic.where, mac)
	return ethernet.New(link), nil
}

// virtioNIC returns a virtio network device that has been found.
func (s *system) virtioNIC(d virtioDevice) *netPort {
	return &netPort{d.where, func() (netDevice, [6]byte, error) {
		n, err := openVirtioNIC(d)
		if err != nil {
			return nil, [6]byte{}, err
		}
		return n, n.MAC, nil
	}}
}

func openVirtioNIC(d virtioDevice) (*nic.Device, error) {
	if err := d.io.Init(nic.Features | featureVersion1); err != nil {
		return nil, err
	}
	var queues [2]nic.Queue
	var rings [2]*virtio.VirtualQueue
	for i := range queues {
		q, memory, err := d.openQueue(i, nicQueue, nic.BufferBytes)
		if err != nil {
			return nil, err
		}
		rings[i], queues[i] = q, nic.Queue{Memory: memory, Buffers: buffers(q, nic.BufferBytes)}
	}
	line, err := d.connect()
	if err != nil {
		return nil, err
	}
	dev, err := nic.New(&nicTransport{&d, line}, d.io.Config(nic.ConfigBytes), queues[nic.Receive], queues[nic.Transmit],
		func(text string) { fmt.Println("grim:", text) })
	if err != nil {
		return nil, err
	}
	// The last queue that is registered is the one from which TamaGo's driver takes the
	// distance of their doorbells.
	d.io.SetQueue(nic.Receive, rings[nic.Receive])
	d.io.SetQueue(nic.Transmit, rings[nic.Transmit])
	d.io.SetReady()
	d.io.QueueNotify(nic.Receive)
	return dev, nil
}
