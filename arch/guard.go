package arch

// StackGuard is the page below a fixed stack of the kernel. It is not mapped, so that a
// stack overflow faults instead of overwriting what lies below. (Goroutines' stacks need no
// guard: compiled code checks the bound and grows the stack.)
type StackGuard struct {
	Page  VA
	Stack string // for the crash report
}

// AroundGuards calls f for each piece of [from, to), in whole pages, that lies between
// guard pages. guards are sorted by address. If f returns an error, AroundGuards returns it
// at once.
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

// nearGuard is how far the stack pointer may be from a guard page if an access to that page
// is to count as an overflow. The frames of the kernel's assembly, and of Go code that does
// not check the stack's bound, are far smaller.
const nearGuard = 4 * PageSize

// Overflowed returns the name of the stack that has overflowed, given the address of a
// fault and the stack pointer at that time, or "" if none has. It does not allocate.
func Overflowed(guards []StackGuard, addr, sp VA) string {
	for i := range guards {
		g := &guards[i]
		if addr >= g.Page && addr < g.Page+PageSize && sp+nearGuard >= g.Page && sp < g.Page+nearGuard {
			return g.Stack
		}
	}
	return ""
}
