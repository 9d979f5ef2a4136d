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

	"grim/arch"
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
		Random: goos.RandomData, Monotonic: runtime.Nanotime, TimerMoved: func() { s.proc.TimerMoved() },
		Kernel: s.charges.Kernel(), Log: func(line string) { fmt.Println("grim:", line) },
		Link: func() (stack.LinkEndpoint, error) {
			if s.nic == nil {
				return nil, nil
			}
			return s.openNIC()
		},
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

// openNIC starts the network device, and gives it to the stack.
func (s *system) openNIC() (stack.LinkEndpoint, error) {
	d := s.nic
	if err := d.io.Init(nic.Features | featureVersion1); err != nil {
		return nil, fmt.Errorf("eth0: %w", err)
	}
	memory := func(pa uint, n int) []byte { return directBytes(arch.PA(pa), uint64(n)) }
	var queues [2]nic.Queue
	var rings [2]*virtio.VirtualQueue
	for i := range queues {
		if n := d.io.MaxQueueSize(i); n < nicQueue {
			return nil, fmt.Errorf("eth0: a queue of %d packets, %d are needed", n, nicQueue)
		}
		d.io.SetQueueSize(i, nicQueue)
		q := &virtio.VirtualQueue{}
		q.Init(nicQueue, nic.BufferBytes, 0)
		desc, avail, used := q.Address()
		queues[i] = nic.Queue{Desc: memory(desc, 16*nicQueue), Avail: memory(avail, 6+2*nicQueue), Used: memory(used, 6+8*nicQueue)}
		for _, b := range q.Descriptors {
			queues[i].Buffers = append(queues[i].Buffers, nic.Buffer{Bytes: memory(uint(b.Address), nic.BufferBytes), Address: b.Address})
		}
		rings[i] = q
	}
	line, err := d.connect()
	if err != nil {
		return nil, fmt.Errorf("eth0: %w", err)
	}
	dev, err := nic.New(&nicTransport{d, line}, d.io.Config(nic.ConfigBytes), queues[nic.Receive], queues[nic.Transmit],
		func(text string) { fmt.Println("grim:", text) })
	if err != nil {
		return nil, fmt.Errorf("eth0: %w", err)
	}
	// The last queue that is registered is the one from which TamaGo's driver takes the
	// distance of their doorbells.
	d.io.SetQueue(nic.Receive, rings[nic.Receive])
	d.io.SetQueue(nic.Transmit, rings[nic.Transmit])
	d.io.SetReady()
	link := channel.New(nicQueue, nic.MTU+header.EthernetMinimumSize, tcpip.LinkAddress(dev.MAC[:]))
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
	d.io.QueueNotify(nic.Receive)
	fmt.Printf("network: eth0, %s, %x\n", d.where, dev.MAC)
	return ethernet.New(link), nil
}
