package exit

// Reaper is the classic design. It is sound, but it breaks E7: while a purge sleeps, other
// processes run and end, but are not reaped. That cannot be changed without giving up the
// design. A reaper that leaves a sleeping purge and takes the next process needs a task for
// each such purge. The process itself is such a task, and exists already: that is
// exit.Purge.
var Reaper = Design{
	Name: "reaper",
	Idea: "The exiting process keeps its whole address space and hands itself to the reaper, which purges, frees " +
		"and only then makes it a zombie. It is simple, and safe: no thread has to take away what it stands on. " +
		"But one task takes all memory of the machine apart, one process after the other, and an exit that has to " +
		"wait for a slow pager holds up every exit behind it.",
	Source: "OpenBSD until 2025 (kern_exit.c: exit1, cpu_exit, exit2, reaper), NetBSD until 2004",

	Threads: ToReaper,
	Last:    freeAndZombify, // it also purges, in FreeSpace

	Order: stages(begin, dead, by(InReaper, StepReaper, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed,
		StepZombie, StepSIGCHLD, StepWakeup), end),
	Unwaited: stages(begin, dead, by(InReaper, StepReaper, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed,
		StepGone, StepSIGCHLD, StepWakeup)),

	Breaks: []Breach{{E7, "others wait for the purge that sleeps"}},
}
