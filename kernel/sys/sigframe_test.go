package sys

import (
	"bytes"
	"math/rand"
	"syscall"
	"testing"

	"grim/arch"
	"grim/arch/amd64"
	"grim/arch/arm64"
	"grim/proc"
)

// stackMemory is a user stack at base.
type stackMemory struct {
	base arch.VA
	b    []byte
}

func (m *stackMemory) at(va arch.VA, n int) ([]byte, error) {
	if va < m.base || uint64(va-m.base)+uint64(n) > uint64(len(m.b)) {
		return nil, syscall.EFAULT
	}
	return m.b[va-m.base:][:n], nil
}

func (m *stackMemory) CopyIn(dst []byte, src arch.VA) error {
	b, err := m.at(src, len(dst))
	copy(dst, b)
	return err
}

func (m *stackMemory) CopyOut(dst arch.VA, src []byte) error {
	b, err := m.at(dst, len(src))
	copy(b, src)
	return err
}

const stackBase, stackLen = arch.VA(0x7000_0000), 64 << 10

type frameCase struct {
	name    string
	frame   sigframe
	abi     *arch.ABI
	flags   int    // slot of the flags register
	user    uint64 // the bits of flags that user code may change
	fpuUsed int    // bytes of UArea.FPU that survive a round trip
}

var frameCases = []frameCase{
	{"amd64-fxsave", amd64Sigframe{amd64.FPU{Size: 512}}, amd64.ABI(), amd64.RFLAGS, amd64UserFlags, fxSoftware},
	{"amd64-sse", amd64Sigframe{amd64.FPU{Features: 3, Size: 576}}, amd64.ABI(), amd64.RFLAGS, amd64UserFlags, fxSoftware},
	{"amd64-avx", amd64Sigframe{amd64.FPU{Features: 7, Size: 832}}, amd64.ABI(), amd64.RFLAGS, amd64UserFlags, fxSoftware},
	// AVX-512 at AMD's offset, which is lower than Intel's.
	{"amd64-avx512", amd64Sigframe{amd64.FPU{Features: 0xe7, Size: 2432}}, amd64.ABI(), amd64.RFLAGS, amd64UserFlags, fxSoftware},
	{"amd64-avx512-intel", amd64Sigframe{amd64.FPU{Features: 0xe7, Size: 2688}}, amd64.ABI(), amd64.RFLAGS, amd64UserFlags, fxSoftware},
	{"arm64", arm64Sigframe{}, &arm64.ABI, arm64.PSTATE, arm64.UserPSTATE, 512},
}

// Offsets in an FPU image.
const (
	fxMXCSR     = 24
	fxMXCSRMask = 28
	xsHeader    = 512
	xsHeaderLen = 64
)

// newThread returns a u-area with arbitrary but possible contents, and a stack.
func (c *frameCase) newThread(seed int64) (*arch.UArea, *stackMemory, arch.VA) {
	r := rand.New(rand.NewSource(seed))
	u := new(arch.UArea)
	for i := range u.Frame {
		u.Frame[i] = r.Uint64()
	}
	r.Read(u.FPU[:])
	u.Frame[c.abi.PC] &= uint64(arch.UserMax - 1)
	if c.abi.Name == "arm64" {
		u.Frame[c.flags] = u.Frame[c.flags]&arm64.UserPSTATE | 0x40 // as the kernel lets user code run
	}
	if a, ok := c.frame.(amd64Sigframe); ok {
		le.PutUint32(u.FPU[fxMXCSR:], 0x1fa0)
		le.PutUint32(u.FPU[fxMXCSRMask:], 0xffff)
		clear(u.FPU[xsHeader : xsHeader+xsHeaderLen])
		le.PutUint64(u.FPU[xsHeader:], a.fpu.Features)
	}
	sp := stackBase + stackLen - arch.VA(r.Intn(100))
	u.Frame[c.abi.SP] = uint64(sp)
	return u, &stackMemory{stackBase, make([]byte, stackLen)}, sp
}

