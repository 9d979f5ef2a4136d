// Three processes, of one thread each, use one address space: a parent in vfork(2),
// its child, and a process made with CLONE_VM. A signal may kill the parent while it
// sleeps; the child ends, or execs. README.md says which code each part stands for.
//
// mutant: RELEASE_EARLY violates V1
// mutant: PURGE_EARLY violates E3
// mutant: LEAVE_NOT_ATOMIC violates E4
// mutant: NO_WAKE violates end-state
// mutant: ALWAYS_PURGE violates E9

hidden byte V1, E3, E4, E9;

byte users = 3;     // space.users
bool purged;
bool on[3];         // the CPU of this process has the root loaded
bool childLeft;     // the child runs no code on the space any more
bool done, token;   // vforkWait.done, the parent's parker
bool todo;          // the parent is killed
byte ended;

inline touch() { assert(!purged || E9) }

inline purge() {
	assert((!on[0] && !on[1] && !on[2]) || E3);
	assert(!purged || E4);
	purged = true
}

// leave is space.leave: one atomic operation.
inline leave() {
#ifdef LEAVE_NOT_ATOMIC
	n = users;
	users = n - 1;
	n--;
#else
	atomic { users--; n = users }
#endif
#ifdef ALWAYS_PURGE
	n = 0;
#endif
}

inline release() { // Process.releaseVfork
	done = true;
#ifndef NO_WAKE
	token = true
#endif
}

proctype Parent() {
	byte n;
	do // vforkWait.wait
	:: done || todo -> break
	:: else -> atomic { token -> token = false }
	od;
	if
	:: done -> // the parent runs on
		assert(childLeft || V1);
		on[0] = true;
		touch()
	:: else // todoExit
	fi;
	on[0] = false; // exit1, step 2b
	leave();       // 2c
	if
	:: n == 0 -> purge()
	:: else
	fi;
	ended++
}

proctype Child() {
	byte n;
	on[1] = true;
	touch();
#ifdef RELEASE_EARLY
	release();
#endif
#ifdef PURGE_EARLY
	leave();
	if
	:: n == 0 -> purge()
	:: else
	fi;
#endif
	on[1] = false; // exec: changeSpace; exit: leaveSiblings
	childLeft = true;
	if
	:: true -> // exec: releaseVfork, then discard
#ifndef RELEASE_EARLY
		release();
#endif
#ifndef PURGE_EARLY
		leave()
#endif
	:: true -> // exit: leaveSpace leaves, then releases
#ifndef PURGE_EARLY
		leave();
#endif
#ifndef RELEASE_EARLY
		release()
#endif
	fi;
#ifndef PURGE_EARLY
	if
	:: n == 0 -> purge()
	:: else
	fi;
#endif
	ended++
}

proctype Clone() {
	byte n;
	on[2] = true;
	touch();
	on[2] = false;
	leave();
	if
	:: n == 0 -> purge()
	:: else
	fi;
	ended++
}

proctype Killer() {
	if
	:: true -> todo = true; token = true
	:: true
	fi
}

init {
	atomic { run Parent(); run Child(); run Clone(); run Killer() }
	ended == 3;
	assert(purged || E4)
}
