// A goroutine that may run on one CPU only is made ready by other CPUs. Each CPU has one M and one
// P, which are its own for good. CPU T idles, or runs a user thread that computes until it is
// interrupted; two others each make a goroutine ready that is bound to T. README.md says
// which code each part stands for.
//
// Memory: a CPU's store of "user", "asleep" or "kicked", and its addition to the queue, wait in
// a store buffer until a barrier.
//
// mutant: NO_KICKED violates end-state
// mutant: NO_INTERRUPT violates end-state
// mutant: NO_LOOK_AT_ENTRY violates end-state
// mutant: NO_BARRIER_ENTRY violates end-state
// mutant: NO_BARRIER_KICK violates end-state
// mutant: NO_LOOK_BEFORE_SLEEP violates end-state
// mutant: NO_BARRIER_SLEEP violates end-state
// mutant: TAKE_WITHOUT_LOCK violates B1

#define WAKERS 2

// What T looks at before it sleeps.
#ifdef NO_LOOK_BEFORE_SLEEP
#define NOTHING true
#else
#define NOTHING queued == 0
#endif

hidden byte B1;

bool lock;         // sched.lock
bool idleP;        // the P is in the list of idle Ps
byte owners;       // that believe to have taken the P
byte notes;        // wake-ups of T's M
bool computes;     // the user thread is ready, or runs
byte queued;       // bound goroutines, in T's queue
byte ran;          // bound goroutines that have run
bool user;         // the thread's status: user mode
bool kicked;
bool asleep;
bool irq;

// What waits in store buffers: T's, and those of the wakers.
bool userHeld, asleepHeld;
bool queueHeld[WAKERS], kickedHeld[WAKERS];

proctype Buffer() {
end:
	do
	:: atomic { userHeld -> user = true; userHeld = false }
	:: atomic { asleepHeld -> asleep = true; asleepHeld = false }
	od
}

proctype WakerBuffer(byte w) {
end:
	do // first in, first out
	:: atomic { queueHeld[w] -> queued++; queueHeld[w] = false }
	:: atomic { kickedHeld[w] && !queueHeld[w] -> kicked = true; kickedHeld[w] = false }
	od
}

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

// takeIdle is takeIdleP, with lock held.
inline takeIdle(ok) {
	if
	:: idleP ->
		idleP = false;
		owners++;
		assert(owners == 1 || B1);
		ok = true
	:: else -> ok = false
	fi
}

// wakeUp is semawakeup: the M is told, and its CPU interrupted if it sleeps.
inline wakeUp() {
	notes++;
	if
	:: asleep -> irq = true
	:: else
	fi
}

// Waker makes a goroutine ready: putSpecial, kick.
proctype Waker(byte w) {
	bool ok;
	queueHeld[w] = true;
	!queueHeld[w]; // the lock of the queue, and that of the scheduler, are barriers
	acquire();
	takeIdle(ok);
	release();
	if
	:: ok -> wakeUp()
	:: else ->
#ifndef NO_KICKED
		kickedHeld[w] = true;
#endif
#ifndef NO_BARRIER_KICK
		!kickedHeld[w];
#endif
#ifndef NO_INTERRUPT
		if
		:: user -> irq = true
		:: else
		fi
#else
		skip
#endif
	fi
}

proctype T() {
	bool ok;
schedule: // with the P
	kicked = false;
	if
	:: atomic { queued > 0 -> queued-- }
		ran++;
		goto schedule
	:: queued == 0 && computes ->
		// EnterUser.
		userHeld = true;
#ifndef NO_BARRIER_ENTRY
		!userHeld;
#endif
#ifndef NO_LOOK_AT_ENTRY
		if
		:: kicked ->
			!userHeld;
			user = false;
			goto schedule
		:: else
		fi;
#endif
		// User code; only an interrupt ends it, or the end of the test.
		if
		:: irq ->
			!userHeld;
			irq = false;
			user = false;
			if
			:: kicked -> goto schedule
			:: else -> goto schedule
			fi
		:: ran == WAKERS ->
			!userHeld;
			user = false;
			computes = false;
			goto schedule
		fi
	:: queued == 0 && !computes ->
		acquire();
		owners = 0;
		idleP = true;
		release();
sleep:
		asleepHeld = true;
#ifndef NO_BARRIER_SLEEP
		!asleepHeld;
#endif
		if
		:: notes == 0 && NOTHING ->
endSleep:
			irq;
			irq = false
		:: else
		fi;
		!asleepHeld;
		asleep = false;
		if
		:: notes > 0 ->
			notes--;
			goto schedule
		:: notes == 0 && queued > 0 -> // wakeSelf
#ifndef TAKE_WITHOUT_LOCK
			acquire();
			takeIdle(ok);
			release();
#else
			if
			:: idleP ->
				owners++;
				assert(owners == 1 || B1);
				idleP = false;
				ok = true
			:: else -> ok = false
			fi;
#endif
			if
			:: ok -> goto schedule
			:: else // another CPU has just given the P to this M
			fi;
			goto sleep
		:: notes == 0 && queued == 0 -> goto sleep
		fi
	fi
}

init {
	atomic {
		if
		:: computes = true
		:: true
		fi;
		owners = 1;
		run T(); run Waker(0); run Waker(1);
		run Buffer(); run WakerBuffer(0); run WakerBuffer(1)
	}
	ran == WAKERS // else a wake-up was lost
}
