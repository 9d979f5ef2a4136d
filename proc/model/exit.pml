// A process of three threads ends: exit, exit_group, exec, the reaper, the parent.
// README.md says which code each part stands for.
//
// mutant: KEEP_ROOT violates E3
// mutant: USE_AFTER_PUT violates E3
// mutant: LATE_USER_WRITE violates E9
// mutant: PUT_AFTER_UNLOCK violates E10
// mutant: LAST_WITHOUT_LOCK violates end-state
// mutant: EAGER violates E1
// mutant: NOTE_EXIT_LATE violates E6
// mutant: WAKE_BEFORE_ZOMBIE violates E6
// mutant: NO_SECOND_LOOK violates end-state
// mutant: EXECER_NOT_WOKEN violates end-state
// mutant: SIBLINGS_NOT_TOLD violates end-state

#define N 3 // threads, each on a CPU of its own

mtype = { LIVE, EXITING, DEAD, ZOMBIE, GONE };

// The names of the properties. They are never set: pan prints the text of the
// assertion that fails, and the name is in it.
hidden byte E1, E3, E6, E8, E9, E10, state_order;

mtype = { ALONE, GROUP, EXEC, COMPUTE };

mtype pstate = LIVE;
mtype plan[N];         // what the thread does; init chooses
mtype tstate[N] = LIVE;
byte live = N;         // threads on the process's list
bool mu, tree;         // Process.mu, Kernel.treeMu
bool todo[N];          // todoExit
bool loaded[N];        // the CPU of this thread has the root of the process loaded
bool standing[N] = true; // the CPU of this thread stands on its u-area
bool freed[N];         // the reaper has freed the u-area
bool last[N];
byte execer = N;       // Process.execer; N: nil
bool execToken;        // its parker
byte space;            // 0: the first, 1: the one that exec made
bool purged[2];
bool dirty[2] = true;  // a page of a mapped file is not written back yet
bool noteExit, sigchld;
byte noted;            // knotes that are attached
bool parentToken;      // the parent's parker
chan dead = [N] of { byte };

#define LOCK(m)   atomic { !m -> m = true }
#define UNLOCK(m) m = false

inline advance(from, to) { assert(pstate == from || state_order); pstate = to }

inline exitLocked() {
	if
	:: pstate == LIVE ->
		advance(LIVE, EXITING);
#ifndef SIBLINGS_NOT_TOLD
		todo[0] = true; todo[1] = true; todo[2] = true;
#endif
		if
		:: execer != N -> execToken = true
		:: else
		fi
	:: else
	fi
}

// touch is an access to user memory, by user code or for it.
inline touch(t) { assert(!purged[space] || E9) }

inline purge(s) {
	assert((!loaded[0] && !loaded[1] && !loaded[2]) || E3);
	assert(!purged[s] || E8);
	dirty[s] = false; // PutDirty, which may sleep
	purged[s] = true
}

