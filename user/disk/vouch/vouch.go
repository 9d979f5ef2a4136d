// Package vouch has the lines in which a load on a disk reports its changes of files, and
// the check that a disk after a power cut has the reported contents:
//
//	begin NAME VERSION BYTES    the file is going to have this version
//	done NAME VERSION BYTES     it has: fsync or msync has returned
//	remove NAME                 the name is going to go
//	removed NAME                it has gone: fsync of its directory has returned
//	page NAME PAGE VERSION      a page of a mapped file is going to be of a version
//	synced NAME PAGE VERSION    it is: msync has returned
//
// Every word of a file identifies the file, so that another file's data is detected.
package vouch

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// WordBytes is the unit that files are made of.
const WordBytes = 8

// PageBytes is a page of a mapped file.
const PageBytes = 4096

// Temporary is the prefix of the name of a file that will be renamed to the rest of the
// name.
const Temporary = "new-"

// id returns the part of a file's words that identifies the file.
func id(name string) uint32 {
	dir, base := filepath.Split(name)
	h := fnv.New32a()
	h.Write([]byte(dir + strings.TrimPrefix(base, Temporary)))
	return h.Sum32() | 1 // never 0
}

// Content returns version v of a file.
func Content(name string, v, bytes int) []byte {
	b := make([]byte, bytes)
	fill(b, name, v)
	return b
}

func fill(b []byte, name string, v int) {
	file := id(name)
	for i := 0; i+WordBytes <= len(b); i += WordBytes {
		binary.LittleEndian.PutUint32(b[i:], file)
		binary.LittleEndian.PutUint16(b[i+4:], uint16(v))
		binary.LittleEndian.PutUint16(b[i+6:], uint16(i/WordBytes))
	}
}

// Page stores version v of a page of a mapped file into b.
func Page(b []byte, name string, v int) { fill(b[:PageBytes], name, v) }

// state is the record's knowledge of a file.
type state struct {
	version, bytes int // the confirmed version; 0: none
	gone           bool
	pending        []pending // the changes that have begun since
	pages          map[int]*pageState
}

type pending struct {
	version, bytes int
	remove         bool
}

type pageState struct{ synced, begun int }

// Record has the reports of a load.
type Record struct {
	files map[string]*state
	Lines int
}

// NewRecord returns an empty record.
func NewRecord() *Record { return &Record{files: map[string]*state{}} }

func (r *Record) file(name string) *state {
	s := r.files[name]
	if s == nil {
		s = &state{pages: map[int]*pageState{}}
		r.files[name] = s
	}
	return s
}

// Add takes a line. It ignores lines that are not of this package.
func (r *Record) Add(line string) {
	var word, name string
	var a, b int
	n, _ := fmt.Sscanf(line, "%s %s %d %d", &word, &name, &a, &b)
	switch {
	case word == "begin" && n == 4:
		s := r.file(name)
		s.pending = append(s.pending, pending{version: a, bytes: b})
	case word == "done" && n == 4:
		s := r.file(name)
		s.version, s.bytes, s.gone, s.pending = a, b, false, nil
	case word == "remove" && n == 2:
		s := r.file(name)
		s.pending = append(s.pending, pending{remove: true})
	case word == "removed" && n == 2:
		s := r.file(name)
		s.version, s.gone, s.pending = 0, true, nil
	case word == "page" && n == 4:
		r.file(name).page(a).begun = b
	case word == "synced" && n == 4:
		r.file(name).page(a).synced = b
	default:
		return
	}
	r.Lines++
}

func (s *state) page(n int) *pageState {
	p := s.pages[n]
	if p == nil {
		p = &pageState{}
		s.pages[n] = p
	}
	return p
}

// Clone returns a copy of the record.
func (r *Record) Clone() *Record {
	c := NewRecord()
	c.Lines = r.Lines
	for name, s := range r.files {
		t := *s
		t.pending = append([]pending(nil), s.pending...)
		t.pages = map[int]*pageState{}
		for n, p := range s.pages {
			q := *p
			t.pages[n] = &q
		}
		c.files[name] = &t
	}
	return c
}

// Check compares a copy of the disk's tree with the record, and returns the faults.
func (r *Record) Check(root string) (faults []string) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	found := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		found["/"+filepath.ToSlash(rel)] = b
		return err
	})
	if err != nil {
		bad("%v", err)
	}
	for name, b := range found {
		if strings.HasPrefix(name, "/lost+found/") {
			continue // left over from a rename
		}
		mine := id(name)
		for i := 0; i+WordBytes <= len(b); i += WordBytes {
			if w := binary.LittleEndian.Uint32(b[i:]); w != 0 && w != mine {
				bad("%s has at %d a word of another file: %#x", name, i, w)
				break
			}
		}
	}
	for name, s := range r.files {
		b, exists := found[name]
		s.check(name, b, exists, bad)
	}
	return faults
}

func (s *state) check(name string, b []byte, exists bool, bad func(string, ...any)) {
	if len(s.pages) > 0 {
		s.checkPages(name, b, exists, bad)
		return
	}
	is := func(version, bytes int) bool { return exists && string(b) == string(Content(name, version, bytes)) }
	ok := s.version == 0 && s.gone && !exists || s.version != 0 && is(s.version, s.bytes)
	if s.version == 0 && !s.gone { // nothing was confirmed: any part of it may exist
		return
	}
	for _, p := range s.pending {
		// A name that was made again after its removal may have any part of its data.
		ok = ok || p.remove && !exists || !p.remove && (is(p.version, p.bytes) || s.gone)
	}
	if !ok {
		bad("%s: exists is %v, %d bytes; vouched for: %+v", name, exists, len(b), *s)
	}
}

func (s *state) checkPages(name string, b []byte, exists bool, bad func(string, ...any)) {
	if !exists {
		if s.version != 0 {
			bad("%s, a mapped file, is not there", name)
		}
		return
	}
	want := make([]byte, PageBytes)
	for n, p := range s.pages {
		if p.synced == 0 {
			continue
		}
		if len(b) < (n+1)*PageBytes {
			bad("%s has %d bytes, and page %d was vouched for", name, len(b), n)
			continue
		}
		page := b[n*PageBytes : (n+1)*PageBytes]
		for i := 0; i < PageBytes; i += WordBytes {
			v := int(binary.LittleEndian.Uint16(page[i+4:]))
			if v < p.synced || v > max(p.begun, p.synced) {
				bad("%s, page %d, word %d is of version %d; %d was vouched for, %d begun", name, n, i/WordBytes, v, p.synced, p.begun)
				break
			}
			fill(want[:WordBytes], name, v)
			if binary.LittleEndian.Uint32(page[i:]) != id(name) || int(binary.LittleEndian.Uint16(page[i+6:])) != i/WordBytes {
				bad("%s, page %d, word %d is %x", name, n, i/WordBytes, page[i:i+WordBytes])
				break
			}
		}
	}
}
