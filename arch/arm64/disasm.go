package arm64

import (
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
)

// Disassemble returns the first instruction of text in Go's assembly syntax. pc is the
// address of text.
func Disassemble(pc uint64, text []byte) string {
	i, err := arm64asm.Decode(text)
	if err != nil {
		return fmt.Sprintf("%#x: no instruction", pc)
	}
	return fmt.Sprintf("%#x: %s", pc, arm64asm.GoSyntax(i, pc, nil, nil))
}
