package vm

import (
	"testing"

	"grim/arch"
)

// Costs on the host, for comparing a change with the state before it. The figures that
// count come from QEMU.

func benchSpace(b *testing.B, frames int) (*machine, *VMSpace) {
	m := newMachine(b, formats[0], frames)
	return m, m.space()
}

// BenchmarkEntries maps and purges 1000 entries with nothing in them.
func BenchmarkEntries(b *testing.B) {
	_, vs := benchSpace(b, 1024)
	for b.Loop() {
		for i := range arch.VA(1000) {
			vs.Map(0x40000000+i<<13, 4096, rw, Anon|Private|Fixed, nil, 0)
		}
		vs.Purge(nil)
	}
}

func BenchmarkPurgeEntries(b *testing.B) {
	_, vs := benchSpace(b, 1024)
	for b.Loop() {
		b.StopTimer()
		for i := range arch.VA(1000) {
			vs.Map(0x40000000+i<<13, 4096, rw, Anon|Private|Fixed, nil, 0)
		}
		b.StartTimer()
		vs.Purge(nil)
	}
}

func BenchmarkFaultAnon(b *testing.B) {
	_, vs := benchSpace(b, 4096)
	vs.Map(0x40000000, 4<<20, rw, Anon|Private|Fixed, nil, 0)
	for b.Loop() {
		vs.Fault(0x40001000, arch.Write)
		vs.pm.Remove(0x40001000, 0x40002000, nil)
	}
}

func BenchmarkCopyIn(b *testing.B) {
	_, vs := benchSpace(b, 4096)
	vs.Map(0x40000000, 1<<20, rw, Anon|Private|Fixed, nil, 0)
	buf := make([]byte, 16)
	for b.Loop() {
		if vs.CopyIn(buf, 0x40001000) != nil {
			b.Fatal()
		}
	}
}

func BenchmarkReadUint32(b *testing.B) {
	_, vs := benchSpace(b, 4096)
	vs.Map(0x40000000, 1<<20, rw, Anon|Private|Fixed, nil, 0)
	for b.Loop() {
		if _, err := vs.ReadUint32(0x40001000); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkForkPurge(b *testing.B) {
	_, vs := benchSpace(b, 4096)
	for i := range arch.VA(20) {
		vs.Map(0x40000000+i<<24, 16<<12, rw, Anon|Private|Fixed, nil, 0)
		store(vs, 0x40000000+i<<24, 1)
	}
	for b.Loop() {
		c, err := vs.Fork(arch.SharedUK, 0)
		if err != nil {
			b.Fatal(err)
		}
		c.Purge(nil)
		c.Release()
	}
}
