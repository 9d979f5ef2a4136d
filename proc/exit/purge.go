package exit

// Purge is the default, and the design that this kernel was built for.
var Purge = Design{
	Name: "purge",
	Idea: "The exiting process takes its own memory apart, early, where it may still sleep, with no lock held. " +
		"The reaper stays for what is cheap and cannot be done by a thread to itself: it frees threads, u-areas " +
		"and the empty root, and makes the process a zombie. Many processes purge at once, nobody queues behind " +
		"another's memory, and a parent that is woken finds everything done.",
	Source: "Theo de Raadt, tech@openbsd.org, 3 May 2025; mpi's uvm_purge() of 12 May 2025; in OpenBSD since mid-2025",

	Exiting: Process.Purge,
	Threads: ToReaper,
	Last:    freeAndZombify,

	Order: stages(begin, by(InProcess, StepPurgeBegin, StepPurgeEnd), dead,
		by(InReaper, StepReaper, StepSpaceFreed, StepZombie, StepSIGCHLD, StepWakeup), end),
	Unwaited: stages(begin, by(InProcess, StepPurgeBegin, StepPurgeEnd), dead,
		by(InReaper, StepReaper, StepSpaceFreed, StepGone, StepSIGCHLD, StepWakeup)),
}
