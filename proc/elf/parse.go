// Package elf reads Linux executables, and the interpreters (dynamic linkers) that they
// name, and builds the address space that the first instruction expects.
//
// Parse and ParseScript read bytes from untrusted files. They read a bounded amount,
// compare each size and offset with the file's length before they use it, and return
// syscall.ENOEXEC for everything that the loader could not map exactly. Load then maps what
// Parse has accepted. The package knows nothing of processes; package kernel/sys calls it
// from execve(2).
//
// Context: a thread in a system call. Reading the file may sleep. This package holds no
// locks.
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

// HeaderSize is the length of an ELF header. A shorter file is not an ELF file.
const HeaderSize = ehdrSize

const (
	ehdrSize = 64 // sizeof(Elf64_Ehdr)
	phdrSize = 56 // sizeof(Elf64_Phdr)
	// maxPhdrs bounds the number of program headers that are read. Linux allows 64 KB of
	// them; real programs have about ten.
	maxPhdrs = 128
	// maxInterp is the longest interpreter path (PATH_MAX, with its NUL).
	maxInterp = 4096
)

// Segment is one PT_LOAD entry, checked: Off+FileSize lies inside the file, FileSize <=
// MemSize, and VA and Off agree modulo the page size if FileSize is not 0. VA is before
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

// Image is the contents of an executable's headers. It does not change after Parse, so it
// may be cached as long as the file's contents do not change.
type Image struct {
	PIE   bool // ET_DYN: Load chooses its place
	Entry arch.VA
	Align uint64  // the largest p_align, at least the page size
	Phdr  arch.VA // address of the program headers in memory; 0 if they are in no segment
	PhNum int
	// There is at least one segment. Segments may be in any order and overlap: a later one
	// replaces, page by page, what earlier ones have put there.
	Segments  []Segment
	ExecStack bool   // PT_GNU_STACK asks for an executable stack
	Dynamic   bool   // there is a PT_INTERP
	Interp    string // path of the interpreter

	low, high arch.VA
}

// Low and High are the bounds of the segments before relocation, rounded to pages.
func (im *Image) Low() arch.VA  { return im.low }
func (im *Image) High() arch.VA { return im.high }

// Parse reads the headers of the executable r, which is size bytes long. machine is that of
// the ABI. ENOEXEC if r is not a 64-bit little-endian ET_EXEC or ET_DYN file for that
// machine, is cut short, or its segments do not fit into a user address space. EIO if the
// path of the interpreter lies outside the file. An error of r is passed on.
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

// headers parses a copy of the ELF header and the program headers with debug/elf. phoff is
// the place of the program headers in the file. The copy has nothing else, so every offset
// that debug/elf follows is known to be inside it. The section headers are left out: the
// loader does not need them, and in a stripped or packed program they may be wrong.
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
		if im.Dynamic { // only the first PT_INTERP counts
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
	case p.Filesz != 0 && !inFile(p, size), // a segment without file bytes may have any offset: linkers align it
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

// setPhdr finds where in memory the program headers lie, which are at file offset off.
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

// readFull reads all of b. ENOEXEC if the file ends before.
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
