package selftest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// loopReg is the first of the registers that count loops, one for each level of nesting.
// R12 to R15 keep their values over system calls.
const (
	loopReg   = 12
	loopDepth = 4
)

// clone is clone(2). The child runs child's code.
func (p *program) clone(flags uint64, child *program) {
	p.call(unix.SYS_CLONE, flags, 0, cloneNumber, 0, 0)
	p.emit(0x48, 0x85, 0xc0) // TEST RAX, RAX
	p.emit(0x0f, 0x85)       // JNZ over the child's code
	p.code = binary.LittleEndian.AppendUint32(p.code, uint32(len(child.code)))
	p.emit(child.code...)
}

// orExit ends the process with a status if the last result is an error.
func (p *program) orExit(status int) {
	var end program
	end.exit(status)
	p.emit(0x48, 0x85, 0xc0)          // TEST RAX, RAX
	p.emit(0x79, byte(len(end.code))) // JNS over it
	p.emit(end.code...)
}

// loop runs body n times (n > 0); level is 0 inside no other loop.
func (p *program) loop(level int, n uint64, body *program) {
	reg := byte(loopReg + level%loopDepth)
	p.set(reg, n)
	p.emit(body.code...)
	p.emit(0x49, 0xff, 0xc8|reg&7) // DEC
	p.emit(0x0f, 0x85)             // JNZ
	p.code = binary.LittleEndian.AppendUint32(p.code, uint32(-(len(body.code) + 9)))
}

// keep puts a value into a register that is used only by expectKept.
func (p *program) keep(v uint64) { p.set(loopReg+loopDepth-1, v) }

// expectKept ends the process with a status unless the register has the value.
func (p *program) expectKept(v uint64, status int) {
	var end program
	end.exit(status)
	p.set(rax, v)
	p.emit(0x4c, 0x39, 0xf8)          // CMP RAX, R15
	p.emit(0x74, byte(len(end.code))) // JE over it
	p.emit(end.code...)
}

// exitParent ends the process with status 12 if the last result, clone's, is not 0. So only
// the child continues.
func (p *program) exitParent() {
	var end program
	end.exit(12)
	p.emit(0x48, 0x85, 0xc0)          // TEST RAX, RAX
	p.emit(0x74, byte(len(end.code))) // JE over it
	p.emit(end.code...)
}
