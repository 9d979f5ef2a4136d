package arm64

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// registers is a device's window in ordinary memory: a read returns the last write.
type registers [256]uint32

func (r *registers) window() window        { return window{unsafe.Pointer(r)} }
func (r *registers) at(off uintptr) uint32 { return r[off/4] }

// TestPins checks each controller's direction and level registers, for a pin that is not
// the first of its bank.
func TestPins(t *testing.T) {
	var b, z, i registers
	for _, c := range []struct {
		kind       string
		regs       *registers
		pin        uintptr
		dir, level uintptr // registers
		dirBits    uint32
		bit        uint32
		set        bool // there are separate registers for setting and clearing
	}{
		{"bcm2835-gpio", &b, 42, 0x10, 0x20, 1 << 6, 1 << 10, true},
		{"zynqmp-gpio", &z, 23, 0x204, 0x40, 1 << 23, 1 << 23, false},
		{"imx-gpio", &i, 16, 0x04, 0x00, 1 << 16, 1 << 16, false},
	} {
		p := pinDrivers[c.kind](c.regs.window(), c.pin)
		p.output()
		if got := c.regs.at(c.dir); got != c.dirBits {
			t.Errorf("%s: direction %#x, want %#x", c.kind, got, c.dirBits)
		}
		p.set(true)
		if got := c.regs.at(c.level); got != c.bit {
			t.Errorf("%s: high: %#x, want %#x", c.kind, got, c.bit)
		}
		p.set(false)
		switch {
		case c.set && c.regs.at(0x2c) != c.bit:
			t.Errorf("%s: low: clear register %#x, want %#x", c.kind, c.regs.at(0x2c), c.bit)
		case !c.set && c.regs.at(c.level) != 0:
			t.Errorf("%s: low: %#x, want 0", c.kind, c.regs.at(c.level))
		}
	}
	if bank, bit := (zynqPin{n: 78 + 33}).place(); bank != 4 || bit != 1 {
		t.Errorf("EMIO pin 33 is bit %d of bank %d, want 1 of 4", bit, bank)
	}
}

// TestFirmwarePin checks the messages to a Raspberry Pi 3's firmware, and their address.
func TestFirmwarePin(t *testing.T) {
	defer func(f func(unsafe.Pointer) uint64) { message.physical = f }(message.physical)
	var sent unsafe.Pointer
	message.physical = func(p unsafe.Pointer) uint64 { sent = p; return 0x2345_0040 }
	var r registers
	p := pinDrivers["rpi-firmware-gpio"](r.window(), 2)
	for _, c := range []struct {
		do   func()
		want [16]uint32
	}{
		{p.output, [16]uint32{64, 0, 0x38043, 24, 0, 130, 1}},
		{func() { p.set(true) }, [16]uint32{64, 0, 0x38041, 8, 0, 130, 1}},
		{func() { p.set(false) }, [16]uint32{64, 0, 0x38041, 8, 0, 130}},
	} {
		const letter = 0xe345_0048 // the bus address, with the channel
		r[mboxWrite/4], r[mboxRead/4] = 0, letter
		c.do()
		if got := *(*[16]uint32)(sent); got != c.want || uintptr(sent)%64 != 0 || r[mboxWrite/4] != letter {
			t.Errorf("message %#x at %p, sent as %#x, want %#x", got, sent, r[mboxWrite/4], c.want)
		}
	}
	message.physical = func(unsafe.Pointer) uint64 { return 0x4000_0000 }
	r[mboxWrite/4] = 0
	if p.set(true); r[mboxWrite/4] != 0 {
		t.Error("a message was sent from memory that the firmware does not see")
	}
}

// TestClocks checks each driver's register.
func TestClocks(t *testing.T) {
	for kind, off := range map[string]uintptr{"pl031": 0, "zynqmp-rtc": 0x10} {
		var r registers
		r[off/4] = 1_700_000_000
		if got := clockDrivers[kind](r.window()).seconds(); got != 1_700_000_000 {
			t.Errorf("%s: %d", kind, got)
		}
	}
	if _, err := (ClockConfig{}).time(); err != ErrNoClock {
		t.Errorf("no clock: %v", err)
	}
	if _, err := (ClockConfig{Kind: "sundial"}).time(); err == nil {
		t.Error("a clock without a driver was read")
	}
}

// TestActiveLow checks a light that is on when its pin is low.
func TestActiveLow(t *testing.T) {
	var r registers
	for _, low := range []bool{false, true} {
		l := led{imxPin{r.window(), 3}, low}
		for _, on := range []bool{true, false} {
			l.set(on)
			if high := r.at(imxDR) == 1<<3; high != (on != low) {
				t.Errorf("active low %v: on %v makes the pin high: %v", low, on, high)
			}
		}
	}
}

