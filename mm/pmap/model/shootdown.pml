// Three CPUs use one address space. One of them takes a leaf table with its page out of
// the tables, shoots the others down, frees the page's frame, and frees the table page
// when nobody can walk it any more; twice. README.md says which code each part stands for.
//
// Memory is weaker than SPIN's own: a CPU's store of its mode, and the unmapping CPU's
// stores of entry and generation, wait in a store buffer until a barrier, or until they
// get out by themselves.
//
// run: OPS=2 ROUNDS=1
// run: OPS=1 ROUNDS=2
// mutant: NO_BARRIER_AT_ENTRY violates S1
// mutant: NO_BARRIER_AT_SHOOT violates S1
// mutant: GENERATION_FIRST violates S2
// mutant: NO_INTERRUPT violates end-state
// mutant: NO_WAIT violates S1
// mutant: NO_COMPARE violates S1
// mutant: SEEN_BEFORE_FLUSH violates S2
// mutant: NO_QUARANTINE violates S2
// mutant: NO_FLUSH_AT_LOAD violates S2
// mutant: PUBLISH_LATE violates S2
// mutant: WAIT_FOR_KERNEL violates end-state

#define N    3
#ifndef OPS
#define OPS    1 // unmappings
#define ROUNDS 2 // stays in user mode, of each CPU
#endif
#define USER 1 // modes
#define KERN 0

hidden byte S1, S2;

// Table and page are numbered together: version v is what is mapped after v unmappings.
byte top;              // in memory: the version that is mapped
byte gen;              // in memory: Pmap.flushGen
bool mu;               // Pmap.mu
bool topHeld, genHeld; // in the store buffer of the CPU that unmaps
bool freeFrame[OPS + 1], freeTable[OPS + 1];

byte mode[N];          // in memory
byte held[N];          // in the CPU's store buffer: a mode + 1, or 0
bool current[N];       // published: the CPU has the root loaded
bool loaded[N];        // what the hardware has
byte seen[N];          // the generation up to which the CPU has flushed
byte cached[N];        // the version in TLB and walk cache + 1; 0: nothing
bool irq[N];
chan kept = [OPS] of { byte };

#define LOCK(m)    atomic { !m -> m = true }
#define BARRIER(c) held[c] == 0
#define STORE_MODE(c, m) atomic { held[c] == 0 -> held[c] = m + 1 }

// A CPU walks the tables whenever a root is loaded, ahead of what it executes, in kernel
// mode too. So a flush empties the caches, and they are full again at once. (A later walk
// would find a newer version. That is freed later, so nothing is lost by not modelling it.)
#define FLUSH(c) d_step { cached[c] = top + 1 }

// The walker follows a pointer to table v.
#define WALKS(c, v) (loaded[c] && cached[c] == (v) + 1)

// Buffer lets stores out.
proctype Buffer(byte c) {
end:
	do
	:: atomic { held[c] != 0 -> mode[c] = held[c] - 1; held[c] = 0 }
	od
}

proctype OpBuffer() {
end:
	do
	:: atomic { topHeld -> top++; topHeld = false }
#ifdef GENERATION_FIRST
	:: atomic { genHeld -> gen++; genHeld = false }
#else
	// An atomic add: stores before it are seen first.
	:: atomic { genHeld && !topHeld -> gen++; genHeld = false }
#endif
	od
}

inline release(v) {
	atomic {
		assert(!(WALKS(0, v) || WALKS(1, v) || WALKS(2, v)) || S2);
		freeTable[v] = true
	}
}

inline catchUp(c, g) { // flush, if others have changed entries
	g = gen;
	if
	:: g != seen[c] ->
#ifdef SEEN_BEFORE_FLUSH
		seen[c] = g; FLUSH(c)
#else
		FLUSH(c); seen[c] = g
#endif
	:: else
	fi
}

// load makes the root this CPU's. What its TLB holds is from an earlier time.
inline load(c, g) {
#ifndef PUBLISH_LATE
	current[c] = true;
#endif
	g = gen;
	atomic { // one write of CR3, which flushes or does not
		loaded[c] = true;
		if
		:: cached[c] == 0 -> cached[c] = top + 1
#ifndef NO_FLUSH_AT_LOAD
		:: cached[c] != 0 && g != seen[c] -> cached[c] = top + 1
#endif
		:: else -> assert(!freeTable[cached[c] - 1] || S2)
		fi
	}
#ifndef NO_FLUSH_AT_LOAD
	seen[c] = g;
#endif
#ifdef PUBLISH_LATE
	current[c] = true
#endif
}

inline user(c, g) {
	do
	:: STORE_MODE(c, USER);
#ifndef NO_BARRIER_AT_ENTRY
		BARRIER(c);
#endif
#ifdef NO_COMPARE
		break;
#endif
		if
		:: gen == seen[c] -> break
		:: else ->
			STORE_MODE(c, KERN);
			catchUp(c, g)
		fi
	od;
	// User mode: it uses what it has cached, and traps or computes on for ever. An
	// interrupt takes a while to arrive.
	do
	:: true -> assert(!freeFrame[cached[c] - 1] || S1);
	:: true -> break
	:: true ->
endCompute:
		irq[c];
		break
	od;
	STORE_MODE(c, KERN);
	irq[c] = false
}

inline shoot(c, o) {
	if
	:: current[o] && mode[o] == USER ->
#ifndef NO_INTERRUPT
		irq[o] = true;
#endif
#ifndef NO_WAIT
		(mode[o] != USER || seen[o] == gen)
#endif
	:: else ->
#ifdef WAIT_FOR_KERNEL
		(!current[o] || seen[o] == gen)
#endif
	fi
}

// Keeper frees the table pages that are kept, one after the other.
proctype Keeper() {
	byte v;
end:
	do
	:: kept?v ->
		// Unmapping number v + 1 unlinked it.
		(!current[0] || seen[0] > v);
		(!current[1] || seen[1] > v);
		(!current[2] || seen[2] > v);
		release(v)
	od
}

// Unmapper is the CPU that changes the tables. It has the root loaded, and runs kernel
// code all the time.
proctype Unmapper() {
	byte g, old;
	d_step { current[0] = true; loaded[0] = true; cached[0] = 1 }
	do
	:: old < OPS ->
		LOCK(mu);
		atomic { topHeld = true; genHeld = true }
#ifndef NO_BARRIER_AT_SHOOT
		(!topHeld && !genHeld);
		catchUp(0, g);
#endif
		shoot(0, 1);
		shoot(0, 2);
		freeFrame[old] = true;
#ifdef NO_BARRIER_AT_SHOOT
		(!topHeld && !genHeld);
		catchUp(0, g);
#endif
#ifndef NO_QUARANTINE
		kept!old;
#else
		release(old);
#endif
		mu = false;
		old++
	:: else -> break
	od;
	loaded[0] = false; current[0] = false
}

// Cpu runs user code.
proctype Cpu(byte c) {
	byte g, rounds;
	do
	:: rounds < ROUNDS ->
		rounds++;
		if
		:: !current[c] -> load(c, g)
		:: else
		fi;
		user(c, g);
		if
		:: true -> loaded[c] = false; current[c] = false // the thread sleeps
		:: true -> LOCK(mu); mu = false                  // a system call, or a fault
		fi
	:: else -> break
	od;
	loaded[c] = false; current[c] = false
}

init {
	atomic {
		run OpBuffer(); run Keeper(); run Unmapper();
		run Cpu(1); run Buffer(1);
		run Cpu(2); run Buffer(2)
	}
}
