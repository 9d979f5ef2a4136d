package arm64

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// assembled returns the instructions of a function of a file of this package, as the Go
// assembler makes them.
func assembled(t *testing.T, file, function string) (code []uint32) {
	t.Helper()
	object := filepath.Join(t.TempDir(), "object.o")
	tool := func(args ...string) []byte {
		cmd := exec.Command("go", append([]string{"tool"}, args...)...)
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go tool %s: %v: %s", args[0], err, out)
		}
		return out
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	tool("asm", "-p", "grim/arch/arm64", "-I", filepath.Join(strings.TrimSpace(string(root)), "pkg/include"), "-o", object, file)
	text := tool("objdump", "-s", `\.`+function+`$`, object)
	for _, m := range regexp.MustCompile(`(?m)^\s+\S+:\d+\s+0x[0-9a-f]+\s+([0-9a-f]{8})\s`).FindAllSubmatch(text, -1) {
		w, _ := strconv.ParseUint(string(m[1]), 16, 32)
		code = append(code, uint32(w))
	}
	if len(code) == 0 {
		t.Fatalf("no instructions of %s in %s", function, text)
	}
	return code
}

// step returns the name of an instruction that may occur while the kernel half is replaced
// (Arm ARM C6.2). Every other instruction has the name "other".
func step(w uint32) string {
	reg := " x" + strconv.Itoa(int(w&31))
	switch {
	case w&^31 == 0xd5182000:
		return "ttbr0 :=" + reg
	case w&^31 == 0xd5182020:
		return "ttbr1 :=" + reg
	case w == 0xd5033fdf:
		return "isb"
	case w == 0xd508871f:
		return "tlbi vmalle1"
	case w&0xfffff0ff == 0xd503309f:
		return "dsb"
	case w&0x9f000000 == 0x10000000:
		return "adr" + reg
	case w&0xfffffc1f == 0xd61f0000:
		return "br x" + strconv.Itoa(int(w>>5&31))
	case w == 0xd50344df:
		return "mask SError"
	case w == 0xd50344ff:
		return "open SError"
	case w == 0xd65f03c0:
		return "ret"
	}
	return "other"
}

// TestReplaceOrder: the kernel half is replaced in the order of break-before-make (Arm ARM
// D8.16.1). The code that runs without a kernel half makes TTBR1 empty, waits until that is
// so, drops what the TLB has of the old half, waits again, and only then sets the final
// tables. It runs in the identity map, and has no load or store, as the stack and all data
// are in the kernel half. No SError is taken meanwhile, as its vectors are there too.
//
// Broken by: replaceCode without the first ISB, without the DSB, with the TLBI before TTBR1
// is empty, with the final tables before the TLBI, with a load between; replaceRoots that
// does not mask SErrors, or returns without the last TLBI.
func TestReplaceOrder(t *testing.T) {
	const roots, gap = "replaceRoots", "replaceCode"
	want := map[string][]string{
		roots: {"mask SError", "dsb", "ttbr0 := x0", "isb", "adr x5", "br x4", "ttbr0 := x2", "isb", "tlbi vmalle1", "dsb", "isb", "open SError", "ret"},
		gap:   {"ttbr1 := x1", "isb", "tlbi vmalle1", "dsb", "isb", "ttbr1 := x3", "isb", "br x5"},
	}
	for f, want := range want {
		var got []string
		code := assembled(t, "mmu.s", f)
		for code[len(code)-1] == 0 { // padding
			code = code[:len(code)-1]
		}
		for _, w := range code {
			got = append(got, step(w))
		}
		if f == roots {
			// Five loads from the stack bring the arguments, before all else.
			for range 5 {
				if got[0] != "other" {
					t.Fatalf("%s: %q", f, got)
				}
				got = got[1:]
			}
		} else if len(code)*4 > replaceSize {
			t.Errorf("%s has %d bytes, more than the %d that the identity map has", f, len(code)*4, replaceSize)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%q, want\n%q", f, got, want)
		}
	}
}

// TestFlushesTwice: a flush for all CPUs makes its invalidation a second time if it is told
// to, with a DSB after each, and else once. Broken by: each function without its CBZ (then
// always twice), without its second TLBI, and without the DSB between the two.
func TestFlushesTwice(t *testing.T) {
	for f, tlbi := range map[string]uint32{"flushVA": 0xd5088320, "flushASID": 0xd5088340, "flushAll": 0xd508831f} {
		for _, twice := range []bool{false, true} {
			var got []string
			for pc, code := 0, assembled(t, "mmu.s", f); code[pc] != 0xd65f03c0; pc++ {
				switch w := code[pc]; {
				case w&0xfffff0ff == 0xd503309f:
					got = append(got, "dsb")
				case w == tlbi:
					got = append(got, "tlbi")
				case w&0x7f000000 == 0x34000000 && !twice: // cbz
					pc += int(w>>5&(1<<19-1)) - 1
				}
			}
			want := []string{"dsb", "tlbi", "dsb"}
			if twice {
				want = append(want, "tlbi", "dsb")
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, twice %v: %q, want %q", f, twice, got, want)
			}
		}
	}
}
