package fat

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// disk is an image in memory.
type disk []byte

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(*d) {
		*d = append(*d, make([]byte, n-len(*d))...)
	}
	return copy((*d)[off:], p), nil
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
	got, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range in {
		// A short name is read back in capitals, a long name as it was.
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
