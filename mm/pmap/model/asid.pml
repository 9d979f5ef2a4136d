// Address-space identifiers that all CPUs share (arm64), when they run out: two CPUs,
// four address spaces, three identifiers. README.md says which code each part stands for.
//
// mutant: NOT_RESERVED violates I2
// mutant: NO_FLUSH violates I1
// mutant: KEEP_OWN_ROOT violates I2
// mutant: FLUSH_OWN_ONLY violates I1
// mutant: NEW_FOR_RUNNING violates I2
// mutant: FREE_UNFLUSHED violates I1
// mutant: UNPUBLISH_EARLY violates I2
// mutant: NO_ROLLING violates I2
// mutant: COMING_IGNORED violates I2
// mutant: COMING_LATE violates I2

#define N      2
#define SPACES 4
#define TURNS  2
#define ASIDS  3 // or a new generation could find none free: the other CPU may keep two

hidden byte I1, I2;

byte gen = 1;
byte idGen[SPACES], idASID[SPACES]; // Pmap.id
bool used[ASIDS + 1];               // given out in this generation, or reserved
byte running[N], coming[N];         // the space that the CPU runs, or is about to load, + 1, or 0
bool rolling;                       // a new generation begins
bool mu;                            // System.mu

// What the hardware of a CPU holds: which space's translations under which identifier.
byte tlb[N * (ASIDS + 1)];
byte loadedASID[N];                 // what TTBR0 has; 0: the bare kernel root
byte loadedSpace[N];

// A flush by identifier reaches what every CPU that runs the space has cached.
#define SAME(c, s) (loadedASID[c] == 0 || loadedSpace[c] != s || loadedASID[c] == idASID[s])
#define HAS(c, s) (running[c] == s + 1 || coming[c] == s + 1)
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
	d_step { TLB(c, 1) = 0; TLB(c, 2) = 0; TLB(c, 3) = 0 }
}

// newGeneration keeps the identifiers of what other CPUs run, or are about to load, and
// flushes all CPUs by broadcast.
inline newGeneration() {
	rolling = true;
	d_step { used[1] = false; used[2] = false; used[3] = false; i = 0 }
	do
	:: i < N ->
#ifndef COMING_IGNORED
		keep(coming[i]);
#endif
		keep(running[i]); // read after coming, which may have become running
		i++
	:: else -> break
	od;
	i = 0;
	gen++;
#ifdef FLUSH_OWN_ONLY
	flush(c);
#else
#ifndef NO_FLUSH
	d_step { flush(0); flush(1) }
#endif
#endif
	rolling = false
}

inline keep(space) {
	d_step {
#ifndef NOT_RESERVED
		if
		:: space != 0 && idGen[space - 1] == gen ->
			used[idASID[space - 1]] = true;
#ifndef NEW_FOR_RUNNING
			idGen[space - 1] = gen + 1
#endif
		:: else
		fi
#endif
		skip
	}
}

// identify runs under System.mu. Other CPUs see what newGeneration stores meanwhile.
inline identify(c, s) {
	if
	:: idGen[s] == gen
	:: else ->
		if
		:: used[1] && used[2] && used[3] -> newGeneration()
		:: else
		fi;
		d_step {
			if
			:: idGen[s] == gen // another CPU runs it: its identifier was kept
			:: else ->
				if
				:: !used[1] -> a = 1
				:: used[1] && !used[2] -> a = 2
				:: else -> assert(!used[3]); a = 3
				fi;
				idASID[s] = a; used[a] = true; idGen[s] = gen
			fi;
			a = 0
		}
	fi
}

// leave takes the CPU to the bare kernel root.
inline leave(c) {
#ifdef UNPUBLISH_EARLY
	running[c] = 0; loadedASID[c] = 0
#else
#ifndef KEEP_OWN_ROOT
	loadedASID[c] = 0;
#endif
	running[c] = 0
#endif
}

inline activate(c, s) {
	do
	:: true ->
#ifndef COMING_LATE
		coming[c] = s + 1;
#endif
		r = rolling;
		g = gen;
		d_step { old = idGen[s] != g; a = idASID[s] } // one word
#ifdef NO_ROLLING
		r = false;
#endif
		if
		:: r || old ->
			d_step { coming[c] = 0; a = 0; g = 0; r = false; old = false }
			leave(c);
			atomic { !mu -> mu = true };
			identify(c, s);
			mu = false
		:: else ->
#ifdef COMING_LATE
			coming[c] = s + 1;
#endif
			d_step { loadedASID[c] = a; loadedSpace[c] = s }
			assert((SAME(0, s) && SAME(1, s)) || I2);
			access(c);
			running[c] = s + 1;
			d_step { coming[c] = 0; a = 0; g = 0 }
			break
		fi
	od
}

// retire is the end of an address space that no CPU runs: its identifier is free at once.
inline retire(s) {
	atomic {
	if
	:: !mu && idGen[s] == gen && !HAS(0, s) && !HAS(1, s) ->
#ifndef FREE_UNFLUSHED
		d_step { // broadcast
			TLB(0, idASID[s]) = 0; TLB(1, idASID[s]) = 0
		}
#endif
		d_step { used[idASID[s]] = false; idGen[s] = 0; idASID[s] = 0 }
	:: else
	fi
	}
}

proctype Cpu(byte c) {
	byte i, s, turns, a, g;
	bool r, old;
	do
	:: turns < TURNS ->
		turns++;
		// Each CPU has spaces of its own, and some that it shares.
		if
		:: c == 0 -> if :: s = 0 :: s = 1 :: s = 2 fi
		:: c == 1 -> if :: s = 0 :: s = 1 :: s = 3 fi
		fi;
		activate(c, s);
		access(c);
		if
		:: true
		:: true -> // the thread sleeps
			leave(c);
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
		TLB(0, 1) = 1; TLB(1, 1) = 1;
		TLB(0, 2) = 2; TLB(1, 2) = 2;
		run Cpu(0); run Cpu(1)
	}
}
