// Package fat writes disk images with one FAT16 partition, for boot loaders to read. It
// needs no root rights, no loop device and no host tool. It only makes new images, and
// always makes the same bytes from the same files.
//
// The format is that of Microsoft's "FAT: General Overview of On-Disk Format",
// 1.03, and of ECMA-107.
package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// File is one file of the partition. Name is a path with slashes; its folders are made if
// needed.
type File struct {
	Name string
	Data []byte
}

const (
	sector      = 512
	clusterSize = 4 << 10
	reserved    = 1 // sectors before the first FAT: the boot sector
	rootEntries = 512
	entrySize   = 32
	lastCluster = 0xffff

	// Start is where the partition begins. The space between it and the partition table is
	// large enough for the raw boot loaders that some boards want there.
	Start = 16 << 20
	// partition is the partition's size. FAT16 has 4085 to 65524 clusters.
	partition = 128 << 20

	mbrTable  = 446
	typeFAT16 = 0x0e // with LBA
	mediaDisk = 0xf8
)

var le = binary.LittleEndian

// Write writes a disk image with the files to w. Bytes that it does not write must read as
// zeros.
func Write(w io.WriterAt, files []File) error {
	v := newVolume()
	root := &dir{}
	for _, f := range files {
		if err := root.add(f); err != nil {
			return err
		}
	}
	if err := v.place(root, 0, true); err != nil {
		return err
	}
	for _, part := range []struct {
		off  int64
		data []byte
	}{
		{0, mbr()},
		{Start, bootSector()},
		{Start + reserved*sector, v.fat()},
		{Start + (reserved+fatSectors)*sector, v.fat()},
		{Start + rootAt, v.root},
		{Start + dataAt, v.data},
	} {
		if _, err := w.WriteAt(part.data, part.off); err != nil {
			return err
		}
	}
	// One byte at the end gives the file its size.
	_, err := w.WriteAt([]byte{0}, Start+partition-1)
	return err
}

// Layout of the partition, in bytes from its start.
const (
	fatSectors = (partition/clusterSize + 2 + 255) / 256 // 256 entries in a sector
	rootAt     = (reserved + 2*fatSectors) * sector
	dataAt     = rootAt + rootEntries*entrySize
	clusters   = (partition - dataAt) / clusterSize
)

func mbr() []byte {
	b := make([]byte, sector)
	e := b[mbrTable:]
	e[0] = 0x80 // some firmware wants an active partition
	copy(e[1:], []byte{0xfe, 0xff, 0xff})
	e[4] = typeFAT16
	copy(e[5:], []byte{0xfe, 0xff, 0xff})
	le.PutUint32(e[8:], Start/sector)
	le.PutUint32(e[12:], partition/sector)
	b[510], b[511] = 0x55, 0xaa
	return b
}

func bootSector() []byte {
	b := make([]byte, sector)
	copy(b, "\xeb\x3c\x90GRIM    ")
	le.PutUint16(b[11:], sector)
	b[13] = clusterSize / sector
	le.PutUint16(b[14:], reserved)
	b[16] = 2 // FATs
	le.PutUint16(b[17:], rootEntries)
	b[21] = mediaDisk
	le.PutUint16(b[22:], fatSectors)
	le.PutUint16(b[24:], 63)  // sectors in a track
	le.PutUint16(b[26:], 255) // heads; neither has a meaning any more
	le.PutUint32(b[28:], Start/sector)
	le.PutUint32(b[32:], partition/sector)
	b[36] = 0x80
	b[38] = 0x29 // the next three fields are valid
	le.PutUint32(b[39:], 0x4752494d)
	copy(b[43:], "GRIM       FAT16   ")
	b[510], b[511] = 0x55, 0xaa
	return b
}

// dir is a folder that has not been laid out yet.
type dir struct {
	names []string // as given; sorted when laid out
	files map[string][]byte
	dirs  map[string]*dir
}

func (d *dir) add(f File) error {
	name := path.Clean(strings.TrimPrefix(f.Name, "/"))
	first, rest, nested := strings.Cut(name, "/")
	if first == "" || first == "." || first == ".." || len(first) > 255 {
		return fmt.Errorf("fat: bad file name %q", f.Name)
	}
	if d.files == nil {
		d.files, d.dirs = map[string][]byte{}, map[string]*dir{}
	}
	same := func(n string) bool { return strings.EqualFold(n, first) }
	i := slices.IndexFunc(d.names, same)
	if i < 0 {
		d.names = append(d.names, first)
	} else if first = d.names[i]; !nested || d.dirs[first] == nil {
		return fmt.Errorf("fat: %q is there twice", f.Name)
	}
	if !nested {
		d.files[first] = f.Data
		return nil
	}
	if d.dirs[first] == nil {
		d.dirs[first] = &dir{}
	}
	return d.dirs[first].add(File{rest, f.Data})
}