// TestPorts checks reception of a good byte, of a bad byte, and of none, and the report
// whether there is room to send.
func TestPorts(t *testing.T) {
	type reg struct {
		off uintptr
		v   uint32
	}
	for _, c := range []struct {
		kind           string
		good, bad, non []reg
		full, room     reg
		data           uintptr
	}{
		{"pl011", []reg{{0x18, 0}, {0, 'x'}}, []reg{{0x18, 0}, {0, 'x' | 1<<8}}, []reg{{0x18, 1 << 4}}, reg{0x18, 1 << 5}, reg{0x18, 0}, 0},
		{"16550", []reg{{0x14, 1}, {0, 'x'}}, []reg{{0x14, 1 | 1<<3}, {0, 'x'}}, []reg{{0x14, 0}}, reg{0x14, 0}, reg{0x14, 1 << 5}, 0},
		{"sbsa-uart", []reg{{0x18, 0}, {0, 'x'}}, []reg{{0x18, 0}, {0, 'x' | 1<<8}}, []reg{{0x18, 1 << 4}}, reg{0x18, 1 << 5}, reg{0x18, 0}, 0},
		{"bcm2835-aux", []reg{{0x14, 1}, {0, 'x'}}, []reg{{0x14, 1 | 1<<3}, {0, 'x'}}, []reg{{0x14, 0}}, reg{0x14, 0}, reg{0x14, 1 << 5}, 0},
		{"cadence-uart", []reg{{0x2c, 0}, {0x30, 'x'}}, nil, []reg{{0x2c, 2}}, reg{0x2c, 1 << 4}, reg{0x2c, 0}, 0x30},
		{"imx-uart", []reg{{0, 1<<15 | 'x'}}, []reg{{0, 1<<15 | 1<<14 | 'x'}}, []reg{{0, 0}}, reg{0xb4, 1 << 4}, reg{0xb4, 0}, 0x40},
	} {
		var r registers
		p := portDrivers[c.kind](r.window(), &UARTConfig{Shift: 2})
		p.init()
		for _, x := range []struct {
			name string
			regs []reg
			want received
		}{{"whole", c.good, good}, {"broken", c.bad, bad}, {"none", c.non, nothing}} {
			if x.regs == nil {
				continue // the device does not report it
			}
			for _, v := range x.regs {
				r[v.off/4] = v.v
			}
			if b, st := p.receive(); st != x.want || st == good && b != 'x' {
				t.Errorf("%s: %s: %q, %d, want %d", c.kind, x.name, b, st, x.want)
			}
		}
		r[c.full.off/4] = c.full.v
		if p.room() {
			t.Errorf("%s: room in a full FIFO", c.kind)
		}
		r[c.room.off/4] = c.room.v
		if !p.room() {
			t.Errorf("%s: no room in an empty FIFO", c.kind)
		}
		p.send('y')
		if r.at(c.data) != 'y' {
			t.Errorf("%s: sent byte is %#x", c.kind, r.at(c.data))
		}
	}
}

// TestPortWidths: a 16550 whose registers are next to each other is accessed in bytes. A
// server's PL011 has no control registers, so none is written.
func TestPortWidths(t *testing.T) {
	var r registers
	p := portDrivers["16550"](r.window(), &UARTConfig{Width: 1})
	p.init()
	if r.at(0) != 0x00010500 || r.at(4) != 0x0b {
		t.Errorf("byte registers after init: %#x %#x", r.at(0), r.at(4))
	}
	r[1] = lsrRoom<<8 | 0x0b
	if p.send('y'); !p.room() || byte(r.at(0)) != 'y' || r.at(0)>>8 != 0x000105 {
		t.Errorf("byte registers after a byte: %#x", r.at(0))
	}
	r = registers{}
	portDrivers["sbsa-uart"](r.window(), &UARTConfig{}).init()
	if r.at(uartCR) != 0 || r.at(uartLCRH) != 0 || r.at(uartIMSC) != intRX {
		t.Errorf("sbsa-uart: CR %#x, LCRH %#x, IMSC %#x", r.at(uartCR), r.at(uartLCRH), r.at(uartIMSC))
	}
}

// TestUARTRing: bytes that do not fit are dropped, the others come out in order.
func TestUARTRing(t *testing.T) {
	f := &fifo{}
	u := &UART{port: f}
	for i := range 1100 {
		f.in = append(f.in, byte(i))
	}
	u.drain()
	var got []byte
	for b := make([]byte, 100); ; {
		n := u.take(b)
		if n == 0 {
			break
		}
		got = append(got, b[:n]...)
	}
	if len(got) != len(u.ring) || got[0] != 0 || got[1023] != byte(1023%256) {
		t.Errorf("%d bytes came out, want %d", len(got), len(u.ring))
	}
	if len(f.in) != 0 || f.cleared != 1100 {
		t.Errorf("%d bytes left in the device, the event was cleared with %d of 1100", len(f.in), f.cleared)
	}
}

