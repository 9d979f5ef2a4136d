package elf

import (
	"syscall"
	"unsafe"

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
	// maxArgs bounds argv and envp together, maxArgString each string, in bytes (execve(2),
	// "Limits on size of arguments and environment").
	maxArgs      = StackSize / 4
	maxArgString = 128 << 10
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
	Argv, Envp []string
	ExecFn     string // the path as given to execve
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
	// Room is memory that Load may use for the image of the stack. It may be nil. If it is
	// too small, Load calls Grow, which must replace it by memory of that many words. If
	// Grow is nil, Load allocates it.
	Room []uint64
	Grow func(words int) error
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

// size checks the limits and returns how many bytes the strings take, including NULs.
// E2BIG.
func (a *Args) size() (int, error) {
	n := len(a.ExecFn) + 1 + len(a.CPU.Platform) + 1
	for _, list := range [2][]string{a.Argv, a.Envp} {
		for _, s := range list {
			a.step(0)
			if len(s) >= maxArgString {
				return 0, syscall.E2BIG
			}
			// The pointer counts too, as in Linux since 4.13.
			if n += len(s) + 1 + 8; n > maxArgs {
				return 0, syscall.E2BIG
			}
		}
	}
	return n, nil
}

// stackImage lays out the initial stack so that it ends at top, which is 16-byte aligned.
// It returns the stack's bytes, which are in Room. SP is to point at the first of them.
// There are argc, argv, NULL, envp, NULL, the auxiliary vector, and above them the strings.
// (System V ABI AMD64 supplement 3.4.1; AAPCS64 demands the same alignment.) aux is the
// offset of the auxiliary vector. base is the interpreter's bias.
func (a *Args) stackImage(top arch.VA, im *Image, bias, base arch.VA) (image []byte, aux int, err error) {
	n, err := a.size()
	if err != nil {
		return nil, 0, err
	}
	words := 1 + len(a.Argv) + 1 + len(a.Envp) + 1 + auxWords
	// Strings, the random bytes, and the NULL word at the end of a Linux stack.
	n += len(a.Random) + 8
	total := (words*8 + n + 15) &^ 15
	if cap(a.Room) < total/8 {
		if a.Grow == nil {
			a.Room = make([]uint64, total/8)
		} else if err := a.Grow(total / 8); err != nil {
			return nil, 0, err
		}
	}
	room := a.Room[:total/8]
	// Safety: buf is the same memory as room. Both architectures are little-endian, so
	// words are stored as the program reads them.
	buf := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(room))), total)
	b := stackWriter{words: room[:0:words], text: buf[words*8:], va: uint64(top) - uint64(total-words*8)}
	b.word(uint64(len(a.Argv)))
	for _, s := range a.Argv {
		a.step(len(s))
		b.word(b.string(s))
	}
	b.word(0)
	for _, s := range a.Envp {
		a.step(len(s))
		b.word(b.string(s))
	}
	b.word(0)

	random := b.va
	b.skip(copy(b.text, a.Random[:]))
	phdr, secure := uint64(0), uint64(0)
	if im.Phdr != 0 {
		phdr = uint64(im.Phdr + bias)
	}
	if a.ID.Secure {
		secure = 1
	}
	aux = 8 * len(b.words)
	b.aux(atHWCap, a.CPU.HWCap)
	b.aux(atPagesz, arch.PageSize)
	b.aux(atClkTck, ClockTicks)
	b.aux(atPhdr, phdr)
	b.aux(atPhent, phdrSize)
	b.aux(atPhnum, uint64(im.PhNum))
	b.aux(atBase, uint64(base))
	b.aux(atFlags, 0)
	b.aux(atEntry, uint64(im.Entry+bias))
	b.aux(atUID, uint64(a.ID.UID))
	b.aux(atEUID, uint64(a.ID.EUID))
	b.aux(atGID, uint64(a.ID.GID))
	b.aux(atEGID, uint64(a.ID.EGID))
	b.aux(atSecure, secure)
	b.aux(atHWCap2, a.CPU.HWCap2)
	b.aux(atRandom, random)
	b.aux(atExecFn, b.string(a.ExecFn))
	b.aux(atMinSig, a.CPU.MinSigStack)
	b.aux(atPlatform, b.string(a.CPU.Platform))
	b.aux(atNull, 0)
	clear(b.text) // the NULL word, and the bytes for alignment
	return buf, aux, nil
}

// auxWords is the number of words in the auxiliary vector that stackImage makes.
const auxWords = 2 * 20

// stackWriter fills the words from the bottom, and the strings above them.
type stackWriter struct {
	words []uint64 // words written so far; its capacity is the number of all
	text  []byte   // room for strings
	va    uint64   // user address of text
}

func (b *stackWriter) word(v uint64) { b.words = append(b.words, v) }

func (b *stackWriter) aux(tag, v uint64) { b.words = append(b.words, tag, v) }

// string stores s and a NUL, and returns the user address of s.
func (b *stackWriter) string(s string) uint64 {
	at := b.va
	n := copy(b.text, s)
	b.text[n] = 0
	b.skip(n + 1)
	return at
}

func (b *stackWriter) skip(n int) {
	b.text = b.text[n:]
	b.va += uint64(n)
}
