package arch

// StackGuard is the page below a fixed stack of the kernel. It is not mapped, so
// that a stack that overflows ends in a fault and not in whatever lies below.
// (Goroutines' stacks grow: compiled code looks at the bound.)
type StackGuard struct {
	Page  VA
	Stack string // for the crash report
}

// AroundGuards calls f for the pieces of [from, to), in whole pages, that lie
// between guard pages. guards are in order of address. It stops at an error.
func AroundGuards(guards []StackGuard, from, to VA, f func(from, to VA) error) error {
	for _, g := range guards {
		if g.Page < from || g.Page >= to {
			continue
		}
		if from < g.Page {
			if err := f(from, g.Page); err != nil {
				return err
			}
		}
		from = g.Page + PageSize
	}
	if from < to {
		return f(from, to)
	}
	return nil
}

// nearGuard is how far from a guard page the stack pointer may be when an access to
// the page counts as an overflow: the frames of the kernel's own assembly, and of Go
// code that does not look at the stack's bound, are far smaller.
const nearGuard = 4 * PageSize

// Overflowed names the stack that has overflowed, given the address of a fault and
// the stack pointer at it; "" if none has. It does not allocate.
func Overflowed(guards []StackGuard, addr, sp VA) string {
	for i := range guards {
		g := &guards[i]
		if addr >= g.Page && addr < g.Page+PageSize && sp+nearGuard >= g.Page && sp < g.Page+nearGuard {
			return g.Stack
		}
	}
	return ""
}
