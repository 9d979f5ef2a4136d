package selftest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"grim/arch"
)

// Encodings: Arm ARM, C6.2.

func (p *program) emit(w uint32) { p.code = binary.LittleEndian.AppendUint32(p.code, w) }

// set is MOVZ and three MOVK: xN = v.
func (p *program) set(reg uint32, v uint64) {
	p.emit(0xd2800000 | uint32(v&0xffff)<<5 | reg)
	for i := uint32(1); i < 4; i++ {
		p.emit(0xf2800000 | i<<21 | uint32(v>>(16*i)&0xffff)<<5 | reg)
	}
}

const svc = 0xd4000001 // SVC #0

func (p *program) load(va arch.VA) {
	p.set(9, uint64(va))
	p.emit(0x39400120) // LDRB W0, [X9]
}

func (p *program) store(va arch.VA, b byte) {
	p.set(9, uint64(va))
	p.set(10, uint64(b))
	p.emit(0x3900012a) // STRB W10, [X9]
}

func (p *program) touch(va arch.VA, stride, n uint64) {
	p.set(9, uint64(va))
	p.set(10, 0x5a)
	p.set(11, stride)
	p.set(12, n)
	p.emit(0x3900012a) // 1: STRB W10, [X9]
	p.emit(0x8b0b0129) // ADD X9, X9, X11
	p.emit(0xf100058c) // SUBS X12, X12, #1
	p.emit(0x54ffffa1) // B.NE 1b
}

func (p *program) jump(va arch.VA) {
	p.set(9, uint64(va))
	p.emit(0xd61f0120) // BR X9
}

func (p *program) call(nr uint64, args ...uint64) {
	for i, a := range args {
		p.set(uint32(i), a)
	}
	p.set(8, nr)
	p.emit(svc)
}

func (p *program) exitResult() {
	p.set(8, unix.SYS_EXIT_GROUP)
	p.emit(svc)
}

func (p *program) exitByte(va arch.VA) {
	p.load(va)
	p.exitResult()
}

func (p *program) spin() {
	p.emit(0x52880009) // MOV W9, #16384
	p.emit(0x71000529) // SUBS W9, W9, #1
	p.emit(0x54ffffe1) // B.NE to the SUBS
	p.handOver()
	p.emit(0x17fffffc) // B to the MOV
}

func (p *program) handOver() { p.emit(0xd503203f) } // YIELD

func (p *program) fork(child *program) {
	p.call(unix.SYS_CLONE, uint64(unix.SIGCHLD), 0, 0, 0, 0)
	p.emit(0xb5000000 | uint32(len(child.code)/4+1)<<5) // CBNZ X0, over the child's code
	p.code = append(p.code, child.code...)
}

// waitChild is wait4 for the child of the last fork. Then exitByte(status+1) exits with the
// child's exit status.
func (p *program) waitChild(status arch.VA) {
	p.set(1, uint64(status))
	p.set(2, 0)
	p.set(3, 0)
	p.set(8, unix.SYS_WAIT4)
	p.emit(svc)
}

// branchNE emits a conditional branch back to the code at offset at.
func (p *program) branchNE(at int) {
	p.emit(0x54000001 | uint32((at-len(p.code))/4)&(1<<19-1)<<5)
}

func (p *program) expect(va arch.VA, b byte, status int) {
	p.load(va)
	p.emit(0x7100001f | uint32(b)<<10) // CMP W0, #b
	at := len(p.code)
	p.emit(0)
	p.exit(status)
	over := uint32(len(p.code)-at) / 4
	binary.LittleEndian.PutUint32(p.code[at:], 0x54000000|over<<5) // B.EQ
}

func (p *program) await(va arch.VA, b byte) {
	at := len(p.code)
	p.call(unix.SYS_SCHED_YIELD)
	p.load(va)
	p.emit(0x7100001f | uint32(b)<<10) // CMP W0, #b
	p.branchNE(at)
}

func (p *program) exitFailed() {
	p.emit(0xd37ffc00) // LSR X0, X0, #63
	p.exitResult()
}

func (p *program) callTo(va arch.VA) {
	p.set(9, uint64(va))
	p.emit(0xd63f0120) // BLR X9
}

func (p *program) ret() { p.emit(0xd65f03c0) }

func (p *program) repeat(n uint64, body func()) {
	p.set(19, n)
	at := len(p.code)
	body()
	p.emit(0xf1000673) // SUBS X19, X19, #1
	p.branchNE(at)
}
