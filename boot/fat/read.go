package fat

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Read returns the files of a disk image's first partition, by path. A name that only has a
// short form is returned in capitals. Read shares no constants with Write, and reports what
// a file system check would report. It is for tests of Write, and of what is booted from a
// card.
func Read(d []byte) (files map[string][]byte, err error) {
	if len(d) < 512 || d[510] != 0x55 || d[511] != 0xaa {
		return nil, errors.New("fat: no partition table")
	}
	first, size := uint64(le.Uint32(d[446+8:]))*512, uint64(le.Uint32(d[446+12:]))*512
	if first > uint64(len(d)) || size > uint64(len(d))-first || size < 512 {
		return nil, fmt.Errorf("fat: partition of %d bytes at %d in an image of %d", size, first, len(d))
	}
	p := d[first:][:size]
	if p[510] != 0x55 || p[511] != 0xaa || le.Uint16(p[11:]) != 512 {
		return nil, errors.New("fat: no boot sector")
	}
	fatAt, fatLen := int(le.Uint16(p[14:]))*512, int(le.Uint16(p[22:]))*512
	rootAt := fatAt + int(p[16])*fatLen
	r := &reader{p: p, cluster: int(p[13]) * 512, dataAt: rootAt + int(le.Uint16(p[17:]))*32, used: map[int]bool{}, files: map[string][]byte{}}
	if r.cluster == 0 || r.dataAt > len(p) {
		return nil, errors.New("fat: the boot sector makes no sense")
	}
	r.table = p[fatAt : fatAt+fatLen]
	if p[16] != 2 || !bytes.Equal(r.table, p[fatAt+fatLen:fatAt+2*fatLen]) {
		return nil, errors.New("fat: the two FATs differ")
	}
	r.count = (int(le.Uint32(p[32:]))*512 - r.dataAt) / r.cluster
	if r.count < 4085 || r.count > 65524 || 2*(r.count+2) > fatLen || r.dataAt+r.count*r.cluster > len(p) {
		return nil, fmt.Errorf("fat: %d clusters, FAT of %d bytes: not FAT16", r.count, fatLen)
	}
	return r.files, r.walk("", p[rootAt:r.dataAt], 0, 0)
}

// reader holds the partition that is being read.
type reader struct {
	p, table               []byte
	cluster, dataAt, count int
	used                   map[int]bool
	files                  map[string][]byte
}

// chain returns the contents of a chain of clusters.
func (r *reader) chain(c int) (b []byte, err error) {
	for ; c < 0xfff8; c = int(le.Uint16(r.table[2*c:])) {
		if c < 2 || c >= r.count+2 || r.used[c] {
			return nil, fmt.Errorf("fat: cluster %d is out of range or used twice", c)
		}
		r.used[c] = true
		b = append(b, r.p[r.dataAt+(c-2)*r.cluster:][:r.cluster]...)
	}
	return b, nil
}

// walk reads a folder. self is the first cluster of the folder, parent that of its parent.
func (r *reader) walk(prefix string, b []byte, self, parent int) error {
	var long []uint16
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		if b[11] == 0x0f {
			var part []uint16
			for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
				if c := le.Uint16(b[at:]); c != 0 && c != 0xffff {
					part = append(part, c)
				}
			}
			long = append(part, long...)
			continue
		}
		name := strings.TrimRight(string(b[:8]), " ")
		if ext := strings.TrimRight(string(b[8:11]), " "); ext != "" {
			name += "." + ext
		}
		if long != nil {
			name = string(utf16.Decode(long))
			long = nil
		}
		c, size := int(le.Uint16(b[26:])), int(le.Uint32(b[28:]))
		if name == "." || name == ".." {
			if name == "." && c != self || name == ".." && c != parent {
				return fmt.Errorf("fat: %s%s: cluster %d, want %d or its parent %d", prefix, name, c, self, parent)
			}
			continue
		}
		if size == 0 && b[11]&0x10 == 0 {
			r.files[prefix+name] = nil
			continue
		}
		data, err := r.chain(c)
		if err != nil {
			return err
		}
		if b[11]&0x10 != 0 {
			if err := r.walk(prefix+name+"/", data, c, self); err != nil {
				return err
			}
			continue
		}
		if size > len(data) {
			return fmt.Errorf("fat: %s%s has %d bytes in clusters of %d", prefix, name, size, len(data))
		}
		r.files[prefix+name] = data[:size]
	}
	return nil
}
