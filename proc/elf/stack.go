package elf

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// Auxiliary vector tags (getauxval(3); the kernel's include/uapi/linux/auxvec.h).
// golang.org/x/sys/unix has none of them.
const (
	atNull     = 0
	atPhdr     = 3
	atPhent    = 4
	atPhnum    = 5
	atPagesz   = 6
	atBase     = 7
	atFlags    = 8
	atEntry    = 9
	atUID      = 11
	atEUID     = 12
	atGID      = 13
	atEGID     = 14
	atPlatform = 15
	atHWCap    = 16
	atClkTck   = 17
	atSecure   = 23
	atRandom   = 25
	atHWCap2   = 26
	atExecFn   = 31
	atMinSig   = 51
)

const (
	// ClockTicks is AT_CLKTCK: units of times(2) per second.
	ClockTicks = 100
	// StackSize is the default RLIMIT_STACK, and the least that Load keeps free for the
	// main thread's stack to grow into.
	StackSize = 8 << 20
	// maxArgs bounds argv and envp together (execve(2), "Limits on size of arguments and
	// environment").
	maxArgs = StackSize / 4
)

// CPU is what the auxiliary vector says about the processor.
type CPU struct {
	Platform      string // AT_PLATFORM: "x86_64", "aarch64"
	HWCap, HWCap2 uint64
	MinSigStack   uint64 // AT_MINSIGSTKSZ: size of a signal frame
}

// Identity is what the auxiliary vector says about the process.
type Identity struct {
	UID, EUID, GID, EGID uint32
	Secure               bool // AT_SECURE: do not trust the environment
}

// Args are the strings of an execve(2), and all else that goes on the stack.
type Args struct {
	Strings *Strings
	Argc    int // how many of them are argv's
	// Before is put before argv: the interpreter of a script with its argument, and the
	// script's path, which replaces the first of argv. Empty if the program is no script.
	Before []string
	ExecFn string // the path as given to execve
	// Interp and InterpObject are the interpreter of a dynamic program.
	Interp       *Image
	InterpObject vm.Object
	Random       [16]byte
	CPU          CPU
	ID           Identity
	// Randomize makes Load choose places by Draw, which is random then, instead of the
	// fixed places.
	Randomize bool
	Draw      Draw
	// Low allows a program below vm.MinAddr (CAP_SYS_RAWIO).
	Low bool
	// Yield is called now and then while many strings are laid out. It may be nil.
	Yield func()
	work  int // since the last Yield: bytes, and stepCost for each string
	// Window is what Load writes the stack through: Load makes one if it is nil.
	Window []byte
}

// Others run after every stepWork units of work: some 10 000 instructions.
const (
	stepCost = 64
	stepWork = 16 << 10
)

// step counts the work for a string of n bytes.
func (a *Args) step(n int) {
	if a.work += n + stepCost; a.work >= stepWork && a.Yield != nil {
		a.work = 0
		a.Yield()
	}
}

// stackPlan is how an initial stack is laid out, from the stack pointer up: argc, argv,
// NULL, envp, NULL, the auxiliary vector, and above them the strings. (System V ABI AMD64
// supplement 3.4.1; AAPCS64 wants the same alignment.)
type stackPlan struct {
	argc  int
	skip  int // bytes of Strings, its first string, that Before replaces
	words int // all below the strings
	size  int // bytes of all, a multiple of 16
}

// plan checks the limits. E2BIG.
func (a *Args) plan() (p stackPlan, err error) {
	argc, count, n := a.Argc, a.Strings.N, a.Strings.Len()
	if len(a.Before) > 0 {
		p.skip = a.Strings.First()
		argc, count, n = argc-1, count-1, n-p.skip
		for _, s := range a.Before {
			argc, count, n = argc+1, count+1, n+len(s)+1
		}
	}
	n += len(a.ExecFn) + 1 + len(a.CPU.Platform) + 1
	// The pointers count too, as in Linux since 4.13.
	if n+8*count > maxArgs {
		return p, syscall.E2BIG
	}
	p.argc, p.words = argc, 1+count+2+auxWords
	// Strings, the random bytes and the NULL word that Linux ends the stack with.
	p.size = (p.words*8 + n + len(a.Random) + 8 + 15) &^ 15
	return p, nil
}