// TestLateByte: a byte that arrives just when the device was found empty is a new event,
// which drain does not clear. It fails if clear is at the end of drain.
func TestLateByte(t *testing.T) {
	f := &fifo{in: []byte{1}, late: []byte{2}}
	u := &UART{port: f}
	u.drain()
	if !f.event {
		t.Fatal("the event of the late byte is lost")
	}
	u.drain()
	if b := make([]byte, 4); u.take(b) != 2 || b[1] != 2 || f.event {
		t.Errorf("received %v, event %v", b[:2], f.event)
	}
}

// fifo is a port with bytes to receive.
type fifo struct {
	in      []byte
	late    []byte // arrives when in is found empty
	event   bool
	cleared int // number of bytes in it at clear
}

func (f *fifo) init()          {}
func (f *fifo) room() bool     { return true }
func (f *fifo) transmit(bool)  {}
func (f *fifo) send(byte)      {}
func (f *fifo) clear()         { f.cleared, f.event = len(f.in), false }
func (f *fifo) status() uint32 { return 0 }
func (f *fifo) receive() (byte, received) {
	if len(f.in) == 0 {
		if f.late != nil {
			f.in, f.late, f.event = f.late, nil, true
		}
		return 0, nothing
	}
	c := f.in[0]
	f.in = f.in[1:]
	return c, good
}

// slowPort is a port whose FIFO empties a byte at a time, as clock says, and that raises
// its line as real ones do: edge says that it does so when the FIFO falls to the trigger
// (PL011), and not as long as it is that empty (the 8250 family).
type slowPort struct {
	fifo
	mu      sync.Mutex
	waiting []byte // in the FIFO
	out     []byte
	on      bool // interrupts are allowed
	edge    bool
	raised  bool
	lost    int // bytes that were sent without room
}

const slowDepth, slowTrigger = 16, 8

func (p *slowPort) room() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) < slowDepth
}

func (p *slowPort) send(c byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == slowDepth {
		p.lost++
		return
	}
	p.waiting = append(p.waiting, c)
}

func (p *slowPort) clear() {
	p.mu.Lock()
	p.raised = false
	p.mu.Unlock()
}

func (p *slowPort) transmit(on bool) {
	p.mu.Lock()
	p.on = on
	p.mu.Unlock()
}

// clock sends a byte, and says whether the line is up.
func (p *slowPort) clock() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		p.out = append(p.out, p.waiting[0])
		p.waiting = p.waiting[1:]
		if p.edge && len(p.waiting) == slowTrigger {
			p.raised = true
		}
	}
	if !p.edge {
		p.raised = len(p.waiting) == 0
	}
	return p.on && p.raised
}

// TestSlowPort: output of a hundred times what the FIFO holds goes out by the transmit
// interrupt alone: no byte is lost, none waits for the time limit.
// Broken by: Await without transmit; drain that leaves transmit on.
func TestSlowPort(t *testing.T) {
	defer func(d time.Duration) { awaitLimit = d }(awaitLimit)
	awaitLimit = 5 * time.Minute
	for _, edge := range []bool{false, true} {
		p := &slowPort{edge: edge}
		u := &UART{port: p, line: 1, sent: make(chan struct{}, 1)}
		stop := make(chan struct{})
		interrupts := 0
		var sent []byte
		told := 0
		for i := range 100 * slowDepth {
			sent = append(sent, byte(i))
		}
		rest := sent
		for n := 1; n > 0; rest = rest[n:] { // fills the FIFO before the wire takes a byte
			n = u.Send(rest)
		}
		var wire sync.WaitGroup
		wire.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if p.clock() { // as the machine, and the goroutine in Read
					interrupts++
					u.drain()
					u.passOn()
				}
				runtime.Gosched()
			}
		})
		for n := 0; len(rest) > 0; rest = rest[n:] {
			if n == 0 {
				if !u.Await() {
					t.Fatalf("edge %v: no interrupt with %d bytes left", edge, len(rest))
				}
				told++
			}
			n = u.Send(rest)
		}
		for through := 0; through < len(sent); runtime.Gosched() {
			p.mu.Lock()
			through = len(p.out) + p.lost
			p.mu.Unlock()
		}
		close(stop)
		wire.Wait()
		if !bytes.Equal(p.out, sent) || p.lost > 0 {
			t.Errorf("edge %v: %d bytes arrived, %d were lost, of %d", edge, len(p.out), p.lost, len(sent))
		}
		if told == 0 || interrupts < told {
			t.Errorf("edge %v: %d waits, %d interrupts for %d bytes", edge, told, interrupts, len(sent))
		}
		if p.on {
			t.Errorf("edge %v: the interrupt is still allowed, with nothing to send", edge)
		}
	}
}
