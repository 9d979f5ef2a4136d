package amd64

import (
	"strings"
	"testing"

	"grim/arch"
)

func TestDecodeTrap(t *testing.T) {
	const cr2 = 0x1234000
	for _, c := range []struct {
		name   string
		vector uint64
		code   uint64
		kind   arch.TrapKind
		addr   arch.VA
		access arch.Prot
	}{
		{"divide", 0, 0, arch.Arithmetic, 0, 0},
		{"step", 1, 0, arch.Breakpoint, 0, 0},
		{"int3", 3, 0, arch.Breakpoint, 0, 0},
		{"ud2", 6, 0, arch.Illegal, 0, 0},
		{"stack", 12, 0, arch.Alignment, 0, 0},
		{"gp", 13, 0x18, arch.Protection, 0, 0},
		{"read absent", 14, 4, arch.PageFault, cr2, arch.Read},
		{"read kernel", 14, 5, arch.PageFault, cr2, arch.Read},
		{"write absent", 14, 6, arch.PageFault, cr2, arch.Write},
		{"write read-only", 14, 7, arch.PageFault, cr2, arch.Write},
		{"fetch", 14, 0x15, arch.PageFault, cr2, arch.Exec},
		{"as supervisor", 14, 1, arch.Protection, cr2, 0},
		{"x87", 16, 0, arch.Arithmetic, 0, 0},
		{"alignment", 17, 0, arch.Alignment, 0, 0},
		{"machine", 18, 0, arch.MachineCheck, 0, 0},
		{"simd", 19, 0, arch.Arithmetic, 0, 0},
		{"serial", vecIRQ + 4, 0, arch.Interrupt, 0, 0},
		{"timer", vecTimer, 0, arch.Interrupt, 0, 0},
		{"spurious", vecSpurious, 0, arch.Interrupt, 0, 0},
	} {
		trap := arch.Trap{Kind: undecoded, Code: c.code | c.vector<<32, Addr: cr2}
		decodeTrap(&trap)
		if trap.Kind != c.kind || trap.Addr != c.addr || trap.Access() != c.access {
			t.Errorf("%s: kind %d addr %#x access %v; want %d %#x %v", c.name, trap.Kind, trap.Addr, trap.Access(), c.kind, c.addr, c.access)
		}
		// A kernel address always counts as "present", because a handler sees the code.
		if c.kind == arch.PageFault {
			trap := arch.Trap{Kind: undecoded, Code: c.code | c.vector<<32, Addr: arch.DirectBase}
			if decodeTrap(&trap); trap.Code&pfPresent == 0 {
				t.Errorf("%s: user code can see that %#x is not mapped", c.name, trap.Addr)
			}
		}
		if uint32(trap.Code) != uint32(c.code) || uint8(trap.Code>>32) != uint8(c.vector) {
			t.Errorf("%s: code %#x lost the error code or vector", c.name, trap.Code)
		}
	}
}

// No exception may be taken for a system call.
func TestKindsComplete(t *testing.T) {
	for v, k := range kinds {
		if k == arch.Syscall || k == arch.Interrupt || k > arch.MachineCheck {
			t.Errorf("vector %d is kind %d", v, k)
		}
	}
}

func TestDisassemble(t *testing.T) {
	for _, c := range []struct {
		text []byte
		want string
	}{
		{[]byte{0x48, 0x8b, 0x00, 0xc3}, "0x1000: MOVQ 0(AX), AX"},
		{[]byte{0x0f, 0x0b}, "0x1000: UD2"},
		{[]byte{0x48}, "0x1000: no instruction"},
	} {
		if got := Disassemble(0x1000, c.text); !strings.HasPrefix(got, c.want) {
			t.Errorf("% x: %q, want %q", c.text, got, c.want)
		}
	}
}

// TestCause compares si_code and si_addr, by vector, with those of Linux.
func TestCause(t *testing.T) {
	const pc = arch.VA(0x401000)
	u := &arch.UArea{}
	for _, c := range []struct {
		name   string
		vector uint64
		bits   uint64
		change func()
		code   int32
		addr   arch.VA
	}{
		{"divide", 0, 0, nil, 1, pc},
		{"INT1", 1, 0, nil, 1, pc},
		{"step", 1, trapStep, nil, 2, pc},
		{"INT3", 3, 0, nil, 0x80, 0},
		{"undefined", 6, 0, nil, 2, pc},
		{"segment", 11, 0, nil, 0x80, 0},
		{"stack", 12, 0, nil, 0x80, 0},
		{"protection", 13, 0, nil, 0x80, 0},
		{"alignment", 17, 0, nil, 1, 0},
		{"x87, nothing unmasked", 16, 0, func() { u.FPU[0], u.FPU[2] = 0x7f, 0x3f }, 0, pc},
		{"x87 divide", 16, 0, func() { u.FPU[0], u.FPU[2] = 0x7b, 0x04 }, 3, pc},
		{"x87 invalid first", 16, 0, func() { u.FPU[0], u.FPU[2] = 0x40, 0x3f }, 7, pc},
		{"SSE divide", 19, 0, func() { u.FPU[24], u.FPU[25] = 0x84, 0x1d }, 3, pc},
		{"SSE overflow", 19, 0, func() { u.FPU[24], u.FPU[25] = 0x88, 0x1b }, 4, pc},
		{"SSE underflow", 19, 0, func() { u.FPU[24], u.FPU[25] = 0x90, 0x17 }, 5, pc},
		{"SSE denormal", 19, 0, func() { u.FPU[24], u.FPU[25] = 0x82, 0x1e }, 5, pc},
		{"SSE precision", 19, 0, func() { u.FPU[24], u.FPU[25] = 0xa0, 0x0f }, 6, pc},
	} {
		*u = arch.UArea{}
		u.Frame[slotPC] = uint64(pc)
		u.Trap.Code = c.vector<<32 | c.bits
		if c.change != nil {
			c.change()
		}
		code, addr := cause(u)
		if code != c.code || code != 0 && addr != c.addr {
			t.Errorf("%s: %d at %#x, want %d at %#x", c.name, code, addr, c.code, c.addr)
		}
	}
}
