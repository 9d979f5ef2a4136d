package arm64

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"grim/arch"
)

// TestDecode has the exception classes by number, from the manual's table. It does not use
// the names in esr.go.
func TestDecode(t *testing.T) {
	const far, sp = 0x7fff_1234_5678, 0x7fff_0000_0008
	syndrome := func(ec, iss uint64) uint64 { return ec<<26 | 1<<25 | iss }
	for _, c := range []struct {
		name   string
		vector uint64
		esr    uint64
		kind   arch.TrapKind
		addr   arch.VA
		access arch.Prot
	}{
		{"svc", 0, syndrome(0x15, 0), arch.Syscall, 0, 0},
		{"svc with a number", 0, syndrome(0x15, 0xffff), arch.Syscall, 0, 0},
		{"irq, stale syndrome", 1, syndrome(0x15, 0), arch.Interrupt, 0, 0},
		{"fiq", 2, syndrome(0x24, 7), arch.Interrupt, 0, 0},
		{"SError", 3, syndrome(0x2f, 0), arch.MachineCheck, 0, 0},
		{"read, translation level 0", 0, syndrome(0x24, 0x04), arch.PageFault, far, arch.Read},
		{"write, translation level 3", 0, syndrome(0x24, 0x47), arch.PageFault, far, arch.Write},
		{"read, access flag", 0, syndrome(0x24, 0x0b), arch.PageFault, far, arch.Read},
		{"write, permission level 2", 0, syndrome(0x24, 0x4e), arch.PageFault, far, arch.Write},
		{"cache maintenance, permission", 0, syndrome(0x24, 0x14f), arch.PageFault, far, arch.Read},
		{"fetch, translation", 0, syndrome(0x20, 0x06), arch.PageFault, far, arch.Exec},
		{"fetch, permission", 0, syndrome(0x20, 0x0f), arch.PageFault, far, arch.Exec},
		{"misaligned exclusive", 0, syndrome(0x24, 0x21), arch.Alignment, far, 0},
		{"atomic on the wrong memory", 0, syndrome(0x24, 0x35), arch.Alignment, far, 0},
		{"external abort", 0, syndrome(0x24, 0x10), arch.MachineCheck, far, 0},
		{"external abort, FAR not valid", 0, syndrome(0x24, 0x410), arch.MachineCheck, 0, 0},
		{"fetch, external on a walk", 0, syndrome(0x20, 0x17), arch.MachineCheck, far, 0},
		{"address size", 0, syndrome(0x24, 0x01), arch.MachineCheck, far, 0},
		{"pc alignment", 0, syndrome(0x22, 0), arch.Alignment, far, 0},
		{"sp alignment", 0, syndrome(0x26, 0), arch.Alignment, sp, 0},
		{"floating point", 0, syndrome(0x2c, 1<<23), arch.Arithmetic, 0, 0},
		{"brk", 0, syndrome(0x3c, 1), arch.Breakpoint, 0, 0},
		{"step", 0, syndrome(0x32, 0x22), arch.Breakpoint, 0, 0},
		{"watchpoint", 0, syndrome(0x34, 0x22), arch.Breakpoint, 0, 0},
		{"unknown", 0, syndrome(0x00, 0), arch.Illegal, 0, 0},
		{"illegal state", 0, syndrome(0x0e, 0), arch.Illegal, 0, 0},
		{"mrs", 0, syndrome(0x18, 1), arch.Illegal, 0, 0},
		{"sve", 0, syndrome(0x19, 0), arch.Illegal, 0, 0},
		{"bti", 0, syndrome(0x0d, 0), arch.Illegal, 0, 0},
		{"pointer authentication", 0, syndrome(0x1c, 0), arch.Illegal, 0, 0},
		{"not allocated yet", 0, syndrome(0x3f, 0), arch.Illegal, 0, 0},
	} {
		got := decode(c.vector, c.esr, far, sp)
		if got.Kind != c.kind || got.Addr != c.addr || got.Access() != c.access {
			t.Errorf("%s: kind %d, addr %#x, access %v; want %d, %#x, %v",
				c.name, got.Kind, got.Addr, got.Access(), c.kind, c.addr, c.access)
		}
		if got.Code&^(7<<accessShift) != c.esr {
			t.Errorf("%s: code %#x does not hold the syndrome %#x", c.name, got.Code, c.esr)
		}
	}
}