// A frame that is pushed and restored restores every register and all FPU state, even after
// the handler has changed all of them. Nothing above the stack pointer or below the frame
// is written.
func TestSigframeRoundTrip(t *testing.T) {
	for _, c := range frameCases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range int64(50) {
				u, mem, sp := c.newThread(seed)
				before := *u
				d := delivery{sig: 11, info: &siginfo{0: 11, 127: 9}, handler: 0x4000, restorer: 0x5000, top: sp - 128,
					mask: 0xabcd, stack: sigStack{SP: 1, Flags: 2, Size: 3}, fault: 0x1234, code: 0x7}
				if err := c.frame.push(mem, u, &d); err != nil {
					t.Fatal(err)
				}
				if b, _ := mem.at(sp-128, int(stackBase+stackLen-(sp-128))); len(bytes.Trim(b, "\x00")) != 0 {
					t.Fatalf("seed %d: written above the top", seed)
				}
				frame := arch.VA(u.Frame[c.abi.SP])
				if b, _ := mem.at(stackBase, int(frame-stackBase)); len(bytes.Trim(b, "\x00")) != 0 {
					t.Fatalf("seed %d: written below the frame", seed)
				}
				c.checkEntry(t, u, mem, &d)
				c.checkHandlerFPU(t, u, &before)
				if n := int(sp-128) - int(frame); n > c.frame.size() {
					t.Fatalf("seed %d: a frame of %d bytes, AT_MINSIGSTKSZ says %d", seed, n, c.frame.size())
				}
				keep := u.Frame[c.flags] // the kernel's bits must not change
				for i := range u.Frame {
					if i != c.abi.SP && i != c.flags && i != c.abi.TLS && (c.abi.Name == "arm64" || inOrder(i)) {
						u.Frame[i] = ^uint64(0)
					}
				}
				for i := range u.FPU[:fxMXCSR] {
					u.FPU[i] = 0xee
				}
				if c.abi.Name == "amd64" {
					u.Frame[c.abi.SP] += 8
				}
				mask, stack, err := c.frame.restore(mem, u)
				if err != nil || mask != d.mask || stack != d.stack {
					t.Fatalf("seed %d: %#x %+v %v", seed, mask, stack, err)
				}
				want := before.Frame
				want[c.flags] = keep&^c.user | want[c.flags]&c.user
				if c.abi.Name == "arm64" {
					for i := 35; i < arch.FrameRegs; i++ {
						want[i] = ^uint64(0) // slots without a register
					}
				}
				if u.Frame != want {
					t.Fatalf("seed %d: frame\n%x, want\n%x", seed, u.Frame, want)
				}
				if !bytes.Equal(u.FPU[:c.fpuUsed], before.FPU[:c.fpuUsed]) {
					t.Fatalf("seed %d: FPU", seed)
				}
				c.checkFPU(t, u, &before)
			}
		})
	}
}

func inOrder(slot int) bool {
	for _, s := range amd64Order {
		if s == slot {
			return true
		}
	}
	return false
}

func (c *frameCase) checkFPU(t *testing.T, u, before *arch.UArea) {
	t.Helper()
	switch a := c.frame.(type) {
	case arm64Sigframe:
		if !bytes.Equal(u.FPU[512:516], before.FPU[512:516]) || !bytes.Equal(u.FPU[520:524], before.FPU[520:524]) {
			t.Fatal("FPCR, FPSR")
		}
	case amd64Sigframe:
		if a.fpu.Features != 0 && !bytes.Equal(u.FPU[xsHeader:a.fpu.Size], before.FPU[xsHeader:a.fpu.Size]) {
			t.Fatal("extended state")
		}
	}
}

// checkHandlerFPU checks that a handler starts with the FPU state of Linux: the initial
// state on amd64, the state of the interrupted code on arm64.
func (c *frameCase) checkHandlerFPU(t *testing.T, u, before *arch.UArea) {
	t.Helper()
	if c.abi.Name == "arm64" {
		if u.FPU != before.FPU {
			t.Fatal("FPU state changed for the handler")
		}
		return
	}
	if le.Uint16(u.FPU[:]) != 0x37f || le.Uint32(u.FPU[fxMXCSR:]) != 0x1f80 {
		t.Fatalf("the handler starts with FCW %#x, MXCSR %#x", le.Uint16(u.FPU[:]), le.Uint32(u.FPU[fxMXCSR:]))
	}
	if size := c.frame.(amd64Sigframe).fpu.Size; len(bytes.Trim(u.FPU[32:size], "\x00")) != 0 {
		t.Fatal("the handler sees registers of the interrupted code")
	}
}

