package fat

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// disk is an image in memory.
type disk []byte

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(*d) {
		*d = append(*d, make([]byte, n-len(*d))...)
	}
	return copy((*d)[off:], p), nil
}

// read is an independent reader: it knows the format, and none of the writer's
// constants. It returns the files by path.
func (d disk) read(t *testing.T) map[string][]byte {
	t.Helper()
	if d[510] != 0x55 || d[511] != 0xaa {
		t.Fatal("no partition table")
	}
	p := d[int(le.Uint32(d[446+8:]))*512:]
	p = p[:int(le.Uint32(d[446+12:]))*512]
	if p[510] != 0x55 || p[511] != 0xaa || le.Uint16(p[11:]) != 512 {
		t.Fatal("no boot sector")
	}
	cluster := int(p[13]) * 512
	fatAt, fatLen := int(le.Uint16(p[14:]))*512, int(le.Uint16(p[22:]))*512
	rootAt := fatAt + int(p[16])*fatLen
	dataAt := rootAt + int(le.Uint16(p[17:]))*32
	table := p[fatAt : fatAt+fatLen]
	if !bytes.Equal(table, p[fatAt+fatLen:fatAt+2*fatLen]) {
		t.Error("the two FATs differ")
	}
	count := (int(le.Uint32(p[32:]))*512 - dataAt) / cluster
	if count < 4085 || count > 65524 || 2*(count+2) > fatLen {
		t.Errorf("%d clusters, FAT of %d bytes: not FAT16", count, fatLen)
	}
	used := map[int]bool{}
	chain := func(c int) (b []byte) {
		for ; c < 0xfff8; c = int(le.Uint16(table[2*c:])) {
			if c < 2 || c >= count+2 || used[c] {
				t.Fatalf("cluster %d is out of range or used twice", c)
			}
			used[c] = true
			b = append(b, p[dataAt+(c-2)*cluster:][:cluster]...)
		}
		return b
	}
	files := map[string][]byte{}
	var walk func(prefix string, b []byte, self, parent int)
	walk = func(prefix string, b []byte, self, parent int) {
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
			switch {
			case name == ".":
				if c != self {
					t.Errorf("%s.: cluster %d, want %d", prefix, c, self)
				}
			case name == "..":
				if c != parent {
					t.Errorf("%s..: cluster %d, want %d", prefix, c, parent)
				}
			case b[11]&0x10 != 0:
				walk(prefix+name+"/", chain(c), c, self)
			case size == 0:
				files[prefix+name] = nil
			default:
				files[prefix+name] = chain(c)[:size]
			}
		}
	}
	walk("", p[rootAt:dataAt], 0, 0)
	return files
}

func TestWrite(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	in := map[string][]byte{
		"README.TXT": random(1), "CONFIG.TXT": nil, "initrd.cpio": random(100_000), "initrd.cpio.gz": random(4096),
		"EFI/BOOT/BOOTAA64.EFI": random(4097), "EFI/BOOT/another long name.with dots.txt": random(513),
		"grim/exactly13.chr": random(12288), "grim/fourteen14.chr": random(3), "Image": random(8192),
	}
	var files []File
	for name, b := range in {
		files = append(files, File{name, b})
	}
	var d, again disk
	if err := Write(&d, files); err != nil {
		t.Fatal(err)
	}
	got := d.read(t)
	for name, want := range in {
		// A short name comes back in capitals, a long one as it was.
		b, ok := got[name]
		for have := range got {
			if !ok && strings.EqualFold(have, name) {
				b, ok = got[have]
			}
		}
		if !ok || !bytes.Equal(b, want) {
			t.Errorf("%s: found %v, %d bytes, want %d", name, ok, len(b), len(want))
		}
	}
	if _, ok := got["initrd.cpio"]; !ok {
		t.Errorf("a long name did not keep its case: %v", slices.Collect(maps.Keys(got)))
	}
	if len(got) != len(in) {
		t.Errorf("%d files, want %d", len(got), len(in))
	}
	// The order in which files are given does not matter.
	for i := range files {
		j := r.IntN(i + 1)
		files[i], files[j] = files[j], files[i]
	}
	if err := Write(&again, files); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d, again) {
		t.Error("the same files in another order give another image")
	}
}

func TestWriteRefuses(t *testing.T) {
	many := make([]File, 130)
	for i := range many {
		many[i].Name = fmt.Sprintf("d/F%d", i)
	}
	for _, c := range []struct {
		name  string
		files []File
		want  string
	}{
		{"twice", []File{{"a", nil}, {"A", nil}}, "there twice"},
		{"file and folder", []File{{"a", nil}, {"a/b", nil}}, "there twice"},
		{"outside", []File{{"../a", nil}}, "bad file name"},
		{"empty", []File{{"", nil}}, "bad file name"},
		{"too large", []File{{"a", make([]byte, partition)}}, "files of more than"},
		{"too many", many, "more than 128 entries"},
	} {
		var d disk
		if err := Write(&d, c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}
