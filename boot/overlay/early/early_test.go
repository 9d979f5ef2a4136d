package early

import (
	"encoding/binary"
	"testing"
	"unsafe"
)

// registers is ordinary memory in place of a port's registers.
type registers [64]uint32

// TestPut checks that the byte goes to the data register when the port has room, and not
// before, and that the transmitter is on.
func TestPut(t *testing.T) {
	for _, x := range []struct {
		c            Console
		data         uint32 // offset of the register
		on           uint32 // the same, where the transmitter is turned on
		onBits       uint32
		status       uint32
		ready, stuck uint32
	}{
		{Console{Kind: PL011}, 0, 0x30, 0x101, 0x18, 0, 1 << 5},
		{Console{Kind: MiniU}, 0, 0x20, 2, 0x14, 1 << 5, 0},
		{Console{Kind: UART16, Shift: 2}, 0, 0, 0, 0x14, 1 << 5, 0},
		{Console{Kind: UART8, Shift: 2}, 0, 0, 0, 0x14, 1 << 5, 0},
		{Console{Kind: SBSA}, 0, 0x30, 0, 0x18, 0, 1 << 5},
		{Console{Kind: Cadence}, 0x30, 0, 1 << 4, 0x2c, 0, 1 << 4},
		{Console{Kind: IMX}, 0x40, 0x84, 4, 0xb4, 0, 1 << 4},
	} {
		var r registers
		for _, status := range []uint32{x.ready, x.stuck} {
			r[x.data/4], r[x.status/4] = 0, status
			x.c.Put(unsafe.Pointer(&r), 'y')
			if r[x.data/4] != 'y' {
				t.Errorf("kind %d, status %#x: sent %#x", x.c.Kind, status, r[x.data/4])
			}
			if got := r[x.on/4]; got&x.onBits != x.onBits {
				t.Errorf("kind %d: %#x in the enabling register", x.c.Kind, got)
			}
		}
	}
	var r registers
	if (&Console{}).Put(unsafe.Pointer(&r), 'y'); r != (registers{}) {
		t.Error("no port, and something was written")
	}
}

// TestStack checks that no code allocates on the heap, which does not exist so early.
func TestStack(t *testing.T) {
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b, magic)
	binary.BigEndian.PutUint32(b[4:], 64)
	binary.BigEndian.PutUint32(b[8:], 40)
	var c Console
	if n := testing.AllocsPerRun(10, func() { FindIn(unsafe.Pointer(&b[0]), &c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzFind checks that FindIn reads nothing outside the tree, whatever the tree contains,
// and that it returns. The race detector's checkptr finds the reads outside.
func FuzzFind(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'c', 'h', 'o', 's', 'e', 'n'}, uint32(40), uint32(1<<20))
	f.Fuzz(func(t *testing.T, body []byte, structs, n uint32) {
		b := make([]byte, (headSize+len(body)+7)&^7)
		copy(b[headSize:], body)
		be := binary.BigEndian
		be.PutUint32(b, magic)
		be.PutUint32(b[4:], uint32(len(b)))
		be.PutUint32(b[8:], structs)
		be.PutUint32(b[12:], headSize)
		be.PutUint32(b[36:], n)
		var c Console
		FindIn(unsafe.Pointer(&b[0]), &c)
	})
}
