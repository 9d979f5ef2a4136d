package selftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"syscall"

	"grim/kernel/fs"
)

// writeProgram writes a program to a file as a static ELF file, for the time of the test.
func (t *T) writeProgram(p *program) (path string) {
	path = "/selftest"
	at := fs.At{Place: t.FS.NewPlace()}
	f, err := t.FS.Open(at, path, syscall.O_CREAT|syscall.O_EXCL|syscall.O_WRONLY, 0o755)
	t.check("create "+path, err)
	t.Cleanup(func() { t.check("unlink", t.FS.Unlink(at, path, 0)) })
	defer f.Release()
	_, err = f.Pwrite(nil, elfFile(p.code, t.Machine.ABI().Machine), 0)
	t.check("write "+path, err)
	return path
}

// elfFile is the smallest ELF executable: one segment with the code.
func elfFile(code []byte, machine uint16) []byte {
	const ehsize, phsize = 64, 56
	var b bytes.Buffer
	h := elf.Header64{
		Ident:   [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: machine, Version: uint32(elf.EV_CURRENT),
		Entry: uint64(codeVA) + ehsize + phsize, Phoff: ehsize,
		Ehsize: ehsize, Phentsize: phsize, Phnum: 1,
	}
	n := uint64(ehsize + phsize + len(code))
	ph := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: uint64(codeVA), Paddr: uint64(codeVA), Filesz: n, Memsz: n, Align: 4096,
	}
	// These cannot fail: they write fixed-size values into a buffer.
	_ = binary.Write(&b, binary.LittleEndian, &h)
	_ = binary.Write(&b, binary.LittleEndian, &ph)
	b.Write(code)
	return b.Bytes()
}
