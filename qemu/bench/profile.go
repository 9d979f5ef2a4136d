package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// Window is the part of a program that a case measures: from the instruction after one
// reading of the counter to the next reading. If one function makes both readings, From and
// To are the same. Then every second reading begins a window.
type Window struct{ From, To uint64 }

// sequence describes how cases whose names start with prefix are measured. from and to are
// the functions of user/exitbench with the first and the last reading. warmup is the number
// of warm-up windows, and reps is how many windows after these give a profile in a few
// minutes.
type sequence struct {
	prefix, from, to string
	warmup, reps     int
}

// sequences has longer prefixes before shorter ones.
var sequences = []sequence{
	{"null_timer", "main.timedNothing", "main.timedNothing", 0, 3},
	{"null_", "main.timedCall", "main.timedCall", 5, 3},
	{"fork_exit_wait_x100", "grim/user/bare.Now", "grim/user/bare.Now", 2, 1},
	{"fork_", "main.timedFork", "main.timedFork", 5, 3},
	{"exec_", "main.timedFork", "main.timedFork", 5, 3},
	{"exit_", "main.stampAndExit", "main.timedCall", 5, 3},
	{"thread_", "grim/user/bare.ShortThread", "grim/user/bare.ShortThread", 5, 3},
	{"munmap_", "main.timedCall", "main.timedCall", 5, 3},
	{"switch_", "main.timedCall", "main.timedCall", 5, 3},
	{"page_fault", "main.timedStore", "main.timedStore", 5, 3},
	{"touch_", "grim/user/bare.Now", "grim/user/bare.Now", 1, 1},
}

// OnSeveralCPUs reports whether a case of the benchmark runs on several CPUs at the same
// time. The profiler follows one CPU, so it does not know these cases.
func OnSeveralCPUs(name string) bool {
	return strings.HasPrefix(name, "par_") || strings.HasSuffix(name, "_4") || name == "wake_pingpong"
}

func sequenceOf(name string) *sequence {
	if OnSeveralCPUs(name) {
		return nil
	}
	for i := range sequences {
		if strings.HasPrefix(name, sequences[i].prefix) {
			return &sequences[i]
		}
	}
	return nil
}

// CanProfile reports whether the profiler knows how a case is measured, and how many
// repetitions are enough.
func CanProfile(name string) (reps int, ok bool) {
	s := sequenceOf(name)
	if s == nil {
		return 0, false
	}
	return s.reps, true
}

// FindWindow finds the readings of a case in the program, and returns how many of its
// windows are warm-up.
func FindWindow(program *elf.File, name string) (w Window, warmup int, err error) {
	if OnSeveralCPUs(name) {
		return w, 0, fmt.Errorf("case %s runs on several CPUs: the profiler follows one; measure it by make bench CPUS=4 CASE=%s", name, name)
	}
	s := sequenceOf(name)
	if s == nil {
		return w, 0, fmt.Errorf("case %s: the profiler does not know how it is measured (sequences in qemu/bench/profile.go)", name)
	}
	syms, err := program.Symbols()
	if err != nil {
		return w, 0, err
	}
	from, err := readings(program, syms, s.from)
	if err != nil {
		return w, 0, err
	}
	to, err := readings(program, syms, s.to)
	if err != nil {
		return w, 0, err
	}
	return Window{from[0], to[len(to)-1]}, s.warmup, nil
}

// FindMarks finds the address where the program enters a case, and the one where it starts
// after reading its arguments.
func FindMarks(program *elf.File) (begin, start uint64, err error) {
	syms, err := program.Symbols()
	if err != nil {
		return 0, 0, err
	}
	for _, s := range syms {
		switch s.Name {
		case "main.caseBegins":
			begin = s.Value
		case "main.calibrate":
			start = s.Value
		}
	}
	if begin == 0 || start == 0 {
		return 0, 0, errors.New("the program has no functions main.caseBegins and main.calibrate")
	}
	return begin, start, nil
}

// readings returns the addresses at which a function reads the counter.
func readings(f *elf.File, syms []elf.Symbol, name string) (at []uint64, err error) {
	// An assembly function has a wrapper of the same name for Go callers. The readings are
	// in the other function.
	for _, s := range syms {
		if s.Name != name && s.Name != name+".abi0" {
			continue
		}
		text, err := textAt(f, s.Value, s.Size)
		if err != nil {
			return nil, err
		}
		at = append(at, counterReads(f.Machine, text, s.Value)...)
	}
	if at == nil {
		return nil, fmt.Errorf("%s reads no counter in the program", name)
	}
	return at, nil
}

func textAt(f *elf.File, addr, size uint64) ([]byte, error) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+size <= p.Vaddr+p.Filesz {
			b := make([]byte, size)
			_, err := p.ReadAt(b, int64(addr-p.Vaddr))
			return b, err
		}
	}
	return nil, fmt.Errorf("address %#x is not in the file", addr)
}

