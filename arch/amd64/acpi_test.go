package amd64

import (
	"encoding/binary"
	"strings"
	"testing"
)

// testACPI is a little physical memory at 0xe0000 with RSDP, RSDT, FADT and DSDT.
type testACPI struct{ mem []byte }

const acpiBase = 0xe0000

func newACPI(aml []byte) *testACPI {
	a := &testACPI{make([]byte, 0x1000)}
	le := binary.LittleEndian
	copy(a.mem, "RSD PTR ")
	le.PutUint32(a.mem[16:], acpiBase+0x100)
	table := func(at int, sig string, n int) []byte {
		copy(a.mem[at:], sig)
		le.PutUint32(a.mem[at+4:], uint32(n))
		return a.mem[at : at+n]
	}
	rsdt := table(0x100, "RSDT", 44)
	le.PutUint32(rsdt[36:], acpiBase+0x300)
	le.PutUint32(rsdt[40:], acpiBase+0x200)
	fadt := table(0x200, "FACP", 116)
	le.PutUint32(fadt[40:], acpiBase+0x400)
	le.PutUint32(fadt[64:], 0x604)
	table(0x300, "APIC", 44)
	copy(table(0x400, "DSDT", 36+len(aml))[36:], aml)
	return a
}

func (a *testACPI) read(pa uint64, n int) []byte {
	if off := pa - acpiBase; off < uint64(len(a.mem)) {
		return a.mem[off:min(off+uint64(n), uint64(len(a.mem)))]
	}
	return nil
}

func TestFindSoftOff(t *testing.T) {
	for _, c := range []struct {
		name string
		aml  string
		want uint8
		err  string
	}{
		{"byte", "\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00", 5, ""},
		{"zero", "\x08_S5_\x12\x06\x04\x00\x00\x00\x00", 0, ""},
		{"one, long length", "\x08_S5_\x12\x46\x00\x04\x01\x00\x00\x00", 1, ""},
		{"no package", "\x08_S5_\x0a\x05", 0, "_S5_"},
		{"not constant", "\x08_S5_\x12\x06\x04\x72\x05", 0, "_S5_"},
		{"cut off", "\x08_S5_\x12", 0, "_S5_"},
		{"absent", "\x08_S3_\x12\x06\x04\x0a\x05", 0, "_S5_"},
	} {
		off, err := FindSoftOff(newACPI([]byte(c.aml)).read, acpiBase)
		switch {
		case c.err == "" && (err != nil || off != SoftOff{0x604, c.want}):
			t.Errorf("%s: %+v, %v", c.name, off, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.err)
		}
	}
}

func TestFindSoftOffBad(t *testing.T) {
	aml := []byte("\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00")
	for _, c := range []struct {
		name, err string
		harm      func(mem []byte)
	}{
		{"signature", "no root pointer", func(m []byte) { m[0] = 'x' }},
		{"root table elsewhere", "root table", func(m []byte) { m[16], m[19] = 0, 0xff }},
		{"root table too long", "says it has", func(m []byte) { m[0x107] = 0xff }},
		{"no FADT", "no table", func(m []byte) { m[0x200] = 'x' }},
		{"short FADT", "too short", func(m []byte) { m[0x204] = 60 }},
		{"no port", "not a port", func(m []byte) { m[0x240], m[0x241] = 0, 0 }},
		{"DSDT beyond memory", "readable", func(m []byte) { m[0x405] = 0x70 }},
	} {
		a := newACPI(aml)
		c.harm(a.mem)
		if _, err := FindSoftOff(a.read, acpiBase); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.err)
		}
	}
}

// Firmware tables are input from outside: whatever they hold, there must be no panic.
func FuzzFindSoftOff(f *testing.F) {
	f.Add(newACPI([]byte("\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00")).mem)
	f.Fuzz(func(t *testing.T, mem []byte) {
		FindSoftOff((&testACPI{mem}).read, acpiBase)
	})
}