proctype Thread(byte t) {
	bool isLast, exec;
	// User code. A thread that is told to exit does so when it next traps.
	loaded[t] = true;
	touch(t);
	if
	:: plan[t] == COMPUTE -> todo[t] // until it is told, and interrupted
	:: plan[t] == ALONE              // exit(2)
	:: plan[t] == GROUP ->           // exit_group(2)
		LOCK(mu);
		todo[t] = true;
		exitLocked();
		UNLOCK(mu)
	:: plan[t] == EXEC -> exec = true
	fi;

	if
	:: exec ->
		LOCK(mu);
		if
		:: pstate != LIVE || execer != N || todo[t] -> UNLOCK(mu); goto exit1
		:: else -> execer = t
		fi;
		d_step {
			todo[0] = (0 != t); todo[1] = (1 != t); todo[2] = (2 != t)
		}
		do
		:: live > 1 && pstate == LIVE ->
			UNLOCK(mu);
			atomic { execToken -> execToken = false }
			LOCK(mu)
		:: else -> break
		od;
		execer = N;
		if
		:: pstate != LIVE -> UNLOCK(mu); goto exit1
		:: else -> UNLOCK(mu)
		fi;
		touch(t);            // robust futexes, clear_child_tid
		loaded[t] = false;   // changeSpace
		space = 1;
		purge(0);
		loaded[t] = true;    // the new program
		touch(t)
	:: else
	fi;

exit1:
	LOCK(mu); tstate[t] = EXITING; UNLOCK(mu);
#ifndef LATE_USER_WRITE
	touch(t);                // 2a: robust futexes, clear_child_tid
#endif
#ifdef LAST_WITHOUT_LOCK
	isLast = (live == 1);
#endif
	LOCK(mu);                // 2b: leaveSiblings
#ifndef KEEP_ROOT
	loaded[t] = false;
#endif
#ifndef LAST_WITHOUT_LOCK
	isLast = (live == 1);
#endif
	if
	:: isLast ->
		last[t] = true;
		if
		:: pstate == LIVE -> advance(LIVE, EXITING)
		:: else
		fi;
		UNLOCK(mu)
	:: else ->
		live--;
		tstate[t] = DEAD;
		if
#ifndef EXECER_NOT_WOKEN
		:: live == 1 && execer != N -> execToken = true
#endif
		:: else
		fi;
#ifdef PUT_AFTER_UNLOCK
		UNLOCK(mu);
#endif
#ifndef USE_AFTER_PUT
		standing[t] = false;
#endif
		dead!t;
#ifdef USE_AFTER_PUT
		standing[t] = false;
#endif
#ifndef PUT_AFTER_UNLOCK
		UNLOCK(mu);
#endif
#ifdef LATE_USER_WRITE
		touch(t);
#endif
#ifdef KEEP_ROOT
		loaded[t] = false;
#endif
		goto done
	fi;
#ifdef KEEP_ROOT
	loaded[t] = false;
#endif
	// Steps 2c and 3 are in vfork.pml. Step 4:
#ifndef EAGER
	purge(space);
#endif
	LOCK(tree);              // 5: die
	LOCK(mu);
	live--;
	tstate[t] = DEAD;
	advance(EXITING, DEAD);
	UNLOCK(mu);
	UNLOCK(tree);
#ifndef NOTE_EXIT_LATE
	noteExit = true;
#endif
	standing[t] = false;
	dead!t;                  // 6: exit2
#ifdef NOTE_EXIT_LATE
	noteExit = true;
#endif
done:
	skip
}

inline wakeParent() {
	assert((pstate == ZOMBIE && sigchld) || E6);
	if
	:: noted > 0 -> parentToken = true
	:: else
	fi
}

proctype Reaper() {
	byte t;
	do
	:: dead?t ->
		assert((tstate[t] == DEAD && !standing[t] && !loaded[t] && !freed[t]) || E3);
		freed[t] = true;
		if
		:: last[t] -> break
		:: else
		fi
	od;
	// FreeSpace, Zombify, announce.
#ifndef EAGER
	assert((purged[space] && live == 0) || E8);
#endif
	LOCK(tree);
#ifdef WAKE_BEFORE_ZOMBIE
	sigchld = true;
	wakeParent();
#endif
	assert(noteExit || E6);
	assert((freed[0] && freed[1] && freed[2]) || E10);
	advance(DEAD, ZOMBIE);
#ifndef WAKE_BEFORE_ZOMBIE
	sigchld = true;
	wakeParent();
#endif
	UNLOCK(tree);
#ifdef EAGER
	purge(space);
#endif
	skip
}

proctype Parent() {
	bool watching;
	do
	:: LOCK(tree);
		if
		:: pstate == ZOMBIE ->
			assert(!dirty[space] || E1);
			advance(ZOMBIE, GONE);
			UNLOCK(tree);
			break
		:: else -> UNLOCK(tree)
		fi;
		if
		:: !watching ->
			noted++; // Attach; then look again
			watching = true;
#ifdef NO_SECOND_LOOK
			atomic { parentToken -> parentToken = false }
#endif
		:: else -> atomic { parentToken -> parentToken = false }
		fi
	od
}

// Killer sends a fatal signal, at any time.
proctype Killer() {
	LOCK(mu);
	exitLocked();
	UNLOCK(mu)
}

inline choose(t) {
	if
	:: plan[t] = ALONE
	:: plan[t] = GROUP
	:: plan[t] = EXEC
	:: plan[t] = COMPUTE; kill = true // or it would go on for ever
	fi
}

init {
	bool kill;
	atomic {
		choose(0); choose(1); choose(2);
		if // the threads are alike: one order of their plans will do
		:: plan[0] > plan[1] || plan[1] > plan[2] -> goto done
		:: else
		fi;
		if
		:: kill = true
		:: true
		fi;
		run Thread(0); run Thread(1); run Thread(2);
		run Reaper(); run Parent();
		if
		:: kill -> run Killer()
		:: else
		fi
	}
done:
	skip
}
