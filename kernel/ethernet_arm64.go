//go:build tamago

package kernel

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"github.com/usbarmory/tamago/soc/nxp/enet"
	"github.com/usbarmory/tamago/soc/nxp/ocotp"

	"grim/arch"
	"grim/boot/machine"
	"grim/kernel/nic"
)

// ethernet returns the board's network controller, an i.MX ENET, or nil.
func (s *system) ethernet() *netPort {
	e := s.info.Ethernet
	if e.Size == 0 {
		return nil
	}
	return &netPort{fmt.Sprintf("ENET at %#x", e.Base), func() (netDevice, [6]byte, error) {
		d := &enetDevice{line: e.IRQ, board: s.board}
		mac := enetMAC(&e)
		d.hw.Index, d.hw.Base, d.hw.CCGR, d.hw.MAC = 1, uint32(e.Base), uint32(e.Gate), mac[:]
		// The clock gives the speed of the PHY's port, which is not used: what firmware, or a
		// reset, has told the PHY stays.
		d.hw.Clock = func() uint32 { return enetClock }
		d.hw.RingSize = nicQueue
		if err := d.hw.Init(); err != nil {
			return nil, mac, err
		}
		d.hw.Start()
		d.hw.EnableInterrupt(enet.IRQ_RXF)
		s.board.UnmaskLine(d.line)
		return d, mac, nil
	}}
}

// enetClock is the frequency of the controller's clock (reference manual, 5.1.5: IPG root).
const enetClock = 133e6

// enetMAC returns the controller's address: the tree's, or else that of the fuses, or else
// what firmware has left in the controller.
func enetMAC(e *machine.Ethernet) (mac [6]byte) {
	if e.MAC != mac {
		return e.MAC
	}
	low, high := enetFuses(e)
	if low == 0 && high == 0 {
		word := func(at arch.PA) uint32 { return readDevice(directWord(arch.PA(e.Base) + at)) }
		low, high = word(enet.ENETx_PALR), word(enet.ENETx_PAUR)>>16
		binary.BigEndian.PutUint32(mac[:], low)
		binary.BigEndian.PutUint16(mac[4:], uint16(high))
		return mac
	}
	binary.BigEndian.PutUint16(mac[:], uint16(high))
	binary.BigEndian.PutUint32(mac[2:], low)
	return mac
}

// enetFuses reads the two fuse words of the controller's address; zeros: there is none.
func enetFuses(e *machine.Ethernet) (low, high uint32) {
	// Behind bank 5, TamaGo's driver leaves out addresses that an i.MX 6UL does not have.
	const words = 6 * ocotp.BankSize
	if e.Fuses.Size == 0 || e.FuseWord+1 >= words {
		return 0, 0
	}
	f := &ocotp.OCOTP{Base: uint32(e.Fuses.Base), BankBase: uint32(e.Fuses.Base) + 0x400, Banks: words / ocotp.BankSize, CCGR: uint32(e.FuseGate)}
	f.Init()
	read := func(n int) uint32 {
		v, err := f.Read(n/ocotp.BankSize, n%ocotp.BankSize)
		if err != nil {
			return 0
		}
		return v
	}
	return read(e.FuseWord), read(e.FuseWord+1) & 0xffff
}

// enetDevice is an ENET with TamaGo's driver, as a netDevice. The driver's two rings are
// apart: Run has the one, and mu guards the other.
type enetDevice struct {
	hw    enet.ENET
	line  int
	board board
	mu    sync.Mutex
}

func (d *enetDevice) Send(frame []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hw.Transmit(frame) == nil
}

func (d *enetDevice) Run(receive func(frame []byte)) {
	frame := make([]byte, nic.BufferBytes)
	for {
		runtime.WaitIRQ(d.line)
		// Frames that come from here on raise the interrupt again.
		d.hw.ClearInterrupt(enet.IRQ_RXF)
		for {
			n, err := d.hw.Receive(frame)
			if err == nil && n == 0 {
				break
			}
			if err == nil {
				receive(frame[:n])
			}
		}
		d.board.UnmaskLine(d.line)
	}
}