// counterReads returns the addresses of RDTSC, or of MRS Xt, CNTVCT_EL0 (Arm ARM, C6.2 MRS;
// op0 3, op1 3, CRn 14, CRm 0, op2 2).
func counterReads(m elf.Machine, text []byte, addr uint64) (at []uint64) {
	if m == elf.EM_AARCH64 {
		for i := 0; i+4 <= len(text); i += 4 {
			if binary.LittleEndian.Uint32(text[i:])&^31 == 0xd53be040 {
				at = append(at, addr+uint64(i))
			}
		}
		return at
	}
	for i := 0; i < len(text); {
		in, err := x86asm.Decode(text[i:], 64)
		if err != nil {
			i++ // padding
			continue
		}
		if in.Op == x86asm.RDTSC {
			at = append(at, addr+uint64(i))
		}
		i += in.Len
	}
	return at
}

// Function is the cost of one function of the kernel.
type Function struct {
	Name         string
	Instructions uint64
	Calls        uint64 // how often its first instruction ran
}

// Profile counts executed instructions for each function, only between the readings of a
// case.
type Profile struct {
	Windows uint64 // number of closed windows
	funcs   []Function
	addr    []uint64 // start addresses of funcs, ascending
	end     []uint64
	user    Function
	unknown Function

	window Window
	skip   uint64
	open   bool
	calls  *callCount // nil: not counted
}

// userEnd is above every user address and below every kernel address.
const userEnd = 1 << 47

// NewProfile makes a profile for the functions of a kernel. The first skip windows are the
// program's warm-up, and are not counted.
func NewProfile(kernel *elf.File, w Window, skip int) (*Profile, error) {
	syms, err := kernel.Symbols()
	if err != nil {
		return nil, fmt.Errorf("the kernel's symbols: %w", err)
	}
	p := &Profile{window: w, skip: uint64(skip), user: Function{Name: "(user mode)"}, unknown: Function{Name: "(unknown)"}}
	slices.SortFunc(syms, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0 {
			p.funcs = append(p.funcs, Function{Name: s.Name})
			p.addr, p.end = append(p.addr, s.Value), append(p.end, s.Value+s.Size)
		}
	}
	if p.funcs == nil {
		return nil, errors.New("the kernel has no symbols")
	}
	return p, nil
}

// Executed records that the instruction at pc was executed.
func (p *Profile) Executed(pc uint64) {
	closed := p.open && pc == p.window.To
	if closed {
		p.open = false
		p.Windows++
	}
	if p.open && p.Windows >= p.skip {
		f, first := p.function(pc)
		f.Instructions++
		if first {
			f.Calls++
		}
		if p.calls != nil {
			p.calls.executed(pc, first)
		}
	}
	if pc == p.window.From && !closed {
		p.open = true
	}
}

func (p *Profile) function(pc uint64) (f *Function, first bool) {
	if pc < userEnd {
		return &p.user, false
	}
	i := sort.Search(len(p.addr), func(i int) bool { return p.addr[i] > pc }) - 1
	if i < 0 || pc >= p.end[i] {
		return &p.unknown, false
	}
	return &p.funcs[i], pc == p.addr[i]
}

// Read counts the lines of a QEMU log made with "-d exec,nochain" and single
// stepping, a line an instruction:
//
//	Trace CPU: HOST [CS_BASE/PC/FLAGS/CFLAGS] SYMBOL
func (p *Profile) Read(log io.Reader) error {
	r := bufio.NewReaderSize(log, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		if pc, ok := tracePC(line); ok {
			p.Executed(pc)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
}

// tracePC returns the program counter of a log line. It returns false if it is no trace
// line.
func tracePC(line []byte) (uint64, bool) {
	if !bytes.HasPrefix(line, []byte("Trace ")) {
		return 0, false
	}
	open := bytes.IndexByte(line, '[')
	if open < 0 {
		return 0, false
	}
	_, rest, ok := bytes.Cut(line[open:], []byte{'/'})
	if !ok {
		return 0, false
	}
	hex, _, ok := bytes.Cut(rest, []byte{'/'})
	if !ok {
		return 0, false
	}
	pc, err := strconv.ParseUint(string(hex), 16, 64)
	return pc, err == nil
}

// Table lists the functions by their cost in one repetition. It ends when the rest is below
// a thousandth.
func (p *Profile) Table(title string) (*Table, error) {
	if p.Windows <= p.skip {
		return nil, fmt.Errorf("the case was measured %d times, %d of them warm-up: nothing to count", p.Windows, p.skip)
	}
	n := float64(p.Windows - p.skip)
	all := append([]Function{p.user, p.unknown}, p.funcs...)
	slices.SortStableFunc(all, func(a, b Function) int { return cmp.Compare(b.Instructions, a.Instructions) })
	total := uint64(0)
	for _, f := range all {
		total += f.Instructions
	}
	t := &Table{
		Title: fmt.Sprintf("%s: %s instructions, mean of %d", title, Number(float64(total)/n), int(n)),
		Head:  []string{"function", "instructions", "share", "calls", "a call"},
	}
	for _, f := range all {
		if f.Instructions*1000 < total || f.Instructions == 0 {
			break
		}
		calls, each := none, none
		if f.Calls > 0 {
			calls = fmt.Sprintf("%.1f", float64(f.Calls)/n)
			each = fmt.Sprintf("%.1f", float64(f.Instructions)/float64(f.Calls))
		}
		t.Rows = append(t.Rows, []string{
			f.Name, fmt.Sprintf("%.1f", float64(f.Instructions)/n),
			fmt.Sprintf("%.1f %%", 100*float64(f.Instructions)/float64(total)), calls, each,
		})
	}
	return t, nil
}
