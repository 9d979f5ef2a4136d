//go:build tamago

package kernel

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/usbarmory/tamago/dma"
	"github.com/usbarmory/tamago/kvm/virtio"
	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/boot/machine"
	"grim/kernel/disk"
	"grim/kernel/ext2"
	"grim/kernel/fs"
	"grim/kernel/virtq"
	"grim/mm/phys"
)

const (
	virtioNet   = 1 // device IDs: VirtIO 1.2, section 5
	virtioBlock = 2
	// diskSlots is how many requests a disk has at a time, diskQueue the descriptors
	// for them: three each, and a power of two.
	diskSlots = 8
	diskQueue = 32
	// featureVersion1 is a feature of all devices that follow the standard.
	featureVersion1 = 1 << 32

	requestLimit = 30 * time.Second
)

// startDevices finds the network device of the machine, the directory of the host, and its
// disks with their partitions.
func (s *system) startDevices() {
	var found []virtioDevice // disks
	for _, d := range s.virtioDevices() {
		switch {
		case d.io.DeviceID() == virtioBlock:
			found = append(found, d)
		case d.io.DeviceID() == virtioShare:
			if s.share == nil {
				s.share = &d
			}
		case s.nic == nil:
			s.nic = s.virtioNIC(d)
		}
	}
	if len(found) == 0 && len(s.info.Cards) == 0 && s.info.Ethernet.Size == 0 && s.nic == nil && s.share == nil {
		return
	}
	// Devices get only this memory, which dma allocates: rings and buffers.
	f, err := s.mem.AllocBlock(phys.Kernel)
	if err == nil {
		err = dma.Init(uint(f.PA()), arch.BlockSize)
	}
	if err != nil {
		fmt.Println("grim: no memory for disks and network:", err)
		s.nic, s.share = nil, nil
		return
	}
	if f.PA() < 1<<32-arch.BlockSize { // the board's own controllers can access it
		for _, d := range s.cards() {
			s.addDisk(d, "card")
		}
		if s.nic == nil {
			s.nic = s.ethernet()
		}
	} else if len(s.info.Cards) > 0 || s.info.Ethernet.Size != 0 {
		fmt.Println("grim: no memory below 4 GB for cards and network")
	}
	room := (arch.BlockSize - 128<<10) / (diskSlots*disk.DataBytes + 16<<10)
	if s.nic != nil {
		room-- // its memory is less than a disk's
	}
	if s.share != nil {
		room-- // the same
	}
	for i, d := range found {
		if i == room {
			fmt.Printf("grim: %d disks, of which %d are used\n", len(found), room)
			break
		}
		v, err := s.openVirtio(fmt.Sprintf("vd%c", 'a'+i), d)
		if err != nil {
			fmt.Println("grim:", err)
			continue
		}
		s.addDisk(v, d.where)
	}
}

// addDisk adds a disk and its partitions.
func (s *system) addDisk(d disk.Device, where string) {
	parts, err := disk.Partitions(d)
	if err != nil {
		fmt.Println("grim:", err)
	}
	s.disks = append(append(s.disks, d), parts...)
	fmt.Printf("disk: %s, %d MB, %s, %d partitions\n", d.Name(), d.Size()>>20, where, len(parts))
}

// diskMajor is the major number of all disks: the first that Linux assigns dynamically.
const diskMajor = 254

// deviceNodes makes /dev/vda and so on, for mount(2).
func (s *system) deviceNodes() error {
	at := fs.At{Place: s.fs.NewPlace()}
	for i, d := range s.disks {
		if err := s.fs.Mknod(at, "/dev/"+d.Name(), syscall.S_IFBLK|0o600, unix.Mkdev(diskMajor, uint32(i))); err != nil {
			return fmt.Errorf("/dev/%s: %w", d.Name(), err)
		}
	}
	return nil
}

// openDisk is sys.Config.OpenDisk. It prints on the console why a file system is refused or
// is read-only.
func (s *system) openDisk(rdev uint64, readOnly bool) (fs.Store, error) {
	n := unix.Minor(rdev)
	if unix.Major(rdev) != diskMajor || int64(n) >= int64(len(s.disks)) {
		return nil, syscall.ENXIO
	}
	d := s.disks[n]
	say := func(text string) { fmt.Printf("grim: %s: %s\n", d.Name(), text) }
	f, err := ext2.Open(d, ext2.Options{ReadOnly: readOnly, Log: say, Now: func() int64 { return time.Now().UnixNano() }})
	if err != nil {
		say(err.Error())
		return nil, syscall.EINVAL
	}
	if why := f.ReadOnly(); why != "" && !readOnly {
		say("read-only: " + why)
	}
	return fs.NewExt2(f), nil
}

// mountRoot mounts the disk of root= as the root file system.
func (s *system) mountRoot() error {
	if err := s.deviceNodes(); err != nil {
		return err
	}
	if s.opts.Root == "" {
		return nil
	}
	name := strings.TrimPrefix(s.opts.Root, "/dev/")
	for i, d := range s.disks {
		if d.Name() != name {
			continue
		}
		st, err := s.openDisk(unix.Mkdev(diskMajor, uint32(i)), s.opts.RootRO)
		if err != nil {
			return fmt.Errorf("root=%s: no file system that can be mounted", s.opts.Root)
		}
		if err := s.fs.Mount(fs.At{Place: s.fs.NewPlace()}, "/", "/dev/"+name, "ext4", st); err != nil {
			return fmt.Errorf("root=%s: %w", s.opts.Root, err)
		}
		return nil
	}
	var have []string
	for _, d := range s.disks {
		have = append(have, d.Name())
	}
	return fmt.Errorf("root=%s: no such disk; there are: %s", s.opts.Root, strings.Join(have, " "))
}

