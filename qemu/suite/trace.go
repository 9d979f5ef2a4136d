package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"grim/boot/image"
)

// code is a function of the arm64 kernel.
type code struct {
	name string
	at   uint64   // its address
	word []uint32 // its instructions
}

// kernelCode returns functions of the kernel in dir.
func kernelCode(dir string, names ...string) ([]code, error) {
	b, err := os.ReadFile(dir + "/grim.elf")
	if err != nil {
		return nil, err
	}
	f, err := image.ARM64ELF(b)
	if err != nil {
		return nil, err
	}
	syms, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	text := f.Section(".text")
	all, err := text.Data()
	if err != nil {
		return nil, err
	}
	var found []code
	for _, name := range names {
		for _, s := range syms {
			if s.Name == name && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
				c := code{name: name, at: s.Value}
				for w := all[s.Value-text.Addr:][:s.Size]; len(w) >= 4; w = w[4:] {
					c.word = append(c.word, binary.LittleEndian.Uint32(w))
				}
				for len(c.word) > 0 && c.word[len(c.word)-1] == 0 { // padding
					c.word = c.word[:len(c.word)-1]
				}
				found = append(found, c)
				break
			}
		}
	}
	if len(found) != len(names) {
		return nil, fmt.Errorf("the kernel in %s has %d of the functions %v", dir, len(found), names)
	}
	return found, nil
}

// runs is what a boot must run, as QEMU's trace of translated code shows it. QEMU translates
// code just before the code first runs.
type runs struct {
	functions []string // of which every instruction must run
	// at is added to their addresses: code that runs in an identity map.
	at uint64
}

// physical is the distance from a link address to the physical address on QEMU's virt machine.
const physical = 0x40200000 + (1<<64 - 0xffffffff80200000)

// traceFile returns the file of b's trace.
func (b *boot) traceFile() string { return strings.TrimSuffix(b.log(), ".log") + ".trace" }

// traceArgs returns QEMU's arguments for the trace, or none.
func (b *boot) traceArgs(dir string) ([]string, error) {
	var ranges []string
	for _, r := range b.runs {
		all, err := kernelCode(dir, r.functions...)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			ranges = append(ranges, fmt.Sprintf("%#x+%#x", c.at+r.at, len(c.word)*4))
		}
	}
	if ranges == nil {
		return nil, nil
	}
	return []string{"-d", "in_asm", "-D", b.traceFile(), "-dfilter", strings.Join(ranges, ",")}, nil
}

var traceLine = regexp.MustCompile(`(?m)^0x([0-9a-f]+): `)

// ran checks that all that b must run is in its trace.
func (b *boot) ran(dir string) error {
	if b.runs == nil {
		return nil
	}
	text, err := os.ReadFile(b.traceFile())
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, m := range traceLine.FindAllSubmatch(text, -1) {
		at, _ := strconv.ParseUint(string(m[1]), 16, 64)
		seen[at] = true
	}
	for _, r := range b.runs {
		all, err := kernelCode(dir, r.functions...)
		if err != nil {
			return err
		}
		for _, c := range all {
			for i := range c.word {
				if at := c.at + r.at + 4*uint64(i); !seen[at] {
					return fmt.Errorf("%s: the instruction at %#x has not run, see %s", c.name, at, b.traceFile())
				}
			}
		}
	}
	return nil
}
