package exit

// Eager wakes the parent first and frees memory later. It is unsound on purpose.
var Eager = Design{
	Name: "eager",
	Idea: "The process becomes a zombie as soon as it has stopped running, and its parent is woken. Its address " +
		"space, which is nobody's by then, is taken apart afterwards, in the background. No order is quicker for a " +
		"parent. But the parent believes that all of the child's effects are there, and they are not: pages of a " +
		"mapped file that the child has written are still on their way to the file.",
	Source: "what Theo de Raadt is afraid of in his message of 3 May 2025",

	Threads: AtOnce,
	Last:    func(p Process, by Context) { p.Apart(func() { p.Zombify(by) }) },

	Order: stages(begin, dead, by(InProcess, StepOffStack, StepZombie, StepSIGCHLD, StepWakeup), end),
	Unwaited: stages(begin, dead,
		by(InProcess, StepOffStack, StepGone, StepSIGCHLD, StepWakeup)),
	Apart: by(InBackground, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed),

	Unsound: true,
	Breaks:  []Breach{{E1, "before its pages are written back"}},
}