// endDisks writes all changes, and marks the file systems clean, unless the kernel has
// died.
func (s *system) endDisks(status int32) {
	if s.fs == nil || status == exitPanic {
		return
	}
	if err := s.fs.Shutdown(); err != nil {
		fmt.Println("grim: a disk was not unmounted cleanly:", err)
	}
}

// virtioDevice is a device that has been found, with the functions that depend on its bus.
type virtioDevice struct {
	io    virtio.VirtIO
	where string
	// connect directs the device's interrupt for queue 0 to a line, which it returns. ack
	// acknowledges an interrupt. alive reports whether the device still answers.
	connect func() (line int, err error)
	ack     func()
	alive   func() bool
}

// transport implements virtq.Transport with TamaGo's driver.
type transport struct {
	virtioDevice
	line int
}

func (t *transport) Notify()     { t.io.QueueNotify(0) }
func (t *transport) Alive() bool { return t.alive() }
func (t *transport) Await() {
	runtime.WaitIRQ(t.line)
	t.ack()
}

// openQueue prepares a queue of size descriptors, with a buffer of so many bytes for each.
func (d *virtioDevice) openQueue(index, size, bytes int) (*virtio.VirtualQueue, virtq.Memory, error) {
	if n := d.io.MaxQueueSize(index); n < size {
		return nil, virtq.Memory{}, fmt.Errorf("a queue of %d descriptors, %d are needed", n, size)
	}
	d.io.SetQueueSize(index, size)
	q := &virtio.VirtualQueue{}
	q.Init(size, bytes, 0)
	desc, avail, used := q.Address()
	return q, virtq.Memory{
		Desc: deviceBytes(desc, 16*size), Avail: deviceBytes(avail, 6+2*size), Used: deviceBytes(used, 6+8*size), Size: size,
	}, nil
}

// deviceBytes returns memory that a device knows by its address.
func deviceBytes(pa uint, n int) []byte { return directBytes(arch.PA(pa), uint64(n)) }

// buffers returns the queue's own buffers.
func buffers(q *virtio.VirtualQueue, bytes int) (list []virtq.Buffer) {
	for _, b := range q.Descriptors {
		list = append(list, virtq.Buffer{Bytes: deviceBytes(uint(b.Address), bytes), Address: b.Address})
	}
	return list
}

// openRequests starts a device with one queue for requests, of size descriptors, of which some
// may be made at a time, each with a buffer of so many bytes. The caller gives the device the
// queue with io.SetQueue.
func (s *system) openRequests(d virtioDevice, features uint64, size, slots, bytes int) (q *virtio.VirtualQueue, c virtq.Config, err error) {
	if err := d.io.Init(features | featureVersion1); err != nil {
		return nil, c, err
	}
	q, c.Memory, err = d.openQueue(0, size, disk.HeaderBytes)
	if err != nil {
		return nil, c, err
	}
	for range slots {
		at, b := dma.Reserve(bytes, arch.PageSize)
		c.Buffers = append(c.Buffers, virtq.Buffer{Bytes: b, Address: uint64(at)})
	}
	if !s.opts.Virtual { // if time counts instructions, much of it passes while the device works
		c.Limit = requestLimit
	}
	line, err := d.connect()
	if err != nil {
		return nil, c, err
	}
	c.Transport = &transport{d, line}
	return q, c, nil
}

// openVirtio starts a disk.
func (s *system) openVirtio(name string, d virtioDevice) (*disk.Virtio, error) {
	q, c, err := s.openRequests(d, disk.Features, diskQueue, diskSlots, disk.DataBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v, err := disk.NewVirtio(disk.VirtioConfig{
		Name: name, Config: d.io.Config(disk.ConfigBytes), Features: d.io.NegotiatedFeatures(),
		Queue: c, Headers: buffers(q, disk.HeaderBytes)[:diskSlots],
	})
	if err != nil {
		return nil, err
	}
	d.io.SetQueue(0, q)
	d.io.SetReady()
	go v.Run()
	return v, nil
}

// known reports whether a device of this kind is used.
func known(id uint32) bool { return id == virtioBlock || id == virtioNet || id == virtioShare }

// findMMIO looks for devices at the places for virtio devices that the machine told of.
func (s *system) findMMIO(places []machine.MMIODevice) (found []virtioDevice) {
	for _, p := range places {
		if p.Base >= 1<<32 { // limit of TamaGo's type
			continue
		}
		if err := s.mapDevice(arch.PA(p.Base), p.Size); err != nil {
			fmt.Println("grim:", err)
			continue
		}
		io := &virtio.MMIO{Base: uint32(p.Base)}
		word := func(off uint32) *uint32 { return directWord(arch.PA(p.Base) + arch.PA(off)) }
		if readDevice(word(virtio.Magic)) != virtio.MAGIC || !known(io.DeviceID()) {
			continue
		}
		found = append(found, virtioDevice{
			io: io, where: fmt.Sprintf("virtio at %#x", p.Base),
			connect: func() (int, error) {
				s.board.UnmaskLine(p.IRQ)
				return p.IRQ, nil
			},
			ack: func() {
				// TamaGo's driver reads the status but has no function to clear it.
				writeDevice(word(virtio.InterruptACK), readDevice(word(virtio.InterruptStatus)))
				s.board.UnmaskLine(p.IRQ)
			},
			alive: func() bool {
				return readDevice(word(virtio.Magic)) == virtio.MAGIC && io.Status()&(1<<virtio.DeviceNeedsReset) == 0 && io.Status() != 0
			},
		})
	}
	return found
}