// checkEntry checks what the handler sees, by Linux's layout.
func (c *frameCase) checkEntry(t *testing.T, u *arch.UArea, mem *stackMemory, d *delivery) {
	t.Helper()
	f := &u.Frame
	sp := arch.VA(f[c.abi.SP])
	info, uc := sp+312, sp+8
	if c.abi.Name == "arm64" {
		info, uc = sp, sp+128
		if sp%16 != 0 || f[30] != uint64(d.restorer) {
			t.Fatalf("SP %#x LR %#x", sp, f[30])
		}
	} else {
		ret, _ := mem.at(sp, 8)
		if sp%16 != 8 || le.Uint64(ret) != uint64(d.restorer) || f[amd64.RFLAGS]&(1<<10) != 0 {
			t.Fatalf("SP %#x", sp)
		}
	}
	if f[c.abi.PC] != uint64(d.handler) || f[c.abi.Arg[0]] != 11 || f[c.abi.Arg[1]] != uint64(info) || f[c.abi.Arg[2]] != uint64(uc) {
		t.Fatalf("entry registers: pc %#x, %#x %#x %#x", f[c.abi.PC], f[c.abi.Arg[0]], f[c.abi.Arg[1]], f[c.abi.Arg[2]])
	}
	b, err := mem.at(info, 128)
	if err != nil || b[0] != 11 || b[127] != 9 {
		t.Fatal("siginfo is not where the argument says")
	}
}

// The extended state describes itself, so that user code finds it (sw_reserved and the
// final magic number).
func TestSigframeFPUMagic(t *testing.T) {
	c := &frameCases[2]
	u, mem, sp := c.newThread(1)
	if err := c.frame.push(mem, u, &delivery{info: new(siginfo), top: sp}); err != nil {
		t.Fatal(err)
	}
	p, _ := mem.at(arch.VA(u.Frame[amd64.RSP])+amd64FPState, 8)
	fp := arch.VA(le.Uint64(p))
	b, err := mem.at(fp, 832+4)
	if err != nil || fp%64 != 0 {
		t.Fatalf("fpstate at %#x: %v", fp, err)
	}
	if le.Uint32(b[464:]) != 0x46505853 || le.Uint32(b[468:]) != 836 || le.Uint64(b[472:]) != 7 ||
		le.Uint32(b[480:]) != 832 || le.Uint32(b[832:]) != 0x46505845 {
		t.Errorf("sw_reserved % x, end % x", b[464:512], b[832:])
	}
}

// sigreturn trusts nothing. Whatever the frame contains, the kernel's bits of the flags do
// not change, the FPU image stays loadable, and a failure changes nothing.
func TestSigreturnHostile(t *testing.T) {
	for _, c := range frameCases {
		t.Run(c.name, func(t *testing.T) {
			ok := 0
			for seed := range int64(3000) {
				u, mem, sp := c.newThread(seed)
				if err := c.frame.push(mem, u, &delivery{info: new(siginfo), top: sp}); err != nil {
					t.Fatal(err)
				}
				r := rand.New(rand.NewSource(seed))
				frame := mem.b[arch.VA(u.Frame[c.abi.SP])-stackBase:]
				for range 1 + r.Intn(40) { // bytes and words anywhere in it
					i := r.Intn(len(frame) - 8)
					le.PutUint64(frame[i:], r.Uint64()&r.Uint64())
				}
				if c.abi.Name == "amd64" {
					u.Frame[c.abi.SP] += 8
				}
				before := *u
				_, _, err := c.frame.restore(mem, u)
				if err != nil {
					if *u != before {
						t.Fatalf("seed %d: %v, and changed", seed, err)
					}
					continue
				}
				ok++
				if (u.Frame[c.flags]^before.Frame[c.flags])&^c.user != 0 {
					t.Fatalf("seed %d: flags %#x were %#x", seed, u.Frame[c.flags], before.Frame[c.flags])
				}
				if u.Frame[c.abi.TLS] != before.Frame[c.abi.TLS] {
					t.Fatalf("seed %d: thread pointer", seed)
				}
				c.loadable(t, u)
			}
			if ok == 0 {
				t.Error("no frame was accepted: the test tests nothing")
			}
		})
	}
}

