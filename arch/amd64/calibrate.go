//go:build tamago && amd64

package amd64

import (
	"math"

	"grim/arch"
)

// reference is a counter of known frequency.
type reference struct {
	hz    float64
	ticks uint64 // how long to measure: the error of one reading is below 10^-4 of it
	start func()
	read  func() uint64
}

// measure finds the frequencies of the TSC and of the local APIC timer. It compares them
// with the HPET, or with the PIT if there is no HPET.
func (m *Machine) measure() error {
	ref, ok := m.hpet()
	if !ok {
		ref, ok = pit()
	}
	if !ok {
		return ErrNoClock
	}
	m.apicWrite(lapicDivide, lapicDivideByOne)
	m.apicWrite(lapicTimer, lvtMasked|vecTimer)
	m.apicWrite(lapicInitial, math.MaxUint32)
	ref.start()
	a := m.sample(ref)
	b := a
	for limit := 0; b.ref-a.ref < ref.ticks; limit++ {
		// A reference that does not count must not hang the boot.
		if limit == 10_000_000 {
			return ErrNoClock
		}
		b.ref = ref.read()
	}
	b = m.sample(ref)
	m.apicWrite(lapicInitial, 0)
	tsc, apic := frequencies(a, b, ref.hz)
	if m.Features.TSCHz == 0 {
		m.Features.TSCHz = tsc
	}
	m.Features.LAPICHz = apic
	if m.Features.TSCHz == 0 || apic == 0 {
		return ErrNoClock
	}
	return nil
}

// sample reads all counters, as close to each other as the best of 16 tries: a virtual
// machine may lose the CPU between two reads.
func (m *Machine) sample(ref reference) clockSample {
	var best clockSample
	spread := uint64(math.MaxUint64)
	for range 16 {
		before := rdtsc()
		r := ref.read()
		apic := m.apicRead(lapicCurrent)
		after := rdtsc()
		if after-before < spread {
			spread = after - before
			best = clockSample{tsc: before + spread/2, ref: r, apic: apic}
		}
	}
	return best
}

// The HPET (IA-PC HPET specification 1.0a, 2.3) is at the address that chipsets have used
// since ICH. If there is none, no RAM is there either, and the read returns all ones or
// zero.
const (
	hpetBase   = 0xfed00000
	hpetPeriod = 0x4 // high half of the capabilities: femtoseconds a tick
	hpetConfig = 0x10
	hpetMain   = 0xf0

	hpetMaxPeriod = 100_000_000 // the specification's limit, 10 MHz
)

func (m *Machine) hpet() (reference, bool) {
	if m.MapDevice(hpetBase, arch.PageSize, m.tables.alloc) != nil {
		return reference{}, false
	}
	base := direct(hpetBase)
	period := *mmio32(base + hpetPeriod)
	if period == 0 || period > hpetMaxPeriod {
		return reference{}, false
	}
	hz := 1e15 / float64(period)
	return reference{
		hz:    hz,
		ticks: uint64(hz / 500), // 2 ms
		start: func() { *mmio32(base + hpetConfig) |= 1 },
		read:  func() uint64 { return uint64(*mmio32(base + hpetMain)) },
	}, true
}

// The PIT (8254 data sheet): channel 2 counts down at 1.193182 MHz while its gate, a bit of
// port 61h, is open.
const (
	pitHz      = 1193182
	pitChannel = 0x42
	pitControl = 0x43
	pitGate    = 0x61
)

func pit() (reference, bool) {
	read := func() uint64 {
		out8(pitControl, 0x80) // latch channel 2
		return uint64(0xffff - (uint16(in8(pitChannel)) | uint16(in8(pitChannel))<<8))
	}
	start := func() {
		out8(pitGate, in8(pitGate)&^2|1) // gate open, speaker off
		out8(pitControl, 0xb0)           // channel 2, low then high byte, mode 0
		out8(pitChannel, 0xff)
		out8(pitChannel, 0xff)
	}
	start()
	first := read()
	for range 10000 {
		if read() != first {
			return reference{hz: pitHz, ticks: pitHz / 50, start: start, read: read}, true // 20 ms
		}
	}
	return reference{}, false
}
