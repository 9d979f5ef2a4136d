package virtq

import (
	"sync/atomic"
	"testing"

	"grim/arch"
)

// TestRing: chains come back as the device says, until it says what cannot be.
// Broken by: the check of the index, or of a chain's number, taken out.
func TestRing(t *testing.T) {
	const size = 4
	aligned := func(n int) []byte { return make([]byte, n, 64) } // pieces of less than 16 bytes may lie anywhere
	m := Memory{Desc: aligned(16 * size), Avail: aligned(6 + 2*size), Used: aligned(6 + 8*size), Size: size}
	r, err := NewRing(m)
	if err != nil {
		t.Fatal(err)
	}
	device := uint16(0)
	done := func(id, wrote uint32) { // as a device: the chain is done
		e := m.Used[4+8*(device%size):]
		le.PutUint32(e, id)
		le.PutUint32(e[4:], wrote)
		device++
		atomic.StoreUint32(arch.Word(m.Used), uint32(device)<<16)
	}
	for i := range uint32(3 * size) {
		if _, _, ok, err := r.Taken(); ok || err != nil {
			t.Fatalf("%d: a chain before the device is done, %v", i, err)
		}
		r.Offer(uint16(i%size), NoInterrupts)
		if at := le.Uint16(m.Avail[4+2*(i%size):]); at != uint16(i%size) || le.Uint16(m.Avail) != NoInterrupts || le.Uint16(m.Avail[2:]) != uint16(i+1) {
			t.Fatalf("%d: offered %d in %x", i, at, m.Avail)
		}
		done(i%size, i)
		if first, wrote, ok, err := r.Taken(); first != uint16(i%size) || wrote != i || !ok || err != nil {
			t.Fatalf("%d: %d, %d bytes, %v, %v", i, first, wrote, ok, err)
		}
	}
	// The entries of the ring are those of the last round: only the index tells.
	for _, ahead := range []uint16{1, size, 1 << 15} {
		atomic.StoreUint32(arch.Word(m.Used), uint32(device+ahead)<<16)
		if _, _, ok, err := r.Taken(); ok || err == nil {
			t.Errorf("the device is %d chains ahead, and is believed", ahead)
		}
	}
	r.Offer(0, 0)
	done(size, 0)
	if _, _, ok, err := r.Taken(); ok || err == nil {
		t.Error("a chain that there is not is taken back")
	}
	for _, n := range []int{0, 3, 8, 1 << 16} {
		if _, err := NewRing(Memory{m.Desc, m.Avail, m.Used, n}); err == nil {
			t.Errorf("a queue of %d in memory for %d", n, size)
		}
	}
}