// loadable checks what XRSTOR and FXRSTOR check.
func (c *frameCase) loadable(t *testing.T, u *arch.UArea) {
	a, ok := c.frame.(amd64Sigframe)
	if !ok {
		return
	}
	if m := le.Uint32(u.FPU[fxMXCSR:]); m&^0xffff != 0 {
		t.Fatalf("MXCSR %#x", m)
	}
	if a.fpu.Features == 0 {
		return
	}
	if bv := le.Uint64(u.FPU[xsHeader:]); bv&^a.fpu.Features != 0 {
		t.Fatalf("XSTATE_BV %#x", bv)
	}
	if len(bytes.Trim(u.FPU[xsHeader+8:xsHeader+xsHeaderLen], "\x00")) != 0 {
		t.Fatal("XSAVE header")
	}
}

// No byte of a frame comes from memory that was not written. The CPU fills fpu.Size bytes
// of the u-area. With the length of Intel's area on a CPU with AMD's layout, this test
// found 256 bytes of old memory in the frame.
func TestSigframeNothingOld(t *testing.T) {
	for _, c := range frameCases {
		old := func(poison byte) []byte {
			u, mem, sp := c.newThread(3)
			used := 528 // arm64
			if a, ok := c.frame.(amd64Sigframe); ok {
				used = a.fpu.Size
			}
			for i := used; i < len(u.FPU); i++ {
				u.FPU[i] = poison
			}
			for i := range u.Mach {
				u.Mach[i] = uint64(poison) * 0x0101010101010101
			}
			u.Trap = arch.Trap{Kind: arch.TrapKind(poison), Code: uint64(poison), Addr: arch.VA(poison)}
			for i := range c.unusedSlots() {
				u.Frame[i] = uint64(poison)
			}
			if err := c.frame.push(mem, u, &delivery{info: new(siginfo), top: sp}); err != nil {
				t.Fatal(err)
			}
			return mem.b
		}
		if !bytes.Equal(old(0xaa), old(0x55)) {
			t.Errorf("%s: the frame has bytes of what the u-area held before", c.name)
		}
	}
}

// unusedSlots returns the slots of the frame that hold no register.
func (c *frameCase) unusedSlots() map[int]bool {
	slots := map[int]bool{}
	for i := range arch.FrameRegs {
		if c.abi.Name == "arm64" && i > arm64.PSTATE+1 || c.abi.Name == "amd64" && i > amd64.GSBase {
			slots[i] = true
		}
	}
	return slots
}

