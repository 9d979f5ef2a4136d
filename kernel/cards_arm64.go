//go:build tamago

package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/usbarmory/tamago/soc/nxp/usdhc"

	"grim/arch"
	"grim/kernel/disk"
)

// card is an SD or MMC card as a disk, with TamaGo's driver. The driver polls, and lets
// others run in the meantime. It makes one request at a time.
type card struct {
	usdhc.USDHC
	name string
	size int64
}

// cards returns the cards in the machine's slots.
func (s *system) cards() (found []disk.Device) {
	for _, slot := range s.info.Cards {
		c := &card{name: fmt.Sprintf("mmcblk%d", slot.Index-1)}
		c.Index, c.Base, c.CCGR = slot.Index, uint32(slot.Base), uint32(slot.Gate)
		// Firmware has set the clock's source and divider.
		c.SetClock = func(int, uint32, uint32) error { return nil }
		c.Init(4)
		if err := c.detect(); err != nil {
			if !strings.HasPrefix(err.Error(), "no card detected") {
				fmt.Printf("grim: %s: %v\n", c.name, err)
			}
			continue
		}
		i := c.Info()
		if i.BlockSize != disk.SectorSize || i.Blocks <= 0 || !i.HC {
			// For cards up to 2 GB the driver returns twice the size, on QEMU's model.
			fmt.Printf("grim: %s: %d blocks of %d bytes; only cards of more than 2 GB are used\n", c.name, i.Blocks, i.BlockSize)
			continue
		}
		c.size = int64(i.Blocks) * disk.SectorSize
		found = append(found, c)
	}
	return found
}

// detect is Detect, which resets the controller and waits without a limit until its clock
// is stable. Bits 0 to 3 of the clock's register are ones after a reset (reference manual,
// SYS_CTRL). In QEMU's model, where bit 0 turns the clock on, they are zeros. So detect
// sets them while the driver waits: the driver lets others run then.
func (c *card) detect() error {
	const sysCtrl, ones = usdhc.USDHCx_SYS_CTRL, 0xf
	at := directWord(arch.PA(c.Base) + sysCtrl)
	done := make(chan error, 1)
	go func() { done <- c.Detect() }()
	for start := time.Now(); time.Since(start) < detectLimit; {
		select {
		case err := <-done:
			return err
		default:
		}
		writeDevice(at, readDevice(at)|ones)
		runtime.Gosched()
	}
	return errors.New("the controller does not answer")
}

// detectLimit is how long the start of the machine waits for a card.
const detectLimit = 5 * time.Second

func (c *card) Size() int64    { return c.size }
func (c *card) ReadOnly() bool { return false }
func (c *card) Name() string   { return c.name }

// Flush does nothing: a card has written the data that it has acknowledged.
func (c *card) Flush() error { return nil }

// cardBytes is how much is transferred at a time: a quarter of the maximum of one
// descriptor of the controller.
const cardBytes = 16 << 10

func (c *card) ReadAt(p []byte, off int64) (int, error) { return c.transfer(p, off, c.ReadBlocks) }

func (c *card) WriteAt(p []byte, off int64) (int, error) { return c.transfer(p, off, c.WriteBlocks) }

func (c *card) transfer(p []byte, off int64, do func(lba int, p []byte) error) (n int, err error) {
	if off < 0 || off%disk.SectorSize != 0 || len(p)%disk.SectorSize != 0 || off > c.size-int64(len(p)) {
		return 0, syscall.EINVAL
	}
	for n < len(p) {
		k := min(len(p)-n, cardBytes)
		if err := do(int((off+int64(n))/disk.SectorSize), p[n:n+k]); err != nil {
			fmt.Printf("grim: %s: %v\n", c.name, err)
			return n, syscall.EIO
		}
		n += k
	}
	return n, nil
}