// write writes the stack to vs, where it begins at sp and is mapped, from the bottom to
// the top. base is the interpreter's bias. ENOMEM, EFAULT.
func (a *Args) write(vs *vm.VMSpace, sp arch.VA, p stackPlan, im *Image, bias, base arch.VA) error {
	if a.Window == nil {
		a.Window = make([]byte, 0, arch.PageSize)
	}
	w := stackWriter{vs: vs, at: sp, buf: a.Window[:0]}
	w.word(uint64(p.argc))
	text := uint64(sp) + uint64(p.words*8)
	random := a.pointers(&w, text, p)
	execFn := random + uint64(len(a.Random))
	platform := execFn + uint64(len(a.ExecFn)) + 1
	a.auxVector(&w, im, bias, base, random, execFn, platform)
	for _, s := range a.Before {
		w.string(s)
	}
	skip := p.skip
	for _, b := range a.Strings.Pieces {
		k := min(skip, len(b))
		skip -= k
		a.step(len(b))
		w.bytes(b[k:])
	}
	w.bytes(a.Random[:])
	w.string(a.ExecFn)
	w.string(a.CPU.Platform)
	end := sp + arch.VA(p.size)
	for w.next() < end { // the NULL word, and what aligns
		w.bytes(zeroes[:min(len(zeroes), int(end-w.next()))])
	}
	w.flush()
	return w.err
}

var zeroes [32]byte

// pointers writes argv and envp, of strings that begin at text, and returns where these
// end.
func (a *Args) pointers(w *stackWriter, text uint64, p stackPlan) (end uint64) {
	i := 0 // string of Strings
	for _, s := range a.Before {
		w.word(text)
		text += uint64(len(s)) + 1
	}
	if len(a.Before) > 0 {
		i = 1
	}
	start, skip := text, p.skip
	for _, b := range a.Strings.Pieces {
		k := min(skip, len(b))
		skip -= k
		for b = b[k:]; len(b) > 0; {
			n := bytes.IndexByte(b, 0) + 1
			if n == 0 {
				text += uint64(len(b))
				break
			}
			a.step(n)
			if i == a.Argc {
				w.word(0)
			}
			w.word(start)
			text, b = text+uint64(n), b[n:]
			start = text
			i++
		}
	}
	if i == a.Argc {
		w.word(0) // no environment
	}
	w.word(0)
	return text
}

// auxWords is the size of the auxiliary vector.
const auxWords = 2 * 20

func (a *Args) auxVector(w *stackWriter, im *Image, bias, base arch.VA, random, execFn, platform uint64) {
	phdr, secure := uint64(0), uint64(0)
	if im.Phdr != 0 {
		phdr = uint64(im.Phdr + bias)
	}
	if a.ID.Secure {
		secure = 1
	}
	v := [auxWords]uint64{
		atHWCap, a.CPU.HWCap,
		atPagesz, arch.PageSize,
		atClkTck, ClockTicks,
		atPhdr, phdr,
		atPhent, phdrSize,
		atPhnum, uint64(im.PhNum),
		atBase, uint64(base),
		atFlags, 0,
		atEntry, uint64(im.Entry + bias),
		atUID, uint64(a.ID.UID),
		atEUID, uint64(a.ID.EUID),
		atGID, uint64(a.ID.GID),
		atEGID, uint64(a.ID.EGID),
		atSecure, secure,
		atHWCap2, a.CPU.HWCap2,
		atRandom, random,
		atExecFn, execFn,
		atMinSig, a.CPU.MinSigStack,
		atPlatform, platform,
		atNull, 0,
	}
	var b [8 * len(v)]byte // both architectures are little-endian
	for i, x := range v {
		binary.LittleEndian.PutUint64(b[8*i:], x)
	}
	w.bytes(b[:])
}

// stackWriter writes to user memory from a place on, a window at a time.
type stackWriter struct {
	vs  *vm.VMSpace
	at  arch.VA // of buf
	buf []byte  // what is not written yet
	err error   // the first
}

// next is where the next byte goes.
func (w *stackWriter) next() arch.VA { return w.at + arch.VA(len(w.buf)) }

func (w *stackWriter) flush() {
	if w.err == nil {
		w.err = w.vs.CopyOut(w.at, w.buf)
	}
	w.at, w.buf = w.next(), w.buf[:0]
}

func (w *stackWriter) word(v uint64) {
	n := len(w.buf)
	if cap(w.buf)-n < 8 {
		w.flush()
		n = 0
	}
	w.buf = w.buf[:n+8]
	binary.LittleEndian.PutUint64(w.buf[n:], v)
}

func (w *stackWriter) bytes(b []byte) {
	for {
		n := copy(w.buf[len(w.buf):cap(w.buf)], b)
		w.buf, b = w.buf[:len(w.buf)+n], b[n:]
		if len(b) == 0 {
			return
		}
		w.flush()
	}
}

// string writes s and its NUL.
func (w *stackWriter) string(s string) {
	for {
		n := copy(w.buf[len(w.buf):cap(w.buf)], s)
		if w.buf, s = w.buf[:len(w.buf)+n], s[n:]; s == "" {
			break
		}
		w.flush()
	}
	w.bytes(zeroes[:1])
}
