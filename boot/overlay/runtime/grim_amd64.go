//go:build grim_overlay

package runtime

import (
	"internal/abi"
	"internal/goarch"
	"unsafe"
)

// TamaGo's amd64 package calls settls from assembly; see systemstack in grim_os.go.
//
//go:linkname settls

// Linux system-call numbers, x86-64 table.
const (
	_SYS_write      = 1
	_SYS_getpid     = 39
	_SYS_exit_group = 231
	_SYS_getrandom  = 318
)

// earlyPutc sends a byte to COM1. It is in sys_grim_amd64.s.
func earlyPutc(c byte)

func archinit() {}

// TLSBase returns the FS base for the M at mp. Code that the linker makes for an ELF binary
// finds g at -8(FS).
func TLSBase(mp unsafe.Pointer) uintptr { return uintptr(unsafe.Pointer(&(*m)(mp).tls)) + 8 }

// injectCall makes the faulting instruction look like a call. The target is sigpanic0,
// which first sets Go's special registers.
func injectCall(c *FaultContext, gp *g) {
	if shouldPushCall(c.PC, *(*uintptr)(unsafe.Pointer(c.SP))) {
		c.SP -= goarch.PtrSize
		*(*uintptr)(unsafe.Pointer(c.SP)) = c.PC
	}
	c.PC = abi.FuncPCABI0(sigpanic0)
}
