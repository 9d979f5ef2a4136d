package amd64

import (
	"bytes"
	"encoding/binary"
	"testing"

	"grim/arch"
)

var (
	fxsave = FPU{Size: legacyFPU}
	avx    = FPU{Features: xcr0Base | xcr0AVX, Size: 832}
	avx512 = FPU{Features: xcr0Base | xcr0AVX | xcr0AVX512, Size: 2688}
)

// filledUArea returns a u-area with the state of a thread that has run, including the CPU's
// MXCSR_MASK. All other bytes are 0xdd.
func filledUArea(f FPU) *arch.UArea {
	u := new(arch.UArea)
	for i := range u.FPU {
		u.FPU[i] = 0xdd
	}
	le := binary.LittleEndian
	le.PutUint32(u.FPU[fpuMXCSR:], 0x1fa0)
	le.PutUint32(u.FPU[fpuMask:], 0xffff)
	if f.Features != 0 {
		clear(u.FPU[xstateBV:][:fpuHeader])
		le.PutUint64(u.FPU[xstateBV:], f.Features)
	}
	return u
}

func TestResetFPU(t *testing.T) {
	le := binary.LittleEndian
	for _, f := range []FPU{fxsave, avx, avx512} {
		u := filledUArea(f)
		f.Reset(u)
		if le.Uint16(u.FPU[:]) != 0x37f || le.Uint32(u.FPU[fpuMXCSR:]) != 0x1f80 || le.Uint32(u.FPU[fpuMask:]) != 0xffff {
			t.Errorf("%+v: FCW %#x, MXCSR %#x, mask %#x", f, u.FPU[:2], u.FPU[fpuMXCSR:][:4], u.FPU[fpuMask:][:4])
		}
		if rest := bytes.Trim(u.FPU[fpuMask+4:f.Size], "\x00"); len(rest) != 0 {
			t.Errorf("%+v: %d bytes of old state", f, len(rest))
		}
	}
}

// Load accepts what XRSTOR accepts, and nothing else.
func TestLoadFPU(t *testing.T) {
	le := binary.LittleEndian
	put32 := func(off int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	put64 := func(off int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[off:], v) } }
	for _, c := range []struct {
		name       string
		f          FPU
		n          int
		components uint64
		change     func(image []byte)
		ok         bool
		bv         uint64
		mxcsr      uint32
	}{
		{"whole", avx, 832, 7, nil, true, 7, 0x1fa0},
		{"whole", avx512, 2688, 0xe7, nil, true, 0xe7, 0x1fa0},
		{"legacy on AVX", avx, 512, 3, nil, true, 3, 0x1fa0},
		{"FXSAVE", fxsave, 512, 3, nil, true, 0, 0x1fa0},
		{"short", avx, 511, 7, nil, false, 0, 0},
		{"between", avx, 700, 7, nil, false, 0, 0},
		{"long", avx, 833, 7, nil, false, 0, 0},
		{"x87 only: MXCSR is the initial one", avx, 832, 1, put32(fpuMXCSR, 0xffffffff), true, 1, 0x1f80},
		{"components not asked for", avx, 832, 5, nil, true, 5, 0x1fa0},
		{"components that the image has not", avx, 832, 7, put64(xstateBV, 2), true, 2, 0x1fa0},
		{"MXCSR", avx, 832, 7, put32(fpuMXCSR, 0x11fa0), false, 0, 0},
		{"MXCSR, legacy", avx, 512, 3, put32(fpuMXCSR, 1<<31), false, 0, 0},
		{"MXCSR, FXSAVE", fxsave, 512, 3, put32(fpuMXCSR, 1<<16), false, 0, 0},
		{"MXCSR_MASK is not taken", avx, 832, 7, put32(fpuMask, ^uint32(0)), true, 7, 0x1fa0},
		{"XSTATE_BV", avx, 832, 7, put64(xstateBV, 8), false, 0, 0},
		{"XCOMP_BV", avx, 832, 7, put64(xstateBV+8, 1<<63|7), false, 0, 0},
		{"reserved header", avx, 832, 7, put64(xstateBV+16, 1), false, 0, 0},
		{"header that XRSTOR ignores", avx, 832, 7, put64(xstateBV+56, 1), true, 7, 0x1fa0},
	} {
		u := filledUArea(c.f)
		image := bytes.Clone(filledUArea(c.f).FPU[:c.n])
		for i := range image[:24] {
			image[i] = 0x11
		}
		if c.change != nil {
			c.change(image)
		}
		before := *u
		ok := c.f.Load(u, image, c.components)
		if ok != c.ok || !ok && *u != before {
			t.Errorf("%s: %v, changed: %v", c.name, ok, *u != before)
			continue
		}
		if !ok {
			continue
		}
		if u.FPU[0] != 0x11 || le.Uint32(u.FPU[fpuMask:]) != 0xffff || le.Uint32(u.FPU[fpuMXCSR:]) != c.mxcsr {
			t.Errorf("%s: %#x, mask % x, MXCSR % x", c.name, u.FPU[0], u.FPU[fpuMask:][:4], u.FPU[fpuMXCSR:][:4])
		}
		if c.f.Features != 0 {
			header := u.FPU[xstateBV:][:fpuHeader]
			if le.Uint64(header) != c.bv || len(bytes.Trim(header[8:], "\x00")) != 0 {
				t.Errorf("%s: header % x, want XSTATE_BV %#x", c.name, header, c.bv)
			}
		}
		if c.n < c.f.Size && len(bytes.Trim(u.FPU[c.n+fpuHeader:c.f.Size], "\x00")) != 0 {
			t.Errorf("%s: old extended state is left", c.name)
		}
	}
}
