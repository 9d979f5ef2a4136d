package disk

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"grim/kernel/disk/disktest"
)

// ram is a disk in memory.
type ram []byte

func (r ram) Size() int64    { return int64(len(r)) }
func (r ram) ReadOnly() bool { return false }
func (r ram) Name() string   { return "ram" }
func (r ram) Flush() error   { return nil }
func (r ram) ReadAt(p []byte, off int64) (int, error) {
	if err := check(len(p), off, r.Size()); err != nil {
		return 0, err
	}
	return copy(p, r[off:]), nil
}
func (r ram) WriteAt(p []byte, off int64) (int, error) {
	if err := check(len(p), off, r.Size()); err != nil {
		return 0, err
	}
	return copy(r[off:], p), nil
}

func tableText(parts []Device) string {
	var s []string
	for _, p := range parts {
		s = append(s, fmt.Sprintf("%s %d+%d", p.Name(), p.(*part).start/SectorSize, p.Size()/SectorSize))
	}
	return strings.Join(s, ", ")
}

// TestPartitions reads tables that sfdisk made, and damaged ones. Broken by
// counting a logical partition's start from the wrong sector.
func TestPartitions(t *testing.T) {
	const size = 8 << 20
	read := func(d Device, want string) {
		t.Helper()
		parts, err := Partitions(d)
		if got := tableText(parts); got != want || err != nil {
			t.Errorf("got %q, %v\nwant %q", got, err, want)
		}
	}
	dos := ram(disktest.Sample(t, "dos"))
	read(dos, "ram1 2048+1024, ram5 6144+512, ram6 10240+1000")
	g := ram(disktest.Sample(t, "gpt"))
	read(g, "ram1 2048+1024, ram2 4096+100")
	g[SectorSize+20] ^= 1 // the first header is damaged, so the second one is read
	read(g, "ram1 2048+1024, ram2 4096+100")
	g[size-SectorSize] ^= 1
	if _, err := Partitions(g); err == nil || !strings.Contains(err.Error(), "GPT") {
		t.Errorf("both headers damaged: %v", err)
	}
	read(make(ram, size), "")

	// A partition outside of the disk is left out, with an error.
	le.PutUint32(dos[mbrTable+12:], 1<<31)
	if parts, err := Partitions(dos); err == nil || tableText(parts) != "ram5 6144+512, ram6 10240+1000" {
		t.Errorf("%q, %v", tableText(parts), err)
	}
	// A loop of logical partitions.
	le.PutUint32(dos[6144*SectorSize-2048*SectorSize+mbrTable+mbrEntry+8:], 0)
	dos[4096*SectorSize+mbrTable+mbrEntry+4] = 5
	if _, err := Partitions(dos); err == nil {
		t.Error("a loop of logical partitions is no error")
	}
	p := Part(dos, "p", 4096, 8192)
	if _, err := p.ReadAt(make([]byte, 512), 8192); err != syscall.EINVAL {
		t.Errorf("read behind a partition: %v", err)
	}
}

// FuzzPartitions: whatever a table says, all partitions lie on the disk.
func FuzzPartitions(f *testing.F) {
	f.Add(uint32(mbrTable), []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0}, true)
	f.Add(uint32(mbrTable), []byte{0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0}, true)
	f.Add(uint32(SectorSize), append([]byte("EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00"), make([]byte, 76)...), false)
	f.Fuzz(func(t *testing.T, at uint32, data []byte, legacy bool) {
		d := make(ram, 64<<10)
		d[mbrSignature], d[mbrSignature+1] = 0x55, 0xaa
		if !legacy {
			d[mbrTable+4] = typeGPT
		}
		copy(d[int(at)%len(d):], data)
		if !legacy { // else the checksums keep all changes out
			fixGPT(d)
		}
		parts, _ := Partitions(d)
		for _, p := range parts {
			q := p.(*part)
			if q.start < 0 || q.size <= 0 || q.start > int64(len(d)) || q.size > int64(len(d))-q.start {
				t.Errorf("partition %+v of a disk of %d bytes", q, len(d))
			}
		}
	})
}

func fixGPT(d ram) {
	h := d[SectorSize : 2*SectorSize]
	size := le.Uint32(h[12:])
	if size < gptHeader || size > SectorSize {
		return
	}
	at, n := le.Uint64(h[72:]), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
	if at < uint64(len(d)/SectorSize) && n < uint64(len(d))-at*SectorSize {
		le.PutUint32(h[88:], sum(d[at*SectorSize:at*SectorSize+n]))
	}
	clear(h[16:20])
	le.PutUint32(h[16:], sum(h[:size]))
}
