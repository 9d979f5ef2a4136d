package selftest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"grim/arch"
)

// Encodings: Intel SDM volume 2.

func (p *program) emit(b ...byte) { p.code = append(p.code, b...) }

// Registers by their numbers in the encoding.
const (
	rax = iota
	rcx
	rdx
	rbx
	_ // rsp
	_ // rbp
	rsi
	rdi
	r8
	r9
	r10
)

// set is MOV r64, imm64.
func (p *program) set(reg byte, v uint64) {
	p.emit(0x48|reg>>3, 0xb8|reg&7)
	p.code = binary.LittleEndian.AppendUint64(p.code, v)
}

func (p *program) load(va arch.VA) {
	p.set(rax, uint64(va))
	p.emit(0x8a, 0x00) // MOV AL, [RAX]
}

func (p *program) store(va arch.VA, b byte) {
	p.set(rax, uint64(va))
	p.emit(0xc6, 0x00, b) // MOV BYTE [RAX], b
}

func (p *program) touch(va arch.VA, stride, n uint64) {
	p.set(rax, uint64(va))
	p.set(rcx, n)
	p.set(rdx, stride)
	p.emit(0xc6, 0x00, 0x5a) // 1: MOV BYTE [RAX], 0x5a
	p.emit(0x48, 0x01, 0xd0) // ADD RAX, RDX
	p.emit(0x48, 0xff, 0xc9) // DEC RCX
	p.emit(0x75, 0xf5)       // JNZ 1b
}

func (p *program) jump(va arch.VA) {
	p.set(rax, uint64(va))
	p.emit(0xff, 0xe0) // JMP RAX
}

var argRegs = [...]byte{rdi, rsi, rdx, r10, r8, r9}

func (p *program) call(nr uint64, args ...uint64) {
	for i, a := range args {
		p.set(argRegs[i], a)
	}
	p.set(rax, nr)
	p.emit(0x0f, 0x05) // SYSCALL
}

func (p *program) exitResult() {
	p.emit(0x48, 0x89, 0xc7) // MOV RDI, RAX
	p.set(rax, unix.SYS_EXIT_GROUP)
	p.emit(0x0f, 0x05)
}

func (p *program) exitByte(va arch.VA) {
	p.set(rax, uint64(va))
	p.emit(0x0f, 0xb6, 0x38) // MOVZX EDI, BYTE [RAX]
	p.set(rax, unix.SYS_EXIT_GROUP)
	p.emit(0x0f, 0x05)
}

func (p *program) spin() {
	p.emit(0xb9, 0x00, 0x40, 0x00, 0x00) // MOV ECX, 16384
	p.emit(0xff, 0xc9, 0x75, 0xfc)       // DEC ECX; JNZ to the DEC
	p.handOver()
	p.emit(0xeb, 0xf3) // JMP to the MOV
}

func (p *program) handOver() { p.emit(0xf3, 0x90) } // PAUSE

func (p *program) fork(child *program) {
	p.call(unix.SYS_CLONE, uint64(unix.SIGCHLD), 0, 0, 0, 0)
	p.emit(0x48, 0x85, 0xc0) // TEST RAX, RAX
	p.emit(0x0f, 0x85)       // JNZ over the child's code
	p.code = binary.LittleEndian.AppendUint32(p.code, uint32(len(child.code)))
	p.emit(child.code...)
}

// waitChild is wait4 for the child of the last fork. Then exitByte(status+1) exits with the
// child's exit status.
func (p *program) waitChild(status arch.VA) {
	p.emit(0x48, 0x89, 0xc7) // MOV RDI, RAX
	p.set(rsi, uint64(status))
	p.set(rdx, 0)
	p.set(r10, 0)
	p.set(rax, unix.SYS_WAIT4)
	p.emit(0x0f, 0x05)
}

// skip emits a short conditional jump over the code that body emits.
func (p *program) skip(opcode byte, body func()) {
	at := len(p.code)
	p.emit(opcode, 0)
	body()
	p.code[at+1] = byte(len(p.code) - at - 2)
}

func (p *program) expect(va arch.VA, b byte, status int) {
	p.set(rax, uint64(va))
	p.emit(0x80, 0x38, b) // CMP BYTE [RAX], b
	p.skip(0x74, func() { p.exit(status) })
}

func (p *program) await(va arch.VA, b byte) {
	at := len(p.code)
	p.call(unix.SYS_SCHED_YIELD)
	p.set(rax, uint64(va))
	p.emit(0x80, 0x38, b)                // CMP BYTE [RAX], b
	p.emit(0x75, byte(at-len(p.code)-2)) // JNE
}

func (p *program) exitFailed() {
	p.emit(0x48, 0x89, 0xc7)       // MOV RDI, RAX
	p.emit(0x48, 0xc1, 0xef, 0x3f) // SHR RDI, 63
	p.set(rax, unix.SYS_EXIT_GROUP)
	p.emit(0x0f, 0x05)
}

func (p *program) callTo(va arch.VA) {
	p.set(rax, uint64(va))
	p.emit(0xff, 0xd0) // CALL RAX
}

func (p *program) ret() { p.emit(0xc3) }

func (p *program) repeat(n uint64, body func()) {
	p.set(rbx, n)
	at := len(p.code)
	body()
	p.emit(0x48, 0xff, 0xcb) // DEC RBX
	p.emit(0x0f, 0x85)       // JNZ
	p.code = binary.LittleEndian.AppendUint32(p.code, uint32(at-len(p.code)-4))
}
