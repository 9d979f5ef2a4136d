package image

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
)

// Two errata of the Cortex-A53 up to r0p4 (Software Developers Errata Notice
// ARM-EPM-048406) can only be avoided in the code. C compilers and linkers do so; the Go
// tool chain does not. No register bit helps against either.
//
//   - 835769: a load or store, followed by a 64-bit multiply-accumulate, may give the
//     wrong sum.
//   - 843419: ADRP in one of the last two words of a page, a load or store, perhaps one
//     more instruction, and then a load or store by the register that ADRP wrote, may
//     use the wrong address.
//
// The last instruction of such a sequence is moved into a stub. A branch to the stub takes
// its place, and a branch back follows it in the stub. So nothing else has to move. The
// stubs are in the kernel's text, in the function erratumStubs, which consists of BRK
// instructions before. The rules are those of linkers (GNU ld, --fix-cortex-a53-835769 and
// -843419): code counts as a sequence if it cannot be excluded that it is one.

// erratumStubs is the symbol of the space for stubs.
const erratumStubs = "runtime.erratumStubs"

// brk fills that space (BRK #1).
const brk = 0xd4200020

// Erratum is a place at which a sequence was found.
type Erratum struct {
	Number int    // 835769 or 843419
	Addr   uint64 // of the instruction that was moved
	Stub   uint64
}

// FixErrata moves, in a linked arm64 kernel, the instructions that must not be where they
// are. It changes kernel, and returns what it has moved. A second call finds nothing in the
// same kernel.
func FixErrata(kernel []byte) ([]Erratum, error) {
	f, err := ARM64ELF(kernel)
	if err != nil {
		return nil, err
	}
	text := f.Section(".text")
	if text == nil || text.Offset > uint64(len(kernel)) || text.Size > uint64(len(kernel))-text.Offset || text.Size%4 != 0 {
		return nil, fmt.Errorf("kernel has no .text section, or only a part of it")
	}
	code := words(kernel[text.Offset:][:text.Size])
	found := scan(code, text.Addr)
	if len(found) == 0 {
		return nil, nil
	}
	stub, end, err := stubRoom(f, code, text.Addr)
	if err != nil {
		return nil, err
	}
	for i := range found {
		e := &found[i]
		if stub+2 > end {
			return nil, fmt.Errorf("%s has no room for the stubs of %d Cortex-A53 errata", erratumStubs, len(found))
		}
		e.Stub = text.Addr + 4*uint64(stub)
		at := int(e.Addr-text.Addr) / 4
		code.put(stub, code.at(at))
		code.put(stub+1, branch(stub+1, at+1))
		code.put(at, branch(at, stub))
		stub += 2
	}
	return found, nil
}

// words is code, accessed by instruction.
type words []byte

func (w words) len() int            { return len(w) / 4 }
func (w words) at(i int) uint32     { return binary.LittleEndian.Uint32(w[4*i:]) }
func (w words) put(i int, v uint32) { binary.LittleEndian.PutUint32(w[4*i:], v) }

// branch encodes "B to" at from, both given by index (Arm ARM C6.2.26). The text is far
// smaller than 128 MB.
func branch(from, to int) uint32 { return 0x14000000 | uint32(to-from)&(1<<26-1) }

// stubRoom returns the index of the next free stub, and the index of the end of the space.
func stubRoom(f *elf.File, code words, addr uint64) (next, end int, err error) {
	syms, err := f.Symbols()
	if err != nil {
		return 0, 0, err
	}
	for _, s := range syms {
		if s.Name != erratumStubs && s.Name != erratumStubs+".abi0" {
			continue
		}
		if s.Value < addr || s.Value+s.Size > addr+uint64(len(code)) {
			break
		}
		next, end = int(s.Value-addr)/4, int(s.Value-addr+s.Size)/4
		for next < end && code.at(next) != brk {
			next++
		}
		return next, end, nil
	}
	return 0, 0, fmt.Errorf("kernel has no function %s", erratumStubs)
}

