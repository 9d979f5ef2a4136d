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

func (p *program) spin() { p.emit(0x14000000) } // B .

func (p *program) fork(child *program) {
	p.call(unix.SYS_CLONE, uint64(unix.SIGCHLD), 0, 0, 0, 0)
	p.emit(0xb5000000 | uint32(len(child.code)/4+1)<<5) // CBNZ X0, over the child's code
	p.code = append(p.code, child.code...)
}

// waitChild is wait4 for the last fork's child; then exitByte(status+1) gives
// its exit status.
func (p *program) waitChild(status arch.VA) {
	p.set(1, uint64(status))
	p.set(2, 0)
	p.set(3, 0)
	p.set(8, unix.SYS_WAIT4)
	p.emit(svc)
}
