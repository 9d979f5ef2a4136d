package amd64

import (
	"math"
	"testing"
)

type leaf struct{ n, sub uint32 }

// fakeCPU answers CPUID from a table, and with zeros for leaves that are not in it.
func fakeCPU(regs map[leaf][4]uint32) func(n, sub uint32) (a, b, c, d uint32) {
	return func(n, sub uint32) (uint32, uint32, uint32, uint32) {
		r := regs[leaf{n, sub}]
		return r[0], r[1], r[2], r[3]
	}
}

func TestFeaturesNone(t *testing.T) {
	f := decodeFeatures(fakeCPU(map[leaf][4]uint32{
		{0, 0}:          {1, 0x756e6547, 0x6c65746e, 0x49656e69},
		{0x80000000, 0}: {0x80000001, 0, 0, 0},
	}))
	if f != (Features{Name: "GenuineIntel", FPUBytes: legacyFPU}) {
		t.Errorf("a bare CPU has %+v", f)
	}
}

func TestFeaturesAll(t *testing.T) {
	f := decodeFeatures(fakeCPU(map[leaf][4]uint32{
		{0, 0}:          {0x15, 0, 0, 0},
		{1, 0}:          {0, 0, 1<<17 | 1<<24 | 1<<26 | 1<<30, 0},
		{7, 0}:          {0, 1<<0 | 1<<7 | 1<<10 | 1<<18 | 1<<20, 1 << 2, 0},
		{0xd, 0}:        {0xe7, 0, 0, 0},
		{0xd, 2}:        {256, 576, 0, 0},
		{0xd, 5}:        {64, 1088, 0, 0},
		{0xd, 6}:        {512, 1152, 0, 0},
		{0xd, 7}:        {1024, 1664, 0, 0},
		{0x15, 0}:       {2, 200, 24000000, 0},
		{0x80000000, 0}: {0x80000004, 0, 0, 0},
		{0x80000001, 0}: {0, 0, 0, 1 << 26},
		{0x80000002, 0}: {0x20202020, 0x20555043, 0x3130, 0},
	}))
	want := Features{Name: "CPU 01", SMEP: true, SMAP: true, UMIP: true, PCID: true, FSGSBase: true, XSAVE: true,
		XCR0: 0xe7, FPUBytes: 2688, Page1GB: true, Deadline: true, RDRAND: true, RDSEED: true, TSCHz: 2_400_000_000, LAPICHz: 24_000_000}
	if f != want {
		t.Errorf("have %+v\nwant %+v", f, want)
	}
}

// PCID without INVPCID is not used. State components that do not fit into the u-area are
// not enabled. The hypervisor's timing leaf counts kHz.
func TestFeaturesPart(t *testing.T) {
	f := decodeFeatures(fakeCPU(map[leaf][4]uint32{
		{0, 0}:          {0xd, 0, 0, 0},
		{1, 0}:          {0, 0, 1<<17 | 1<<26 | 1<<31, 0},
		{0xd, 0}:        {0xe7, 0, 0, 0},
		{0xd, 2}:        {256, 576, 0, 0},
		{0xd, 5}:        {64, 1088, 0, 0},
		{0xd, 6}:        {512, 1152, 0, 0},
		{0xd, 7}:        {1024, 2561, 0, 0}, // ends one byte too late
		{0x40000000, 0}: {0x40000010, 0, 0, 0},
		{0x40000010, 0}: {3000001, 1000000, 0, 0},
	}))
	if f.PCID {
		t.Error("PCID without INVPCID")
	}
	if f.XCR0 != 7 || f.FPUBytes != 832 {
		t.Errorf("XCR0 %#x, %d bytes of state, want x87, SSE, AVX: 832", f.XCR0, f.FPUBytes)
	}
	if f.TSCHz != 3_000_001_000 || f.LAPICHz != 1e9 {
		t.Errorf("TSC %d Hz, LAPIC %d Hz", f.TSCHz, f.LAPICHz)
	}
}

func TestTimerTicks(t *testing.T) {
	const mult = 1 << 32 // 1 GHz
	for _, c := range []struct {
		ns   int64
		mult uint64
		want uint32
	}{
		{-5, mult, 1}, {0, mult, 1}, {1, mult, 1}, {1000, mult, 1000},
		{1, mult / 100, 1}, {1000, mult / 100, 9}, // rounded down, never to 0
		{math.MaxUint32, mult, math.MaxUint32}, {math.MaxUint32 + 1, mult, math.MaxUint32},
		{math.MaxInt64 - 1, mult, math.MaxUint32}, {math.MaxInt64 - 1, mult * 4, math.MaxUint32},
	} {
		if got := timerTicks(c.ns, c.mult); got != c.want {
			t.Errorf("%d ns at %#x: %d ticks, want %d", c.ns, c.mult, got, c.want)
		}
	}
}

func TestFrequencies(t *testing.T) {
	a := clockSample{tsc: math.MaxUint64 - 99, ref: 1000, apic: 500}
	b := clockSample{tsc: 30_000_000 - 100, ref: 1000 + 11932, apic: math.MaxUint32 - 999_999 + 500}
	tsc, apic := frequencies(a, b, 1193182)
	// 11932 ticks are 10.00015 ms; all three counters have wrapped or nearly so.
	if tsc < 2_999_900_000 || tsc > 3_000_000_000 {
		t.Errorf("TSC %d Hz", tsc)
	}
	if apic < 99_990_000 || apic > 100_010_000 {
		t.Errorf("APIC timer %d Hz", apic)
	}
}
