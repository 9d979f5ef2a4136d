//go:build tamago

package kernel

import (
	"fmt"

	"github.com/usbarmory/tamago/dma"
	"github.com/usbarmory/tamago/kvm/virtio"

	"grim/arch"
	"grim/kernel/disk"
	"grim/kernel/fs"
	"grim/kernel/share"
)

const (
	virtioShare = 9 // device ID: VirtIO 1.2, section 5
	// shareSlots is how many requests a share has at a time, shareQueue the descriptors for
	// them: two each.
	shareSlots = 4
	shareQueue = 2 * shareSlots
	// shareAt is where the directory of the host is mounted.
	shareAt = "/host"
)

// openShare starts the device behind which the host's directory is.
func (s *system) openShare(d *virtioDevice) (*share.Store, error) {
	if err := d.io.Init(featureVersion1); err != nil {
		return nil, err
	}
	if n := d.io.MaxQueueSize(0); n < shareQueue {
		return nil, fmt.Errorf("a queue of %d descriptors, %d are needed", n, shareQueue)
	}
	d.io.SetQueueSize(0, shareQueue)
	ring := &virtio.VirtualQueue{}
	ring.Init(shareQueue, disk.HeaderBytes, 0) // its own buffers are not used
	desc, avail, used := ring.Address()
	memory := func(pa uint, n int) []byte { return directBytes(arch.PA(pa), uint64(n)) }
	c := share.QueueConfig{
		Desc: memory(desc, 16*shareQueue), Avail: memory(avail, 6+2*shareQueue), Used: memory(used, 6+8*shareQueue), QueueSize: shareQueue,
		Log: func(line string) { fmt.Println("grim: " + shareAt + ": " + line) },
	}
	for range shareSlots {
		at, b := dma.Reserve(share.BufferBytes, arch.PageSize)
		c.Buffers = append(c.Buffers, disk.Buffer{Bytes: b, Address: uint64(at)})
	}
	if !s.opts.Virtual { // if time counts instructions, much of it passes while the host works
		c.Limit = requestLimit
	}
	line, err := d.connect()
	if err != nil {
		return nil, err
	}
	c.Transport = &transport{*d, line}
	q, err := share.NewQueue(c)
	if err != nil {
		return nil, err
	}
	d.io.SetQueue(0, ring)
	d.io.SetReady()
	go q.Run()
	return share.Open(q, false)
}

// mountShare mounts the directory of the host, if the machine has one. If that fails, a line
// on the console says why.
func (s *system) mountShare() {
	if s.share == nil {
		return
	}
	st, err := s.openShare(s.share)
	if err == nil {
		at := fs.At{Place: s.fs.NewPlace()}
		_ = s.fs.Mkdir(at, shareAt, 0o755) // it may be there
		if err = s.fs.Mount(at, shareAt, "host", "9p", st); err != nil {
			_ = st.Close()
		}
	}
	if err != nil {
		fmt.Printf("grim: %s: %v\n", shareAt, err)
		return
	}
	fmt.Printf("share: %s, %s\n", shareAt, s.share.where)
}
