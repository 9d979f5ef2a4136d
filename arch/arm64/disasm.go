package arm64

import (
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
)

// Disassemble gives the first instruction of text, which lies at pc, in Go's
// assembly syntax.
func Disassemble(pc uint64, text []byte) string {
	i, err := arm64asm.Decode(text)
	if err != nil {
		return fmt.Sprintf("%#x: no instruction", pc)
	}
	return fmt.Sprintf("%#x: %s", pc, arm64asm.GoSyntax(i, pc, nil, nil))
}
