package arch

// Speculation says what a machine does about speculative execution. It is decided at
// start-up from what the CPU reports about itself. See SPECULATION.md.
type Speculation struct {
	// OnlySeparate: under the SharedUK layout, user code could read kernel memory by
	// Meltdown.
	OnlySeparate bool
	// Barrier makes the branch predictions of code that ran before useless for code that
	// runs after. It is called between processes of different users. It may be slow; it
	// does not block or allocate. It is nil if there is no need for it, or no way.
	Barrier func()

	On   []string // the mitigations that are on, in short
	Open []string // attacks that remain possible
}
