package arm64

import (
	"testing"
	"unsafe"
)

// TestGICv2Quiet: nothing that firmware left pending, active or enabled is that after
// init. Registers that clear what is written as 1 are plain memory here. Broken
// by: no writes of ICACTIVER and of the active priorities.
func TestGICv2Quiet(t *testing.T) {
	var dist, cpu [0x1000 / 4]uint32
	dist[gicdTYPER/4] = 2 // 96 INTIDs
	dist[gicdITARGETSR/4] = 0x01010101
	for i := range 4 {
		cpu[giccAPR/4+i] = 1 << 20
	}
	g := &gicv2{dist: window{unsafe.Pointer(&dist)}, cpu: window{unsafe.Pointer(&cpu)}}
	if err := g.init(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		name string
		at   int
	}{{"ICENABLER", gicdICENABLER}, {"ICPENDR", gicdICPENDR}, {"ICACTIVER", gicdICACTIVER}} {
		for i := range 4 {
			want := ^uint32(0)
			if i == 3 {
				want = 0 // behind the last INTID
			}
			if got := dist[r.at/4+i]; got != want {
				t.Errorf("%s%d is %#x, want %#x", r.name, i, got, want)
			}
		}
	}
	for i := range 4 {
		if cpu[giccAPR/4+i] != 0 {
			t.Errorf("active priorities %d: %#x", i, cpu[giccAPR/4+i])
		}
	}
	if dist[gicdCTLR/4] != 1 || cpu[giccCTLR/4] != 1 || cpu[giccPMR/4] != 0xff || dist[(gicdITARGETSR+92)/4] != 0x01010101 {
		t.Error("the controller is not on, or its interrupts go elsewhere")
	}
}
