// Package elf reads Linux executables, and the interpreters (dynamic linkers) that they
// name, and builds the address space that the first instruction expects.
//
// Parse and ParseScript look at bytes that nobody vouches for: they read a
// bounded amount, never trust a size or an offset before comparing it with the
// file's length, and answer syscall.ENOEXEC for everything that the loader would
// not be able to map exactly. Load then maps what Parse accepted. Nothing here
// knows processes; package kernel/sys calls it from execve(2).
//
// Context: a thread in a system call. Reading the file may sleep. No locks are
// held by this package.
//
// Format: System V ABI gABI 4.1, chapters 4 and 5; execve(2), elf(5).
package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"syscall"

	"grim/arch"
)

// HeaderSize is the length of an ELF header: what is shorter is no ELF file at all.
const HeaderSize = ehdrSize

const (
	ehdrSize = 64 // sizeof(Elf64_Ehdr)
	phdrSize = 56 // sizeof(Elf64_Phdr)
	// maxPhdrs bounds what is read of the program headers: Linux allows 64 KB of
	// them, real programs have about ten.
	maxPhdrs = 128
	// maxInterp is the longest interpreter path (PATH_MAX, with its NUL).
	maxInterp = 4096
)

// Segment is one PT_LOAD entry, checked: Off+FileSize lies inside the file,
// FileSize <= MemSize, and VA and Off agree modulo the page size. VA is before
// relocation.
type Segment struct {
	VA       arch.VA
	MemSize  uint64
	Off      uint64
	FileSize uint64
	Prot     arch.Prot
}

// End is the first address after the segment.
func (s *Segment) End() arch.VA { return s.VA + arch.VA(s.MemSize) }

// Image is what the headers of an executable say. It is immutable once parsed,
// so it may be cached as long as the file's contents do not change.
type Image struct {
	PIE   bool // ET_DYN: Load chooses where it goes
	Entry arch.VA
	Align uint64  // the largest p_align, at least a page
	Phdr  arch.VA // where the program headers are in memory; 0 if in no segment
	PhNum int
	// Segments are at least one. They may be in any order and overlap: a later one
	// replaces, page by page, what earlier ones have put there.
	Segments  []Segment
	ExecStack bool   // PT_GNU_STACK asks for an executable stack
	Dynamic   bool   // there is a PT_INTERP
	Interp    string // its path

	low, high arch.VA
}

// Low and High are the page-rounded bounds of the segments before relocation.
func (im *Image) Low() arch.VA  { return im.low }
func (im *Image) High() arch.VA { return im.high }

// Parse reads the headers of the executable r of size bytes, for an ABI's
// machine. ENOEXEC: it is not a 64-bit little-endian ET_EXEC or ET_DYN file of
// that machine, is cut short, or its segments do not fit a user address space.
// EIO: the path of the interpreter is not in the file. An error of r is passed on.
func Parse(r io.ReaderAt, size int64, machine elf.Machine) (*Image, error) {
	f, phoff, err := headers(r, size)
	if err != nil {
		return nil, err
	}
	if f.Machine != machine || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB ||
		f.Version != elf.EV_CURRENT || (f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN) {
		return nil, syscall.ENOEXEC
	}
	im := &Image{PIE: f.Type == elf.ET_DYN, Entry: arch.VA(f.Entry), PhNum: len(f.Progs), Align: arch.PageSize}
	for _, p := range f.Progs {
		if err := im.add(&p.ProgHeader, r, size); err != nil {
			return nil, err
		}
	}
	if err := im.check(); err != nil {
		return nil, err
	}
	im.setPhdr(phoff)
	return im, nil
}