// FuzzDecode: whatever the CPU reports, a page fault has exactly one kind of access and the
// address, and no other trap has a kind of access.
func FuzzDecode(f *testing.F) {
	f.Add(uint64(0), uint64(0x92000047), uint64(0x1000), uint64(0x2000))
	f.Fuzz(func(t *testing.T, vector, esr, far, sp uint64) {
		esr &= 1<<56 - 1
		got := decode(vector&3, esr, far, sp)
		access := got.Access()
		one := access == arch.Read || access == arch.Write || access == arch.Exec
		if page := got.Kind == arch.PageFault; page != one || page && got.Addr != arch.VA(far) || !page && access != 0 {
			t.Errorf("vector %d, esr %#x: kind %d, access %v, addr %#x", vector&3, esr, got.Kind, access, got.Addr)
		}
		if got.Kind > arch.MachineCheck {
			t.Errorf("esr %#x: kind %d does not exist", esr, got.Kind)
		}
	})
}

// Run does not decode a trap of vector fromSync with the class of SVC.
func TestSyscallNeedsNoDecoding(t *testing.T) {
	if arch.TrapKind(fromSync) != arch.Syscall {
		t.Errorf("fromSync is %d, arch.Syscall %d", fromSync, arch.Syscall)
	}
}

// A syndrome does not show user code whether a kernel address is mapped.
func TestKernelAddressSyndrome(t *testing.T) {
	const far = 0xffff_8000_0000_0000
	for _, class := range []uint64{0x24, 0x20} {
		absent, present := decode(0, class<<26|0x07, far, 0), decode(0, class<<26|0x0f, far, 0)
		if absent != present || absent.Code>>26&0x3f != class || absent.Kind != arch.PageFault {
			t.Errorf("class %#x: %+v and %+v", class, absent, present)
		}
	}
}

// TestCause has si_code and si_addr as Linux returns them.
func TestCause(t *testing.T) {
	const pc, far = arch.VA(0x401000), arch.VA(0x7fff_0000_1234)
	for _, c := range []struct {
		name string
		esr  uint64
		code int32
		addr arch.VA
	}{
		{"udf", 0, 1, pc},
		{"mrs", 0x18 << 26, 1, pc},
		{"illegal state", 0x0e << 26, 1, pc},
		{"brk", 0x3c << 26, 1, pc},
		{"step", 0x32 << 26, 2, pc},
		{"breakpoint", 0x30 << 26, 4, pc},
		{"pc alignment", 0x22 << 26, 1, far},
		{"data alignment", 0x24<<26 | 0x21, 1, far},
		{"exclusive", 0x24<<26 | 0x35, 3, far},
		{"external", 0x24<<26 | 0x10, 3, far},
		{"floating point", 0x2c << 26, 14, pc},
		{"divide", 0x2c<<26 | 1<<23 | 2, 3, pc},
		{"invalid", 0x2c<<26 | 1<<23 | 0x13, 7, pc},
	} {
		u := &arch.UArea{}
		u.Frame[slotPC] = uint64(pc)
		u.Trap = decode(0, c.esr, uint64(far), 0)
		if code, addr := cause(u); code != c.code || addr != c.addr {
			t.Errorf("%s: %d at %#x, want %d at %#x", c.name, code, addr, c.code, c.addr)
		}
	}
}

// entry.s contains the bits of PSTATE that user code may choose.
func TestUserPSTATE(t *testing.T) {
	text, err := os.ReadFile("entry.s")
	if err != nil || !strings.Contains(string(text), fmt.Sprintf("#define PSTATE_USER\t%#x\n", uint64(UserPSTATE))) {
		t.Errorf("entry.s: %v, or another PSTATE_USER than %#x", err, uint64(UserPSTATE))
	}
}
