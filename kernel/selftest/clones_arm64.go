package selftest

import "golang.org/x/sys/unix"

// loopReg is the first of the registers that count loops, one for each level of
// nesting: X19 to X22 keep their values over system calls.
const (
	loopReg   = 19
	loopDepth = 4
)

// clone is clone(2). The child runs child's code.
func (p *program) clone(flags uint64, child *program) {
	p.call(unix.SYS_CLONE, flags, 0, cloneNumber, 0, 0)
	p.emit(0xb5000000 | uint32(len(child.code)/4+1)<<5) // CBNZ X0, over the child's code
	p.code = append(p.code, child.code...)
}

// orExit ends the process with a status if the last result is an error.
func (p *program) orExit(status int) {
	var end program
	end.exit(status)
	p.emit(0xb6f80000 | uint32(len(end.code)/4+1)<<5) // TBZ X0, #63, over it
	p.code = append(p.code, end.code...)
}

// loop runs body n times (n > 0); level is 0 inside no other loop.
func (p *program) loop(level int, n uint64, body *program) {
	reg := uint32(loopReg + level%loopDepth)
	p.set(reg, n)
	p.code = append(p.code, body.code...)
	p.emit(0xf1000400 | reg<<5 | reg)                               // SUBS reg, reg, #1
	p.emit(0x54000001 | uint32(-(len(body.code)/4+1))&(1<<19-1)<<5) // B.NE
}

// keep puts a value into a register that is used only by expectKept.
func (p *program) keep(v uint64) { p.set(loopReg+loopDepth-1, v) }

// expectKept ends the process with a status unless the register has the value.
func (p *program) expectKept(v uint64, status int) {
	var end program
	end.exit(status)
	p.set(9, v)
	p.emit(0xeb16013f)                                // CMP X9, X22
	p.emit(0x54000000 | uint32(len(end.code)/4+1)<<5) // B.EQ over it
	p.code = append(p.code, end.code...)
}

// exitParent ends the process with status 12 if the last result, clone's, is not 0. So only
// the child continues.
func (p *program) exitParent() {
	var end program
	end.exit(12)
	p.emit(0xb4000000 | uint32(len(end.code)/4+1)<<5) // CBZ X0, over it
	p.code = append(p.code, end.code...)
}
