// Stopping the world while CPUs run user code. Three CPUs; each may be the collector.
// README.md says which code each part stands for.
//
// mutant: BACK_BEFORE_START violates end-state
// mutant: BACK_WITHOUT_CLAIM violates end-state
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
bool user[N];          // the thread is in user mode, with or without its P
bool back[N];          // the P is to be given back to the thread in user mode
bool claimed[N];       // the thread cannot leave user mode at the moment (the scan bit)
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
	o = 0;
	do
	:: o < N && o != c -> // procresize
		atomic {
			if
			:: user[o] && p[o] == STOP -> // a thread can trap meanwhile
#ifdef BACK_BEFORE_START
				p[o] = USER
#else
				back[o] = true;
#ifndef BACK_WITHOUT_CLAIM
				claimed[o] = true
#endif
#endif
			:: else
			fi
		}
		o++
	:: o < N && o == c -> o++
	:: o == N -> break
	od;
	atomic { stopped = 0; want = false }
	o = 0;
	do
	:: o < N && o != c ->
		atomic {
			if
			:: back[o] -> p[o] = USER; back[o] = false; claimed[o] = false
#ifndef START_LOSES_WAITERS
			:: !back[o] && waiting[o] -> p[o] = KERNEL; waiting[o] = false
#endif
			:: !back[o] && !waiting[o] && p[o] == STOP -> p[o] = IDLE // under sched.lock
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
			atomic { user[c] = true; p[c] = USER }
			assert(!userBlocked[c] || G2); // user code runs, stopped world or not
			assert(!userBlocked[c] || G2);
			// A trap. Then the loop goes on to look whether the world is to stop.
#ifdef RETURN_WITHOUT_CLAIM
			user[c] = false;
			p[c] = KERNEL
#else
			if
			:: atomic { p[c] == USER && !claimed[c] -> user[c] = false; p[c] = KERNEL }
			:: atomic { p[c] == STOP && !claimed[c] -> user[c] = false }
				if // rejoin, under sched.lock
				:: atomic { p[c] == IDLE -> p[c] = KERNEL }
				:: atomic { p[c] == STOP -> waiting[c] = true }
					(!waiting[c])
				fi
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
