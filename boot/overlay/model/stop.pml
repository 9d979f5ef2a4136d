// Stopping the world while CPUs run user code. Three CPUs; each may be the collector.
// README.md says which code each part stands for.
//
// mutant: RETURN_WITHOUT_CLAIM violates G1
// mutant: STOP_DOES_NOT_WAIT violates G1
// mutant: START_LOSES_WAITERS violates end-state
// mutant: STOP_IN_TWO_STEPS violates end-state
// mutant: TAKE_RUNNING violates G1
// mutant: USER_STOPS violates G2

#define N      3
#define STOPS  2
#define KERNEL 1 // states of a P: its CPU runs Go code
#define USER   2 // the goroutine is in user mode: the P is there to be taken
#define IDLE   3
#define STOP   4

hidden byte G1, G2;

byte p[N] = KERNEL;
bool want;             // sched.gcwaiting
bool lock;             // worldsema
byte stopped;          // the CPU that has stopped the world + 1
bool waiting[N];       // a thread has trapped, and waits for its P
bool userBlocked[N];   // a thread in user mode was made to stop: never
byte stops;
byte turns[N];

// code is a step of kernel Go code of CPU c.
#define code(c) assert(stopped == 0 || stopped == c + 1 || G1)

inline safepoint(c) {
	if
	:: want && !(lock && stopped == c + 1) ->
#ifdef STOP_IN_TWO_STEPS
		p[c] = STOP;
		waiting[c] = true;
#else
		atomic { p[c] = STOP; waiting[c] = true } // under sched.lock
#endif
		(!waiting[c])
	:: else
	fi
}

inline stopTheWorld(c, o) {
	want = true;
	o = 0;
	do
	:: o < N && o != c ->
		if
		:: atomic { p[o] == USER -> p[o] = STOP } // compare and swap; no interrupt
#ifdef USER_STOPS
			userBlocked[o] = true;
#endif
		:: atomic { p[o] == IDLE -> p[o] = STOP }
		:: p[o] == STOP
#ifdef TAKE_RUNNING
		:: p[o] == KERNEL -> p[o] = STOP
#endif
#ifdef STOP_DOES_NOT_WAIT
		:: p[o] == KERNEL
#endif
		fi;
		o++
	:: o < N && o == c -> o++
	:: o == N -> break
	od;
	stopped = c + 1
}

inline startTheWorld(c, o) {
	code(c);
	atomic { stopped = 0; want = false }
	o = 0;
	do
	:: o < N && o != c ->
		// A CPU that waits has its P back and goes on; a P whose thread is in user
		// mode is there for it when it traps.
		atomic {
			if
#ifndef START_LOSES_WAITERS
			:: waiting[o] -> p[o] = KERNEL; waiting[o] = false
#endif
			:: !waiting[o] && p[o] == STOP -> p[o] = IDLE
			:: else
			fi
		}
		o++
	:: o < N && o == c -> o++
	:: o == N -> break
	od;
	lock = false
}

proctype Cpu(byte c) {
	byte o;
	do
	:: turns[c] < 2 ->
		turns[c]++;
		code(c);
		safepoint(c);
		code(c);
		if
		:: atomic { stops < STOPS && !want -> stops++ }
			if
			:: atomic { !lock && !want -> lock = true }
				stopTheWorld(c, o);
				code(c);
				startTheWorld(c, o)
			:: else
			fi
		:: true ->
			// Into user mode: from here on the P may be taken.
			p[c] = USER;
			assert(!userBlocked[c] || G2); // user code runs, stopped world or not
			assert(!userBlocked[c] || G2);
			// A trap.
#ifdef RETURN_WITHOUT_CLAIM
			p[c] = KERNEL
#else
			if
			:: atomic { p[c] == USER && !want -> p[c] = KERNEL }
			:: atomic { p[c] == IDLE && !want -> p[c] = KERNEL }
			:: atomic { p[c] == STOP -> waiting[c] = true }
				!waiting[c]
			:: atomic { p[c] == USER && want -> p[c] = STOP; waiting[c] = true }
				!waiting[c]
			:: atomic { p[c] == IDLE && want -> p[c] = STOP; waiting[c] = true }
				!waiting[c]
			fi
#endif
		fi
	:: else -> break
	od;
	p[c] = IDLE
}

init {
	atomic { run Cpu(0); run Cpu(1); run Cpu(2) }
}