// Frames that Linux refuses are refused: privileged modes, interrupt masks, selectors that
// are not user mode's, FPU state that the CPU would refuse. Contents that Linux repairs or
// ignores are repaired or ignored.
func TestSigreturnRefuses(t *testing.T) {
	put16 := func(off int, v uint16) func([]byte) { return func(b []byte) { le.PutUint16(b[off:], v) } }
	put32 := func(off int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	put64 := func(off int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[off:], v) } }
	fpu := func(f func([]byte)) func([]byte) {
		return func(b []byte) {
			// The frame says where the FPU state is. The frame starts at b.
			at := int(le.Uint64(b[amd64FPState:])) - int(le.Uint64(b[len(b)-8:]))
			f(b[at:])
		}
	}
	type edit struct {
		name   string
		change func(frame []byte)
		ok     bool
	}
	cases := map[string][]edit{
		"arm64": {
			{"nothing", func([]byte) {}, true},
			{"EL1h", put64(arm64PState, 5), false},
			{"EL1t", put64(arm64PState, 4), false},
			{"EL2h", put64(arm64PState, 9), false},
			{"EL0 with SP_EL1", put64(arm64PState, 1), false},
			{"AArch32", put64(arm64PState, 0x10), false},
			{"D", put64(arm64PState, 1<<9), false},
			{"A", put64(arm64PState, 1<<8), false},
			{"I", put64(arm64PState, 1<<7), false},
			{"F", put64(arm64PState, 1<<6), false},
			{"reserved bits", put64(arm64PState, 0xffffffff<<32|3<<26|3<<22|0xff<<13|1<<5), true},
			{"flags", put64(arm64PState, 0xf<<28), true},
			{"no FPSIMD record", put64(arm64Records, 0), false},
			{"record of size 8", put32(arm64Records+4, 8), false},
			{"unknown record", put32(arm64Records+fpsimdLen, 0x77777777), false},
		},
		"amd64": {
			{"nothing", func([]byte) {}, true},
			{"CS 0", put16(amd64CS, 0), false},
			{"kernel CS", put16(amd64CS, 0x10), false},
			{"CS without RPL", put16(amd64CS, 0x30), true},
			{"CS of the data segment", put16(amd64CS, 0x2b), false},
			{"SS 0", put16(amd64CS+6, 0), false},
			{"kernel SS", put16(amd64CS+6, 0x18), false},
			{"SS 0, not strict", func(b []byte) { put16(amd64CS+6, 0)(b); put64(amd64Flags, 3)(b) }, true},
			{"flags of the kernel", put64(amd64Regs+8*17, ^uint64(0)), true},
			{"RIP of the kernel", put64(amd64Regs+8*16, 0xffffffff80200000), false},
			{"RIP not canonical", put64(amd64Regs+8*16, 1<<47), false},
			{"no FPU state", put64(amd64FPState, 0), true},
			{"FPU state at 8", put64(amd64FPState, 8), false},
			{"FPU state unmapped", put64(amd64FPState, 0x1000), false},
			{"MXCSR", fpu(put32(fxMXCSR, 1<<20)), false},
			{"MXCSR_MASK", fpu(put32(fxMXCSRMask, ^uint32(0))), true},
		},
		"extended": {
			{"XSTATE_BV", fpu(put64(xsHeader, 1<<9)), false},
			{"compact", fpu(put64(xsHeader+8, 1<<63)), false},
			{"header", fpu(put64(xsHeader+16, 1)), false},
			{"no magic: legacy state", fpu(put32(fxSoftware, 0)), true},
			{"components that are not there", fpu(put64(fxSoftware+8, ^uint64(0))), true},
			{"too long: legacy state", fpu(put32(fxSoftware+16, 1<<20)), true},
		},
	}
	for _, c := range frameCases {
		edits := cases[c.abi.Name]
		if a, ok := c.frame.(amd64Sigframe); ok && a.fpu.Features != 0 {
			edits = append(edits, cases["extended"]...)
		}
		for _, e := range edits {
			u, mem, sp := c.newThread(1)
			if err := c.frame.push(mem, u, &delivery{info: new(siginfo), top: sp - 256}); err != nil {
				t.Fatal(err)
			}
			frame := mem.b[arch.VA(u.Frame[c.abi.SP])-stackBase:]
			le.PutUint64(frame[len(frame)-8:], u.Frame[c.abi.SP]) // for fpu
			e.change(frame)
			if c.abi.Name == "amd64" {
				u.Frame[c.abi.SP] += 8
			}
			before := *u
			_, _, err := c.frame.restore(mem, u)
			if (err == nil) != e.ok || err != nil && *u != before {
				t.Errorf("%s, %s: %v, changed: %v", c.name, e.name, err, *u != before)
			}
		}
	}
}

// Without room, with a stack pointer that wraps, or with a kernel one: EFAULT, and no
// change.
func TestSigframeNoRoom(t *testing.T) {
	for _, c := range frameCases {
		for _, top := range []arch.VA{0, 100, stackBase + 200, stackBase, arch.UserMax, 1 << 63, ^arch.VA(0)} {
			u, mem, _ := c.newThread(1)
			before := *u
			if err := c.frame.push(mem, u, &delivery{info: new(siginfo), top: top}); err != syscall.EFAULT || *u != before {
				t.Errorf("%s at %#x: %v", c.name, top, err)
			}
		}
	}
}

// A frame that would leave the alternate stack is refused, even if the memory below is
// mapped.
func TestSigframeLeavesStack(t *testing.T) {
	for _, c := range frameCases {
		u, mem, sp := c.newThread(1)
		before := *u
		room := arch.VA(c.frame.size()) - 400
		d := delivery{info: new(siginfo), top: sp, within: &proc.AltStack{SP: sp - room, Size: uint64(room)}}
		if err := c.frame.push(mem, u, &d); err != syscall.EFAULT || *u != before {
			t.Errorf("%s: %v", c.name, err)
		}
		d.within = &proc.AltStack{SP: stackBase, Size: uint64(sp - stackBase)}
		if err := c.frame.push(mem, u, &d); err != nil {
			t.Errorf("%s: %v with room enough", c.name, err)
		}
	}
}
