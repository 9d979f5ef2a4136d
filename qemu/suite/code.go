package main

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// codeChecks are checks of the built kernels, for what no model of a machine shows.
var codeChecks = []struct {
	name  string
	check func() error
}{
	{"code: both kernels are for the first CPU of their architecture", firstCPU},
	{"code: UEFI's hand-over cleans what is read with the caches off", efiCleans},
}

// codeAll makes the checks whose names contain the pattern. Each is one test.
func codeAll(pattern string) (t tally) {
	for _, c := range codeChecks {
		if !strings.Contains(c.name, pattern) {
			continue
		}
		if err := c.check(); err != nil {
			t.fail("%s: FAILED: %v", c.name, err)
			continue
		}
		t.passed++
		fmt.Printf("%s: so it is\n", c.name)
	}
	return t
}

// firstCPU: a kernel that is built where GOARM64 or GOAMD64 is set for the host's own CPU
// would stop on an older one by an undefined instruction. Broken by: a Makefile that does not
// set the two, with GOARM64=v8.1 in the environment.
func firstCPU() error {
	for arch, want := range map[string]string{"arm64": "GOARM64=v8.0", "amd64": "GOAMD64=v1"} {
		info, err := buildinfo.ReadFile("build/" + arch + "/grim.elf")
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key+"="+s.Value == want }) {
			return fmt.Errorf("the %s kernel was not built with %s: %v", arch, want, info.Settings)
		}
	}
	return nil
}

// Instructions of efiEntry (Arm ARM C6.2).
const (
	maskAll   = 0xd5034fdf // msr daifset, #15
	sctlrEL1  = 0xd5181000 // msr sctlr_el1, x0
	sctlrEL2  = 0xd51c1000 // msr sctlr_el2, x0
	movX0     = 0xaa0003e0 // mov x0, xN, without N
	adrpX0    = 0x90000000 // adrp x0, without the page
	adrpX0Not = 0x60ffffe0 // bits of the page
)

// efiCleans: after UEFI's last service and before the MMU goes off, efiEntry writes three
// ranges back to memory: the copy of the image (from R24), the block with the device tree
// (from R22), and the code that it executes itself. QEMU has no caches, so that no boot
// shows it. Broken by: efiEntry without the call for the block.
func efiCleans() error {
	all, err := kernelCode("build/arm64", "runtime.efiEntry", "efiClean")
	if err != nil {
		return err
	}
	entry, clean := all[0], all[1]
	var cleaned []string
	x0, masked := "?", false
	for i, w := range entry.word {
		switch {
		case w == maskAll:
			masked = true
		case !masked:
		case w == sctlrEL1 || w == sctlrEL2:
			if want := []string{"x24", "x22", "code"}; !slices.Equal(cleaned, want) {
				return fmt.Errorf("efiEntry cleans from %v before it turns the MMU off, want %v", cleaned, want)
			}
			return nil
		case w&^(31<<16) == movX0:
			x0 = fmt.Sprint("x", w>>16&31)
		case w&^adrpX0Not == adrpX0:
			x0 = "code"
		case w>>26 == 0x25: // bl
			if to := entry.at + 4*uint64(i) + uint64(int64(int32(w<<6)>>6)*4); to == clean.at {
				cleaned = append(cleaned, x0)
			}
		}
	}
	return fmt.Errorf("efiEntry does not turn the MMU off after it has masked interrupts")
}
