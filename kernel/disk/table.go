package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Partition tables: the PC's (MBR) with logical partitions, and UEFI's (GPT, specification
// 2.10, section 5.3). github.com/diskfs/go-diskfs v1.9.4 reads them too, but it allocates
// as much as a table's header says, up to 2^64 bytes, and depends on twelve modules.

const (
	mbrTable     = 446 // offset of the four entries
	mbrEntry     = 16
	mbrSignature = 510
	maxLogical   = 60 // logical partitions in an extended partition

	typeGPT = 0xee

	gptHeader   = 92 // bytes of the header that have a meaning
	gptEntry    = 128
	maxGPT      = 1024    // entries
	maxGPTBytes = 1 << 20 // all entries together
)

var le = binary.LittleEndian

// Partitions returns the partitions of d, in the order of their numbers. A disk without a
// table has none. If the table is damaged, the error says how, and the partitions that make
// sense are returned with it.
func Partitions(d Device) ([]Device, error) {
	first := make([]byte, SectorSize)
	if d.Size() < 2*SectorSize {
		return nil, nil
	}
	if _, err := d.ReadAt(first, 0); err != nil {
		return nil, err
	}
	if first[mbrSignature] != 0x55 || first[mbrSignature+1] != 0xaa {
		return nil, nil
	}
	for i := range 4 {
		if first[mbrTable+mbrEntry*i+4] == typeGPT {
			return gpt(d)
		}
	}
	return mbr(d, first)
}

// number returns the name of partition n of d, such as vda1 or mmcblk0p1.
func number(d Device, n int) string {
	name := d.Name()
	if c := name[len(name)-1]; '0' <= c && c <= '9' {
		name += "p"
	}
	return fmt.Sprint(name, n)
}

// extended reports whether typ is the MBR type of a partition that contains partitions.
func extended(typ byte) bool { return typ == 0x05 || typ == 0x0f || typ == 0x85 }

func mbr(d Device, table []byte) (parts []Device, err error) {
	add := func(n int, start, sectors int64) {
		size := d.Size() / SectorSize
		switch {
		case start == 0 || start >= size || sectors > size-start:
			err = fmt.Errorf("%s: partition %d, sectors %d to %d, is not on the disk of %d sectors", d.Name(), n, start, start+sectors, size)
		default:
			parts = append(parts, Part(d, number(d, n), start*SectorSize, sectors*SectorSize))
		}
	}
	for i := range 4 {
		e := table[mbrTable+mbrEntry*i:]
		start, sectors := int64(le.Uint32(e[8:])), int64(le.Uint32(e[12:]))
		if e[4] == 0 || sectors == 0 || extended(e[4]) {
			continue
		}
		add(i+1, start, sectors)
	}
	// The first sector of a FAT or ext2 file system without a table can look like a table.
	// In a real table all entries have a status of 0 or 0x80.
	for i := range 4 {
		if s := table[mbrTable+mbrEntry*i]; s != 0 && s != 0x80 {
			return nil, nil
		}
	}
	for i := range 4 {
		e := table[mbrTable+mbrEntry*i:]
		if !extended(e[4]) {
			continue
		}
		outer, at := int64(le.Uint32(e[8:])), int64(0)
		sector := make([]byte, SectorSize)
		for n := 5; ; n++ {
			if n-5 >= maxLogical {
				return parts, fmt.Errorf("%s: more than %d logical partitions, or a loop of them", d.Name(), maxLogical)
			}
			if _, e := d.ReadAt(sector, (outer+at)*SectorSize); e != nil {
				return parts, fmt.Errorf("%s: the table of logical partition %d, sector %d: %w", d.Name(), n, outer+at, e)
			}
			if sector[mbrSignature] != 0x55 || sector[mbrSignature+1] != 0xaa {
				return parts, fmt.Errorf("%s: the table of logical partition %d, sector %d, has no signature", d.Name(), n, outer+at)
			}
			l, next := sector[mbrTable:], sector[mbrTable+mbrEntry:]
			if sectors := int64(le.Uint32(l[12:])); sectors != 0 {
				add(n, outer+at+int64(le.Uint32(l[8:])), sectors)
			}
			if !extended(next[4]) {
				break
			}
			at = int64(le.Uint32(next[8:]))
		}
	}
	return parts, err
}

// gpt reads the table at the start of the disk or, if that is damaged, the table at its
// end.
func gpt(d Device) ([]Device, error) {
	parts, err := gptAt(d, 1)
	if err == nil {
		return parts, nil
	}
	if parts, e := gptAt(d, d.Size()/SectorSize-1); e == nil {
		return parts, nil
	}
	return nil, err
}

func gptAt(d Device, sector int64) ([]Device, error) {
	bad := func(format string, args ...any) ([]Device, error) {
		return nil, fmt.Errorf("%s: GPT at sector %d: %s", d.Name(), sector, fmt.Sprintf(format, args...))
	}
	h := make([]byte, SectorSize)
	if _, err := d.ReadAt(h, sector*SectorSize); err != nil {
		return bad("%v", err)
	}
	size := le.Uint32(h[12:])
	if string(h[:8]) != "EFI PART" || size < gptHeader || size > SectorSize {
		return bad("no header")
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	if got := crc32.ChecksumIEEE(h[:size]); got != sum {
		return bad("checksum of the header is %#x, not %#x", got, sum)
	}
	at, n, each := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	first, last := le.Uint64(h[40:]), le.Uint64(h[48:])
	sectors := uint64(d.Size() / SectorSize)
	if n > maxGPT || each < gptEntry || each%gptEntry != 0 || uint64(n)*uint64(each) > maxGPTBytes || at >= sectors {
		return bad("%d entries of %d bytes at sector %d", n, each, at)
	}
	bytesUsed := int(n) * int(each)
	table := make([]byte, (bytesUsed+SectorSize-1)/SectorSize*SectorSize)
	if _, err := d.ReadAt(table, int64(at)*SectorSize); err != nil {
		return bad("table: %v", err)
	}
	if got := crc32.ChecksumIEEE(table[:bytesUsed]); got != le.Uint32(h[88:]) {
		return bad("checksum of the table is %#x, not %#x", got, le.Uint32(h[88:]))
	}
	var parts []Device
	for i := range int(n) {
		e := table[i*int(each):]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		lo, hi := le.Uint64(e[32:]), le.Uint64(e[40:])
		if lo < first || hi < lo || hi > last || hi >= sectors {
			return bad("partition %d is from sector %d to %d, of %d to %d", i+1, lo, hi, first, last)
		}
		parts = append(parts, Part(d, number(d, i+1), int64(lo)*SectorSize, int64(hi-lo+1)*SectorSize))
	}
	return parts, nil
}
