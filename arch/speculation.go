package arch

// Speculation is what a machine does about speculative execution, decided at start
// from what the CPU says of itself. SPECULATION.md tells the rest.
type Speculation struct {
	// OnlySeparate: under the SharedUK layout user code could read kernel memory by
	// Meltdown.
	OnlySeparate bool
	// Barrier makes branch predictions of what ran before useless for what runs
	// after. It is called between processes of different users. nil: no need, or no
	// way. It may be slow; it does not block or allocate.
	Barrier func()

	On   []string // what is done, in short
	Open []string // attacks that the CPU stays open to
}
