package arm64

import (
	"testing"
	"unsafe"
)

// TestGICv2Quiet: after init no interrupt is pending, active or enabled that firmware has
// left so. Registers that clear bits written as 1 are plain memory here. It fails without
// the writes of ICACTIVER and of the active priorities.
func TestGICv2Quiet(t *testing.T) {
	var dist, cpu [0x1000 / 4]uint32
	dist[gicdTYPER/4] = 2 // 96 INTIDs
	dist[gicdITARGETSR/4] = 0x01010101
	for i := range 4 {
		cpu[giccAPR/4+i] = 1 << 20
	}
	c := &irqCPU{}
	g := &gicv2{dist: window{unsafe.Pointer(&dist)}, cpu: window{unsafe.Pointer(&cpu)}}
	if err := g.init(c); err != nil {
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
		if dist[gicdCPENDSGIR/4+i] != ^uint32(0) {
			t.Errorf("CPENDSGIR%d is %#x: interrupts between CPUs stay pending", i, dist[gicdCPENDSGIR/4+i])
		}
		if cpu[giccAPR/4+i] != 0 {
			t.Errorf("active priorities %d: %#x", i, cpu[giccAPR/4+i])
		}
	}
	if dist[gicdCTLR/4] != 1 || cpu[giccCTLR/4] != 1 || cpu[giccPMR/4] != 0xff || dist[(gicdITARGETSR+92)/4] != 0x01010101 {
		t.Error("the controller is not on, or its interrupts go elsewhere")
	}
}

// TestGICv2Target: a CPU reads its bit of target lists from the controller, and is sent
// interrupts by that bit (IHI 0048, 4.3.15). It fails if the list is written to the field
// of the filter, and if SGIs stay disabled.
func TestGICv2Target(t *testing.T) {
	var dist, iface [0x1000 / 4]uint32
	dist[gicdITARGETSR/4] = 0x04040404
	g := &gicv2{dist: window{unsafe.Pointer(&dist)}, cpu: window{unsafe.Pointer(&iface)}}
	c := &irqCPU{}
	g.initCPU(c)
	g.send(c, sgiShoot)
	if got := dist[gicdSGIR/4]; got != 4<<16|sgiShoot {
		t.Errorf("GICD_SGIR %#x, want one interrupt to the third CPU", got)
	}
	if dist[gicdISENABLER/4]&0xffff != 0xffff || iface[giccCTLR/4] != 1 {
		t.Error("interrupts between CPUs do not come through")
	}
	iface[giccIAR/4] = 3<<10 | sgiStop
	intid, token := g.acknowledge()
	if g.done(token); intid != fromCPU(sgiStop) || iface[giccEOIR/4] != 3<<10|sgiStop {
		t.Errorf("an interrupt from CPU 3 is %d, and ended with %#x: the register wants the sender too", intid, iface[giccEOIR/4])
	}
}

// TestSGITarget checks ICC_SGI1R_EL1 (IHI 0069, 12.2.20). It fails without the range
// selector.
func TestSGITarget(t *testing.T) {
	for _, c := range []struct{ mpidr, want uint64 }{
		{0, 1}, {3, 8}, {0x1_02_03_04 & 0xff_ffff, 2<<32 | 3<<16 | 1<<4}, {0x12, 1<<44 | 1<<2}, {5<<32 | 1, 5<<48 | 2},
	} {
		if got := sgiTarget(c.mpidr); got != c.want {
			t.Errorf("MPIDR %#x: %#x, want %#x", c.mpidr, got, c.want)
		}
	}
}

// TestBCM2836Mailbox: an interrupt to a CPU of the Raspberry Pi 3 is a bit of its mailbox
// (QA7 rev 3.4, 4.6 to 4.8), and is acknowledged before other pending interrupts. Registers
// that clear bits written as 1 are plain memory here. It fails with the registers of the
// sending CPU.
func TestBCM2836Mailbox(t *testing.T) {
	var local, banks [0x100 / 4]uint32
	g := &bcm2836{local: window{unsafe.Pointer(&local)}, banks: window{unsafe.Pointer(&banks)}, self: func() uintptr { return 2 }}
	c := &irqCPU{mpidr: 0x80000002}
	g.initCPU(c)
	if local[(qaMailbox+8)/4] != 1 {
		t.Error("the mailbox does not interrupt")
	}
	g.send(c, sgiShoot)
	if local[(qaSet+32)/4] != 1<<sgiShoot {
		t.Errorf("mailboxes %#x", local[qaSet/4:])
	}
	local[(qaSource+8)/4] = 1 << qaBox
	local[(qaClear+32)/4] = 1<<sgiShoot | 1<<sgiStop
	if intid, _ := g.acknowledge(); intid != fromCPU(sgiShoot) || local[(qaClear+32)/4] != 1<<sgiShoot {
		t.Errorf("acknowledged %d, cleared %#x", intid, local[(qaClear+32)/4])
	}
}