// headers hands debug/elf a copy of the ELF header and the program headers and
// nothing else, and phoff, their place in the file: the section headers, which the loader does not need and which a
// stripped or packed program may have wrong, are taken out of it, and every
// offset that debug/elf will follow is known to be inside the copy.
func headers(r io.ReaderAt, size int64) (f *elf.File, phoff uint64, err error) {
	if size < ehdrSize+phdrSize {
		return nil, 0, syscall.ENOEXEC
	}
	var eh [ehdrSize]byte
	if err := readFull(r, eh[:], 0); err != nil {
		return nil, 0, err
	}
	if string(eh[:4]) != elf.ELFMAG || elf.Class(eh[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(eh[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, 0, syscall.ENOEXEC
	}
	le := binary.LittleEndian
	// Offsets in Elf64_Ehdr: e_phoff 32, e_shoff 40, e_phentsize 54, e_phnum 56,
	// e_shentsize 58, e_shnum 60, e_shstrndx 62.
	phoff = le.Uint64(eh[32:])
	entsize, num := le.Uint16(eh[54:]), int(le.Uint16(eh[56:]))
	if entsize != phdrSize || num < 1 || num > maxPhdrs ||
		phoff < ehdrSize || phoff > uint64(size) || uint64(num)*phdrSize > uint64(size)-phoff {
		return nil, 0, syscall.ENOEXEC
	}
	buf := make([]byte, ehdrSize+num*phdrSize)
	copy(buf, eh[:])
	if err := readFull(r, buf[ehdrSize:], int64(phoff)); err != nil {
		return nil, 0, err
	}
	le.PutUint64(buf[32:], ehdrSize)
	le.PutUint64(buf[40:], 0)
	clear(buf[58:64])
	f, err = elf.NewFile(bytes.NewReader(buf))
	if err != nil {
		return nil, 0, syscall.ENOEXEC
	}
	return f, phoff, nil
}

func (im *Image) add(p *elf.ProgHeader, r io.ReaderAt, size int64) error {
	switch p.Type {
	case elf.PT_LOAD:
		if p.Memsz == 0 {
			return nil
		}
		return im.addLoad(p, size)
	case elf.PT_INTERP:
		if im.Dynamic { // the first one counts
			return nil
		}
		if p.Filesz < 2 || p.Filesz > maxInterp {
			return syscall.ENOEXEC
		}
		if !inFile(p, size) {
			return syscall.EIO
		}
		b := make([]byte, p.Filesz)
		if err := readFull(r, b, int64(p.Off)); err != nil {
			return err
		}
		if b[len(b)-1] != 0 {
			return syscall.ENOEXEC
		}
		im.Dynamic = true
		im.Interp = string(b[:bytes.IndexByte(b, 0)])
	case elf.PT_GNU_STACK:
		im.ExecStack = p.Flags&elf.PF_X != 0
	}
	return nil
}

func (im *Image) addLoad(p *elf.ProgHeader, size int64) error {
	s := Segment{VA: arch.VA(p.Vaddr), MemSize: p.Memsz, Off: p.Off, FileSize: p.Filesz}
	switch {
	case p.Filesz != 0 && !inFile(p, size), // pure bss may have any offset: linkers align it
		p.Filesz > p.Memsz,
		s.VA >= arch.UserMax,
		p.Memsz > uint64(arch.UserMax-s.VA),
		(p.Vaddr-p.Off)%arch.PageSize != 0 && p.Filesz != 0:
		return syscall.ENOEXEC
	}
	for _, b := range [...]struct {
		flag elf.ProgFlag
		prot arch.Prot
	}{{elf.PF_R, arch.Read}, {elf.PF_W, arch.Write}, {elf.PF_X, arch.Exec}} {
		if p.Flags&b.flag != 0 {
			s.Prot |= b.prot
		}
	}
	im.put(s)
	if p.Align > im.Align && p.Align&(p.Align-1) == 0 {
		im.Align = p.Align
	}
	return nil
}

// put adds a segment.
func (im *Image) put(s Segment) {
	if len(im.Segments) == 0 {
		im.low, im.high = s.VA.PageDown(), s.End().PageUp()
	}
	im.low, im.high = min(im.low, s.VA.PageDown()), max(im.high, s.End().PageUp())
	im.Segments = append(im.Segments, s)
}

func (im *Image) check() error {
	if len(im.Segments) == 0 {
		return syscall.ENOEXEC
	}
	bias := im.biasAt(pieBase)
	if im.Low()+bias < arch.UserMin || im.High()+bias > mmapTop || im.High()+bias <= im.Low()+bias {
		return syscall.ENOEXEC
	}
	return nil
}

// setPhdr finds where the program headers at file offset off lie in memory.
func (im *Image) setPhdr(off uint64) {
	n := uint64(im.PhNum) * phdrSize
	for i := range im.Segments {
		s := &im.Segments[i]
		if off >= s.Off && off-s.Off <= s.FileSize && n <= s.FileSize-(off-s.Off) {
			im.Phdr = s.VA + arch.VA(off-s.Off)
			return
		}
	}
}

func inFile(p *elf.ProgHeader, size int64) bool {
	return p.Off <= uint64(size) && p.Filesz <= uint64(size)-p.Off
}

// readFull reads all of b; a file that ends early is not an executable.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		return syscall.ENOEXEC
	}
	return err
}
