package fat

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"
)

const (
	attrDir  = 0x10
	attrFile = 0x20
	attrLong = 0x0f

	longChars = 13   // UTF-16 units in one entry of a long name
	longLast  = 0x40 // marks the last part of a long name, which is stored first
	date1980  = 1<<5 | 1
)

// entry returns a directory entry with a short name. The time is always the first day of
// the format, so that the same files make the same image.
func entry(short [11]byte, attr byte, cluster uint16, size int) []byte {
	b := make([]byte, entrySize)
	copy(b, short[:])
	b[11] = attr
	le.PutUint16(b[16:], date1980)
	le.PutUint16(b[18:], date1980)
	le.PutUint16(b[24:], date1980)
	le.PutUint16(b[26:], cluster)
	le.PutUint32(b[28:], uint32(size))
	return b
}

func shortDot(n int) (s [11]byte) {
	copy(s[:], strings.Repeat(".", n)+strings.Repeat(" ", 11))
	return s
}

// entriesOf returns the entry of a file, after the entries of its long name if it needs
// one. used holds the short names of the folder; the file's is added.
func entriesOf(name string, used map[[11]byte]bool, attr byte, cluster uint16, size int) ([]byte, error) {
	short, exact := shortName(name)
	for n := 1; !exact || used[short]; n++ {
		if n > 9 {
			return nil, fmt.Errorf("fat: too many names like %q in one folder", name)
		}
		copy(short[6:8], fmt.Sprintf("~%d", n))
		if exact = !used[short]; exact {
			break
		}
	}
	used[short] = true
	var b []byte
	if plain, ok := shortName(name); !ok || plain != short {
		b = longName(name, checksum(short))
	}
	return append(b, entry(short, attr, cluster, size)...), nil
}

// shortName returns a name in capitals in the form 8.3. ok is true if only upper and lower
// case was lost, which readers ignore.
func shortName(name string) (s [11]byte, ok bool) {
	copy(s[:], bytes.Repeat([]byte{' '}, len(s)))
	base, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		base, ext = name[:i], name[i+1:]
	}
	ok = len(base) <= 8 && len(ext) <= 3
	put := func(dst []byte, part string) {
		n := 0
		for _, c := range []byte(strings.ToUpper(part)) {
			if n == len(dst) {
				break
			}
			if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '~' {
				dst[n] = c
				n++
			} else {
				ok = false
			}
		}
	}
	put(s[:8], base)
	put(s[8:], ext)
	return s, ok
}

// checksum returns the sum that says to which short name a long name belongs.
func checksum(short [11]byte) (sum byte) {
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// longName returns the entries of a long name, the last part first.
func longName(name string, sum byte) []byte {
	u := utf16.Encode([]rune(name))
	parts := (len(u) + longChars - 1) / longChars
	if len(u) < parts*longChars {
		u = append(u, 0)
	}
	for len(u) < parts*longChars {
		u = append(u, 0xffff)
	}
	var b []byte
	for i := parts; i > 0; i-- {
		e := make([]byte, entrySize)
		e[0] = byte(i)
		if i == parts {
			e[0] |= longLast
		}
		e[11], e[13] = attrLong, sum
		at := []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
		for k, c := range u[(i-1)*longChars : i*longChars] {
			le.PutUint16(e[at[k]:], c)
		}
		b = append(b, e...)
	}
	return b
}
