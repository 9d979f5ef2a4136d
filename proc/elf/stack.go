package elf

import (
	"encoding/binary"
	"syscall"

	"grim/arch"
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
)

const (
	// ClockTicks is AT_CLKTCK: the unit of times(2), per second.
	ClockTicks = 100
	// StackSize is the default RLIMIT_STACK, and what Load reserves for the
	// main thread to grow into.
	StackSize = 8 << 20
	// maxArgs and maxArgString bound argv and envp together, and each string
	// (execve(2), "Limits on size of arguments and environment").
	maxArgs      = StackSize / 4
	maxArgString = 128 << 10
)

// CPU is what the auxiliary vector tells about the processor.
type CPU struct {
	Platform      string // AT_PLATFORM: "x86_64", "aarch64"
	HWCap, HWCap2 uint64
}

// Identity is what the auxiliary vector tells about the process.
type Identity struct {
	UID, EUID, GID, EGID uint32
	Secure               bool // AT_SECURE: do not trust the environment
}

// Args are the strings of an execve(2) and the rest that goes on the stack.
type Args struct {
	Argv, Envp []string
	ExecFn     string // the path as given to execve
	Random     [16]byte
	CPU        CPU
	ID         Identity
}

// size checks the limits and gives the bytes that the strings take, NULs
// included. E2BIG.
func (a *Args) size() (int, error) {
	n := len(a.ExecFn) + 1 + len(a.CPU.Platform) + 1
	for _, list := range [2][]string{a.Argv, a.Envp} {
		for _, s := range list {
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

// stackImage lays out the initial stack so that it ends at top (16-byte
// aligned) and returns its bytes; the first of them is where SP points: argc,
// argv, NULL, envp, NULL, the auxiliary vector, and above them the strings.
// (System V ABI AMD64 supplement 3.4.1; AAPCS64 wants the same alignment.)
func (a *Args) stackImage(top arch.VA, im *Image, bias arch.VA) ([]byte, error) {
	n, err := a.size()
	if err != nil {
		return nil, err
	}
	secure := uint64(0)
	if a.ID.Secure {
		secure = 1
	}
	phdr := uint64(0)
	if im.Phdr != 0 {
		phdr = uint64(im.Phdr + bias)
	}
	aux := [...][2]uint64{
		{atHWCap, a.CPU.HWCap},
		{atPagesz, arch.PageSize},
		{atClkTck, ClockTicks},
		{atPhdr, phdr},
		{atPhent, phdrSize},
		{atPhnum, uint64(im.PhNum)},
		{atBase, 0},
		{atFlags, 0},
		{atEntry, uint64(im.Entry + bias)},
		{atUID, uint64(a.ID.UID)},
		{atEUID, uint64(a.ID.EUID)},
		{atGID, uint64(a.ID.GID)},
		{atEGID, uint64(a.ID.EGID)},
		{atSecure, secure},
		{atHWCap2, a.CPU.HWCap2},
		{atRandom, 0},   // filled in below
		{atExecFn, 0},   //
		{atPlatform, 0}, //
		{atNull, 0},
	}
	const random, execFn, platform = 15, 16, 17

	words := 1 + len(a.Argv) + 1 + len(a.Envp) + 1 + 2*len(aux)
	// Strings, the random bytes and the NULL word that Linux ends the stack with.
	n += 16 + 8
	total := (words*8 + n + 15) &^ 15
	b := stackWriter{buf: make([]byte, total), sp: top - arch.VA(total), str: words * 8}
	b.word(uint64(len(a.Argv)))
	for _, list := range [2][]string{a.Argv, a.Envp} {
		for _, s := range list {
			b.word(b.string(s))
		}
		b.word(0)
	}
	aux[random][1] = uint64(b.sp) + uint64(b.str)
	b.str += copy(b.buf[b.str:], a.Random[:])
	aux[execFn][1] = b.string(a.ExecFn)
	aux[platform][1] = b.string(a.CPU.Platform)
	for _, e := range aux {
		b.word(e[0])
		b.word(e[1])
	}
	return b.buf, nil
}

// stackWriter fills the words from the bottom and the strings above them.
type stackWriter struct {
	buf      []byte
	sp       arch.VA
	pos, str int
}

func (b *stackWriter) word(v uint64) {
	binary.LittleEndian.PutUint64(b.buf[b.pos:], v)
	b.pos += 8
}

// string places s and its NUL and returns its user address.
func (b *stackWriter) string(s string) uint64 {
	va := uint64(b.sp) + uint64(b.str)
	b.str += copy(b.buf[b.str:], s) + 1
	return va
}
