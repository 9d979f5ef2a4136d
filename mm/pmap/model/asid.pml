// Address-space identifiers that all CPUs share (arm64), when they run out: three CPUs,
// five address spaces, four identifiers. README.md says which code each part stands for.
//
// mutant: NOT_RESERVED violates I2
// mutant: NO_FLUSH violates I1
// mutant: KEEP_OWN_ROOT violates I1
// mutant: FLUSH_OWN_ONLY violates I1
// mutant: NEW_FOR_RUNNING violates I2
// mutant: FREE_UNFLUSHED violates I1
// mutant: UNPUBLISH_EARLY violates I2

#define N      3
#define SPACES 5
#define TURNS  (2 - c / 2)
#define ASIDS  4 // more than CPUs, or a new generation could find none free

hidden byte I1, I2;

byte gen = 1;
byte idGen[SPACES], idASID[SPACES]; // Pmap.id
bool used[ASIDS + 1];               // given out in this generation, or reserved
byte running[N];                     // the space that the CPU runs + 1, or 0

// What the hardware of a CPU holds: which space's translations under which identifier.
byte tlb[N * (ASIDS + 1)];
byte loadedASID[N];                 // what TTBR0 has; 0: the bare kernel root
byte loadedSpace[N];

// A flush by identifier reaches what every CPU that runs the space has cached.
#define SAME(c, s) (loadedASID[c] == 0 || loadedSpace[c] != s || loadedASID[c] == idASID[s])
#define TLB(c, a) tlb[(c) * (ASIDS + 1) + (a)]

// The CPU translates, and uses what it has cached.
inline access(c) {
	atomic {
		if
		:: loadedASID[c] != 0 ->
			if
			:: TLB(c, loadedASID[c]) == 0 -> TLB(c, loadedASID[c]) = loadedSpace[c] + 1
			:: else -> assert(TLB(c, loadedASID[c]) == loadedSpace[c] + 1 || I1)
			fi
		:: else
		fi
	}
}

inline flush(c) {
	d_step { TLB(c, 1) = 0; TLB(c, 2) = 0; TLB(c, 3) = 0; TLB(c, 4) = 0 }
}

// newGeneration keeps the identifiers of what other CPUs run, and flushes all CPUs by
// broadcast. This CPU leaves its root before.
inline newGeneration() {
#ifndef KEEP_OWN_ROOT
	loadedASID[c] = 0;
#endif
	running[c] = 0;
	d_step {
		gen++;
		used[1] = false; used[2] = false; used[3] = false; used[4] = false;
		i = 0;
		do
		:: i < N ->
#ifndef NOT_RESERVED
			if
			:: running[i] != 0 ->
				used[idASID[running[i] - 1]] = true;
#ifndef NEW_FOR_RUNNING
				idGen[running[i] - 1] = gen
#endif
			:: else
			fi;
#endif
			i++
		:: else -> break
		od;
		i = 0
	}
#ifdef FLUSH_OWN_ONLY
	flush(c);
#else
#ifndef NO_FLUSH
	flush(0); flush(1); flush(2);
#endif
#endif
#ifdef KEEP_OWN_ROOT
	access(c); // a CPU walks ahead at any time
#endif
	skip
}

inline identify(c, s) {
	if
	:: idGen[s] == gen
	:: else ->
		if
		:: used[1] && used[2] && used[3] && used[4] -> newGeneration()
		:: else
		fi;
		if
		:: idGen[s] == gen // another CPU runs it: its identifier was kept
		:: else ->
			d_step {
				if
				:: !used[1] -> idASID[s] = 1
				:: used[1] && !used[2] -> idASID[s] = 2
				:: used[1] && used[2] && !used[3] -> idASID[s] = 3
				:: else -> idASID[s] = 4
				fi;
				used[idASID[s]] = true;
				idGen[s] = gen
			}
		fi
	fi
}

// What happens under System.mu is one step here: other CPUs see nothing of it but the
// stores to running, and each of those they look at once.
inline activate(c, s) {
	atomic {
	identify(c, s);
	running[c] = s + 1;
	d_step { loadedASID[c] = idASID[s]; loadedSpace[c] = s }
	assert((SAME(0, s) && SAME(1, s) && SAME(2, s)) || I2);
	i = 0
	}
}

// retire is the end of an address space that no CPU runs: its identifier is free at once.
inline retire(s) {
	atomic {
	if
	:: idGen[s] == gen && running[0] != s + 1 && running[1] != s + 1 && running[2] != s + 1 ->
#ifndef FREE_UNFLUSHED
		d_step { // broadcast
			TLB(0, idASID[s]) = 0; TLB(1, idASID[s]) = 0; TLB(2, idASID[s]) = 0
		}
#endif
		d_step { used[idASID[s]] = false; idGen[s] = 0; idASID[s] = 0 }
	:: else
	fi
	}
}

proctype Cpu(byte c) {
	byte i, s, turns;
	do
	:: turns < TURNS ->
		turns++;
		// Each CPU has spaces of its own, and some that it shares.
		if
		:: c == 0 -> if :: s = 0 :: s = 1 :: s = 4 fi
		:: c == 1 -> if :: s = 0 :: s = 1 :: s = 2 fi
		:: c == 2 -> if :: s = 0 :: s = 3 fi
		fi;
		activate(c, s);
		access(c);
		if
		:: true
		:: true -> // the thread sleeps
#ifdef UNPUBLISH_EARLY
			running[c] = 0; loadedASID[c] = 0;
#else
			loadedASID[c] = 0; running[c] = 0;
#endif
			retire(s)
		fi
	:: else -> break
	od
}

init {
	atomic {
		// All have run spaces 0 and 1 before.
		idGen[0] = 1; idASID[0] = 1; used[1] = true;
		idGen[1] = 1; idASID[1] = 2; used[2] = true;
		TLB(0, 1) = 1; TLB(1, 1) = 1; TLB(2, 1) = 1;
		TLB(0, 2) = 2; TLB(1, 2) = 2; TLB(2, 2) = 2;
		run Cpu(0); run Cpu(1); run Cpu(2)
	}
}
