package fat

import (
	"fmt"
	"slices"
)

// volume holds the partition's contents while they are laid out.
type volume struct {
	chain []uint16 // the FAT; cluster numbers start at 2
	root  []byte
	data  []byte // clusters from number 2 on
}

func newVolume() *volume {
	return &volume{chain: []uint16{0xff00 | mediaDisk, lastCluster}}
}

// fat returns the allocation table in its form on disk.
func (v *volume) fat() []byte {
	b := make([]byte, fatSectors*sector)
	for i, c := range v.chain {
		le.PutUint16(b[2*i:], c)
	}
	return b
}

// store puts b into clusters of its own, which follow each other, and returns the number of
// the first, or 0 for an empty file.
func (v *volume) store(b []byte) (uint16, error) {
	n := (len(b) + clusterSize - 1) / clusterSize
	if n == 0 {
		return 0, nil
	}
	first := len(v.chain)
	if first+n > clusters+2 {
		return 0, fmt.Errorf("fat: files of more than %d MB", clusters*clusterSize>>20)
	}
	for i := range n {
		next := uint16(first + i + 1)
		if i == n-1 {
			next = lastCluster
		}
		v.chain = append(v.chain, next)
	}
	v.data = append(v.data, b...)
	v.data = append(v.data, make([]byte, n*clusterSize-len(b))...)
	return uint16(first), nil
}

// place lays out a folder: its files, its subfolders, then its entries. The first two
// entries of a folder name its own cluster and its parent's, so its cluster is taken before
// its contents are known. A folder takes one cluster at most.
func (v *volume) place(d *dir, parent uint16, top bool) error {
	var entries []byte
	var self uint16
	if !top {
		var err error
		if self, err = v.store(make([]byte, clusterSize)); err != nil {
			return err
		}
		entries = append(entries, entry(shortDot(1), attrDir, self, 0)...)
		entries = append(entries, entry(shortDot(2), attrDir, parent, 0)...)
	}
	slices.Sort(d.names)
	short := map[[11]byte]bool{}
	for _, name := range d.names {
		at, size, attr := uint16(0), 0, byte(attrFile)
		if sub := d.dirs[name]; sub != nil {
			at, attr = uint16(len(v.chain)), attrDir
			if err := v.place(sub, self, false); err != nil {
				return err
			}
		} else {
			data := d.files[name]
			size = len(data)
			var err error
			if at, err = v.store(data); err != nil {
				return err
			}
		}
		b, err := entriesOf(name, short, attr, at, size)
		if err != nil {
			return err
		}
		entries = append(entries, b...)
	}
	room := clusterSize
	if top {
		room = rootEntries * entrySize
	}
	if len(entries) > room {
		return fmt.Errorf("fat: a folder has more than %d entries", room/entrySize)
	}
	if top {
		v.root = append(entries, make([]byte, room-len(entries))...)
	} else {
		copy(v.data[(int(self)-2)*clusterSize:], entries)
	}
	return nil
}
