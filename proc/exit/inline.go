package exit

// Inline works without a reaper.
var Inline = Design{
	Name: "inline",
	Idea: "The exiting process takes all of itself apart, the root included: it has left the root before it " +
		"purges. What it stands on until the end, the last thread with its u-area, goes when its goroutine has " +
		"left the thread and is back in the worker that ran it; there the process becomes a zombie too. No other " +
		"task has to be woken and scheduled for an exit. Every step that may sleep comes before the process is " +
		"dead.",
	Source: "NetBSD since 2004 (the reaper's removal), Linux (do_exit, finish_task_switch)",

	Exiting: Process.FreeSpace,
	Threads: AtOnce,
	Last:    Process.Zombify,

	Order: stages(begin, by(InProcess, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed), dead,
		by(InProcess, StepOffStack, StepZombie, StepSIGCHLD, StepWakeup), end),
	Unwaited: stages(begin, by(InProcess, StepPurgeBegin, StepPurgeEnd, StepSpaceFreed), dead,
		by(InProcess, StepOffStack, StepGone, StepSIGCHLD, StepWakeup)),
}