// scan finds the sequences in code, which begins at addr.
func scan(code words, addr uint64) []Erratum {
	data := literals(code)
	ok := func(i int) bool { return i < code.len() && !data[i] }
	var found []Erratum
	add := func(number, i int) {
		at := addr + 4*uint64(i)
		if !slices.ContainsFunc(found, func(e Erratum) bool { return e.Addr == at }) {
			found = append(found, Erratum{Number: number, Addr: at})
		}
	}
	for i := range code.len() {
		if !ok(i) {
			continue
		}
		if ok(i+1) && is835769(code.at(i), code.at(i+1)) {
			add(835769, i+1)
		}
		if off := (addr + 4*uint64(i)) & 0xfff; off != 0xff8 && off != 0xffc || !ok(i+1) || !ok(i+2) {
			continue
		}
		fourth := uint32(0)
		if ok(i + 3) {
			fourth = code.at(i + 3)
		}
		if n := is843419(code.at(i), code.at(i+1), code.at(i+2), fourth); n != 0 {
			add(843419, i+n)
		}
	}
	return found
}

// literals returns the words of the text that are data: those that a load relative to the
// PC reads, behind functions.
func literals(code words) map[int]bool {
	data := map[int]bool{}
	for i := range code.len() {
		v := code.at(i)
		if v&0x3b000000 != 0x18000000 { // load literal (Arm ARM C4.1.94)
			continue
		}
		n := 1 // words
		switch vector := v>>26&1 != 0; {
		case v>>30 == 1:
			n = 2
		case v>>30 == 2 && vector:
			n = 4
		case v>>30 == 3:
			continue // a prefetch
		}
		at := i + int(int32(v<<8)>>13) // 19 bits, from bit 5 on
		for k := at; k < at+n && k >= 0 && k < code.len(); k++ {
			data[k] = true
		}
	}
	return data
}

// zr is the number of the zero register.
const zr = 31

// is835769 reports whether memory access first, followed by second, is a sequence of
// erratum 835769.
func is835769(first, second uint32) bool {
	// MADD, MSUB and their widening forms of 64 bits (C4.1.95, three sources). With the
	// zero register as addend the instruction is a multiplication, which is not affected.
	op31 := second >> 21 & 7
	if second&0xff000000 != 0x9b000000 || op31 != 0 && op31 != 1 && op31 != 5 || second>>10&31 == zr {
		return false
	}
	if !memory(first) {
		return false
	}
	if first>>26&1 != 0 {
		return true // vector registers: second does not wait for the load
	}
	// If second needs the result of a load, it waits for the load, and is safe.
	loaded, sure := loadedBy(first)
	if !sure {
		return true
	}
	for _, r := range loaded {
		for _, shift := range []uint{5, 10, 16} { // Rn, Ra, Rm
			if r != zr && second>>shift&31 == r {
				return false
			}
		}
	}
	return true
}

// memory reports whether v is a load or store, a prefetch among them (C4.1.94).
func memory(v uint32) bool { return v&0x0a000000 == 0x08000000 }

// loadedBy returns the general registers that v loads, none for a store. sure is false for
// accesses whose kind is not told apart here.
func loadedBy(v uint32) (regs []uint32, sure bool) {
	rt, rt2 := v&31, v>>10&31
	switch {
	case v&0x3a000000 == 0x28000000: // pairs
		if v>>22&1 != 0 {
			return []uint32{rt, rt2}, true
		}
		return nil, true
	case v&0x3a000000 == 0x38000000 && !(v>>24&1 == 0 && v>>21&1 == 1 && v>>10&3 == 0): // one register, not the atomic ones
		if v>>22&3 == 0 || v>>30 == 3 && v>>22&3 == 2 {
			return nil, true // store, prefetch
		}
		return []uint32{rt}, true
	case v&0x3b000000 == 0x18000000: // literal
		if v>>30 == 3 {
			return nil, true
		}
		return []uint32{rt}, true
	}
	return nil, false
}

// is843419 returns which instruction of a sequence must be moved, counted from 0: 2 or 3,
// or 0 if there is no sequence.
func is843419(first, second, third, fourth uint32) int {
	if first&0x9f000000 != 0x90000000 { // ADRP
		return 0
	}
	rd := first & 31
	// The second instruction must not write the register.
	if !memory(second) {
		return 0
	}
	if regs, sure := loadedBy(second); sure {
		for _, r := range regs {
			if r == rd && second>>26&1 == 0 {
				return 0
			}
		}
	}
	// Then comes an access by an offset from the register, at once or after one more
	// instruction.
	last := func(v uint32) bool { return v&0x3b000000 == 0x39000000 && v>>5&31 == rd }
	if last(third) {
		return 2
	}
	if last(fourth) {
		return 3
	}
	return 0
}
