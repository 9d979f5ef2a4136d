package bench

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"
)

func TestCounterReads(t *testing.T) {
	// MOV EAX, 0x310f00 (holds the bytes of an RDTSC); RDTSC; RET
	amd64 := []byte{0xb8, 0x00, 0x0f, 0x31, 0x00, 0x0f, 0x31, 0xc3}
	if at := counterReads(elf.EM_X86_64, amd64, 0x1000); !slices.Equal(at, []uint64{0x1005}) {
		t.Errorf("amd64: %#x, want 0x1005", at)
	}
	// ISB; MRS X19, CNTVCT_EL0; MRS X0, CNTFRQ_EL0
	arm64 := []byte{0xdf, 0x3f, 0x03, 0xd5, 0x53, 0xe0, 0x3b, 0xd5, 0x00, 0xe0, 0x3b, 0xd5}
	if at := counterReads(elf.EM_AARCH64, arm64, 0x1000); !slices.Equal(at, []uint64{0x1004}) {
		t.Errorf("arm64: %#x, want 0x1004", at)
	}
}

const f0, f1 = 0xffffffff80200000, 0xffffffff80200100

func testProfile() *Profile {
	return &Profile{
		funcs: []Function{{Name: "one"}, {Name: "two"}}, addr: []uint64{f0, f1}, end: []uint64{f0 + 0x80, f1 + 0x80},
		window: Window{0x401000, 0x401010}, skip: 1,
		user: Function{Name: "(user mode)"}, unknown: Function{Name: "(unknown)"},
	}
}

// Only the code between the two readings counts, and not the warm-up.
func TestProfileWindows(t *testing.T) {
	p := testProfile()
	repetition := func() {
		for _, pc := range []uint64{f0, 0x401000, 0x401002, f0, f0 + 4, f1 + 4, f0 + 0x90, 0x401010, f1} {
			p.Executed(pc)
		}
	}
	for range 3 {
		repetition()
	}
	if p.Windows != 3 || p.funcs[0] != (Function{"one", 4, 2}) || p.funcs[1] != (Function{"two", 2, 0}) ||
		p.user.Instructions != 2 || p.unknown.Instructions != 2 {
		t.Errorf("%d windows, %+v, user %+v, unknown %+v", p.Windows, p.funcs, p.user, p.unknown)
	}
	table, err := p.Table("x")
	if err != nil || table.Title != "x: 5 instructions, mean of 2" || table.Rows[0][0] != "one" || table.Rows[0][1] != "2.0" {
		t.Errorf("%v, %v", table, err)
	}
	if _, err := testProfile().Table("x"); err == nil {
		t.Error("a profile of nothing is no error")
	}
}

// One function makes both readings. The code between two repetitions is not counted. Broken
// by opening a window at every reading.
func TestProfileOneReading(t *testing.T) {
	p := testProfile()
	p.window.To = p.window.From
	for range 3 {
		for _, pc := range []uint64{f1, 0x401000, f0, f0 + 4, 0x401000, f1} {
			p.Executed(pc)
		}
	}
	if p.Windows != 3 || p.funcs[0].Instructions != 4 || p.funcs[1].Instructions != 0 {
		t.Errorf("%d windows, %+v", p.Windows, p.funcs)
	}
}

// The longest prefix decides: a batch is not measured like its parts. Broken by "fork_" in
// front of it.
func TestSequences(t *testing.T) {
	for name, want := range map[string]string{
		"fork_exit_wait": "main.timedFork", "fork_exit_wait_x100": "grim/user/bare.Now", "null_timer": "main.timedNothing",
		"null_getpid": "main.timedCall", "touch_each_2MB": "grim/user/bare.Now", "munmap_anon_16MB": "main.timedCall",
	} {
		if s := sequenceOf(name); s == nil || s.from != want {
			t.Errorf("%s: %+v, want readings in %s", name, s, want)
		}
	}
	if _, ok := CanProfile("no_such_case"); ok {
		t.Error("any name can be profiled")
	}
}

func TestProfileRead(t *testing.T) {
	p := testProfile()
	p.skip = 0
	log := "Stopped execution of TB chain before 0x7f [0000000000401000]\n" +
		"Trace 0: 0x7f12 [0000000000000000/0000000000401000/0000c0b3/ff020201] \n" +
		"Trace 0: 0x7f13 [0000000000000000/ffffffff80200000/0000c0b3/ff020201] one\n" +
		"Trace 0: cut off"
	if err := p.Read(strings.NewReader(log)); err != nil || p.funcs[0].Instructions != 1 || !p.open {
		t.Errorf("%+v, open %v, %v", p.funcs, p.open, err)
	}
}
