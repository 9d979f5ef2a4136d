package exit

// Parent leaves all freeing to the parent. It is unsound on purpose.
var Parent = Design{
	Name: "parent",
	Idea: "The exiting process becomes a zombie with all that it has: address space, threads, u-areas. The " +
		"parent's wait(2) frees them, after it has claimed the zombie and before it returns. Exits are quick, and " +
		"no reaper is needed. But a parent may never wait, and that is legal: its zombies stay fat. Threads that " +
		"end while their process goes on are not freed before the process is waited for, so a process that makes " +
		"many of them runs out.",
	Source: "the first diff of the thread, 2 May 2025 (threads), and the attempt of September 2025 on tech@openbsd.org (wait frees)",

	Threads: Kept,
	Last:    Process.Zombify,
	Owed: func(p Process, by Context) {
		p.FreeSpace(by)
		p.FreeThreads()
	},

	Order: stages(begin, dead, by(InProcess, StepOffStack, StepZombie, StepSIGCHLD, StepWakeup),
		by(InParent, StepWait, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed, StepGone)),
	Unwaited: stages(begin, dead, by(InProcess, StepOffStack, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed,
		StepGone, StepSIGCHLD, StepWakeup)),

	Unsound: true,
	Breaks: []Breach{
		{E5, "ended threads are kept"},
		{E10, "zombies hold memory and threads"},
	},
}
