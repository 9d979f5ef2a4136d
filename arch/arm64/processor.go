package arm64

// Processor is one that may be started.
type Processor struct {
	MPIDR   uint64 // its affinity
	Method  string // "psci" or "spin-table"
	Release uint64 // physical address of its word of the spin table
}

// releaseWindows are the words of spin tables that are not in RAM, as far as that is in the
// direct map: a boot loader may have taken its memory out of it ("no-map"). Mapped as
// device memory they are stored to all the same.
func releaseWindows(cpus []Processor, ram []Span) (out []Span) {
	for _, p := range cpus {
		if p.Method == "spin-table" && !inRAM(p.Release, ram) {
			out = append(out, Span{Base: p.Release, Size: 8})
		}
	}
	return out
}

// inRAM reports whether the page at pa is in the direct map as memory.
func inRAM(pa uint64, ram []Span) bool {
	for _, r := range ram {
		if pa >= r.Base && pa-r.Base < r.Size {
			return true
		}
	}
	return false
}
