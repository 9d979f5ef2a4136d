package amd64

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"grim/arch"
)

// The assembly has these offsets and this order built in.
func TestOffsets(t *testing.T) {
	var u arch.UArea
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"Trap.Kind", unsafe.Offsetof(u.Trap) + unsafe.Offsetof(u.Trap.Kind), offTrapKind},
		{"Trap.Code", unsafe.Offsetof(u.Trap) + unsafe.Offsetof(u.Trap.Code), offTrapCode},
		{"Trap.Addr", unsafe.Offsetof(u.Trap) + unsafe.Offsetof(u.Trap.Addr), offTrapAddr},
		{"Mach", unsafe.Offsetof(u.Mach), offSavedSP},
		{"FPU", unsafe.Offsetof(u.FPU), offFPU},
	} {
		if c.got != c.want {
			t.Errorf("%s is at %d, the assembly thinks %d", c.name, c.got, c.want)
		}
	}
	for i, slot := range []int{slotPC, slotCS, slotFlags, slotSP, slotSS} {
		if slot != slotPC+i {
			t.Errorf("slot %d breaks the order that IRETQ pops", slot)
		}
	}
	if slotGS >= arch.FrameRegs {
		t.Errorf("frame has %d slots, need %d", arch.FrameRegs, slotGS+1)
	}
	// A copy of AX in another slot would not do: a system call that is restarted takes its
	// number from the slot that the restart writes.
	if abi.Number != slotAX {
		t.Errorf("the number's slot is %d; user mode passes it in AX, slot %d", abi.Number, slotAX)
	}
	if offFPU%64 != 0 {
		t.Errorf("FPU area at %d; XSAVE wants a multiple of 64", offFPU)
	}
}

func TestInitUser(t *testing.T) {
	var u arch.UArea
	for i := range u.Frame {
		u.Frame[i] = 0xdead
	}
	for i := range u.FPU {
		u.FPU[i] = 0xff
	}
	u.Mach[machChecked] = 1
	initUser(&u, avx, 0x401000, 0x7ffffff0)
	for i, v := range u.Frame {
		want := map[int]uint64{slotPC: 0x401000, slotSP: 0x7ffffff0, slotFlags: 0x202}[i]
		if v != want {
			t.Errorf("slot %d is %#x, want %#x", i, v, want)
		}
	}
	if cw := binary.LittleEndian.Uint16(u.FPU[0:]); cw != 0x37f {
		t.Errorf("FCW %#x", cw)
	}
	if mx := binary.LittleEndian.Uint32(u.FPU[24:]); mx != 0x1f80 {
		t.Errorf("MXCSR %#x", mx)
	}
	for i := legacyFPU; i < legacyFPU+fpuHeader; i++ {
		if u.FPU[i] != 0 {
			t.Fatalf("XSAVE header byte %d is %#x: XRSTOR would fault", i, u.FPU[i])
		}
	}
	if !enterable(&u.Frame) {
		t.Error("a fresh frame is not enterable")
	}
	if u.Mach[machChecked] != 0 || u.FPU[fpuMask] != 0 {
		t.Error("old memory of the u-area counts as state")
	}
}

// The frame of a new u-area may have held anything. If Mach were not cleared, an old word
// could let a frame into user mode that has not been checked.
func TestCopyUser(t *testing.T) {
	var src, dst arch.UArea
	for i := range dst.Mach {
		dst.Mach[i] = 1
	}
	for i := range dst.FPU {
		dst.FPU[i], src.FPU[i] = 0xdd, 0x55
	}
	src.Frame[slotPC] = 7
	copyUser(&dst, &src, avx)
	if dst.Frame != src.Frame || dst.Mach != [len(dst.Mach)]uint64{} || dst.FPU[avx.Size-1] != 0x55 {
		t.Error("not a copy")
	}
}

func TestEnterable(t *testing.T) {
	for _, c := range []struct {
		slot int
		v    uint64
		ok   bool
	}{
		{slotPC, 0x00007fffffffffff, true},
		{slotPC, 0x0000800000000000, false}, // after a SYSCALL at the very top of the user half
		{slotPC, 0xffff800000000000, false},
		{slotPC, 0xffffffff80200000, false},
		{slotFS, 0x00007fffffffffff, true},
		{slotFS, 0xffffffffffffffff, true}, // canonical: user code can set it by itself
		{slotFS, 0x0000800000000000, false},
		{slotFS, 0xffff7fffffffffff, false},
		{slotGS, 0xffff800000000000, true},
		{slotGS, 0x8000000000000000, false},
		{slotSP, 0x8000000000000000, true}, // only its use faults, in user mode
	} {
		var f arch.Frame
		f[c.slot] = c.v
		if got := enterable(&f); got != c.ok {
			t.Errorf("slot %d = %#x: enterable is %v", c.slot, c.v, got)
		}
	}
}

// User code must not get into user mode with flags that the kernel relies on.
func TestUserFlags(t *testing.T) {
	for name, bit := range map[string]uint64{"IOPL": flagIOPL, "NT": flagNT, "IF": flagIF, "VM": 1 << 17, "VIF": 1 << 19} {
		if userFlags&bit != 0 {
			t.Errorf("user code may choose %s", name)
		}
	}
	for name, bit := range map[string]uint64{"TF": flagTF, "IF": flagIF, "DF": flagDF, "NT": flagNT, "AC": flagAC} {
		if uint64(kernelClears)&bit == 0 {
			t.Errorf("%s survives SYSCALL", name)
		}
	}
}
